"""Ready-to-run trainer configs that stand beside the exported data.

The batch is spread over eight GPUs. Paths are relative to the export's folder, so that it can move
to a cluster.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from factory.export.layouts import LayoutName
from factory.export.target import Target

GPUS = 8


@dataclass(frozen=True)
class Settings:
    """How the corpus is trained on. The defaults are R1's for its 800k rows (v2, supplement)."""

    learning_rate: float = 5e-5
    floor: float = 0.1  # of the learning rate, where the cosine ends
    epochs: float = 2
    steps: int | None = None  # in place of epochs
    batch: int = 128
    warmup: float = 0.0  # steps; below 1 a share of all
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    packing: bool = True
    seed: int = 0

    @property
    def accumulation(self) -> int:
        """Steps over which each of the GPUs gathers its share of a batch, a sequence each."""
        return max(1, self.batch // GPUS)

    @property
    def warming(self) -> dict[str, float]:
        """The warm-up by the names that LLaMA-Factory and Axolotl share."""
        if self.warmup < 1:
            return {"warmup_ratio": self.warmup}
        return {"warmup_steps": int(self.warmup)}


@dataclass(frozen=True)
class Launch:
    """What a config needs to know of its export."""

    name: str
    target: Target
    layout: LayoutName
    files: Mapping[str, Sequence[str]]  # split → files, relative to the export
    settings: Settings

    @property
    def validates(self) -> bool:
        return "validation" in self.files

    @property
    def tokenizer(self) -> str | None:
        """Where the tokenizer with the replaced template is; None where the model's own serves."""
        return "tokenizer" if self.target.template else None


def trl(launch: Launch) -> dict[str, str]:
    """`trl sft --config sft.yaml`."""
    marked = launch.layout == "messages"
    config = {
        "model_name_or_path": launch.target.model,
        "dtype": "bfloat16",
        "dataset_name": "data",
        "dataset_train_split": "train",
        "dataset_test_split": "validation" if launch.validates else "train",
        "eval_strategy": "epoch" if launch.validates else "no",
        "max_length": launch.target.max_length,
        "packing": launch.settings.packing,
        "assistant_only_loss" if marked else "completion_only_loss": True,
        "eos_token": launch.target.eos,
        "num_train_epochs": launch.settings.epochs,
        "max_steps": launch.settings.steps or -1,
        "learning_rate": launch.settings.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": launch.settings.floor},
        "warmup_steps": launch.settings.warmup,
        "weight_decay": launch.settings.weight_decay,
        "max_grad_norm": launch.settings.max_grad_norm,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": launch.settings.accumulation,
        "gradient_checkpointing": True,
        "bf16": True,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "output_dir": "checkpoints",
        "seed": launch.settings.seed,
    }
    if launch.tokenizer and launch.layout != "text":
        config["chat_template_path"] = f"{launch.tokenizer}/chat_template.jinja"
    return {"sft.yaml": _yaml("accelerate launch -m trl.scripts.sft --config sft.yaml", config)}


def verl(launch: Launch) -> dict[str, str]:
    """verl's SFT trainer: a Hydra config over its own defaults."""
    model, steps = {"path": launch.target.model}, launch.settings.steps
    if launch.tokenizer:
        model["tokenizer_path"] = launch.tokenizer
    config = {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["sft_trainer_engine", "_self_"],
        "data": {
            "train_files": list(launch.files["train"]),
            "val_files": list(launch.files["validation"]) if launch.validates else None,
            "messages_key": "messages",
            "train_batch_size": launch.settings.batch,
            "max_length": launch.target.max_length,
            "max_token_len_per_gpu": launch.target.max_length,
            "truncation": "error",  # the gate left nothing to truncate
        },
        "model": model,
        "optim": {
            "lr": launch.settings.learning_rate,
            "lr_scheduler_type": "cosine",
            "min_lr_ratio": launch.settings.floor,
            **verl_warmup(launch.settings.warmup),
            "weight_decay": launch.settings.weight_decay,
            "clip_grad": launch.settings.max_grad_norm,
        },
        "trainer": {
            "project_name": launch.name,
            "experiment_name": "sft",
            "total_epochs": math.ceil(launch.settings.epochs) if steps is None else 10**6,
            "total_training_steps": steps,
            "n_gpus_per_node": GPUS,
            "logger": ["console"],
            "seed": launch.settings.seed,
        },
    }
    command = (
        f"torchrun --standalone --nproc_per_node={GPUS} -m verl.trainer.sft_trainer "
        '--config-path "$PWD" --config-name sft'
    )
    return {"sft.yaml": _yaml(command, config)}


def verl_warmup(warmup: float) -> dict[str, float]:
    """A warm-up by verl's names: steps, or below 1 a share of all."""
    if warmup < 1:
        return {"lr_warmup_steps_ratio": warmup}
    return {"lr_warmup_steps": int(warmup)}


def llama_factory(launch: Launch) -> dict[str, str]:
    """LLaMA-Factory: its dataset table, and the settings of a run.

    No `template`: it then reads the tokenizer's own, the one the gate rendered with.
    """
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    table = {
        f"{launch.name}_{split}": {
            "file_name": split,  # a folder that holds nothing but this split's Parquet
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags,
        }
        for split in launch.files
    }
    config = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": launch.target.model,
        "dataset_dir": ".",
        "dataset": f"{launch.name}_train",
        "cutoff_len": launch.target.max_length,
        "packing": launch.settings.packing,
        "neat_packing": launch.settings.packing,  # rows in one sequence do not see each other
        "num_train_epochs": launch.settings.epochs,
        "max_steps": launch.settings.steps or -1,
        "learning_rate": launch.settings.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": launch.settings.floor},
        **launch.settings.warming,
        "weight_decay": launch.settings.weight_decay,
        "max_grad_norm": launch.settings.max_grad_norm,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": launch.settings.accumulation,
        "bf16": True,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "output_dir": "checkpoints",
        "seed": launch.settings.seed,
    }
    if launch.validates:
        config |= {"eval_dataset": f"{launch.name}_validation", "eval_strategy": "epoch"}
    command = "llamafactory-cli train sft.yaml"
    if launch.tokenizer:
        command += (
            "\n(after copying tokenizer/* over the model's own files: LLaMA-Factory takes the chat "
            "template from the model's folder)"
        )
    return {
        "dataset_info.json": json.dumps(table, indent=2) + "\n",
        "sft.yaml": _yaml(command, config),
    }


def axolotl(launch: Launch) -> dict[str, str]:
    """Axolotl, with the tokenizer's own template and the loss on assistant turns up to EOS."""

    def dataset(split: str) -> dict[str, Any]:
        return {
            "path": split,
            "ds_type": "parquet",
            "split": split,
            "type": "chat_template",
            "chat_template": "tokenizer_default",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }

    config: dict[str, Any] = {
        "base_model": launch.target.model,
        "datasets": [dataset("train")],
        "sequence_len": launch.target.max_length,
        "sample_packing": launch.settings.packing,
        "attn_implementation": "flash_attention_2",  # keeps packed rows from seeing each other
        "special_tokens": {"eos_token": launch.target.eos},
        "num_epochs": launch.settings.epochs,
        "learning_rate": launch.settings.learning_rate,
        "lr_scheduler": "cosine",
        "cosine_min_lr_ratio": launch.settings.floor,
        **launch.settings.warming,
        "weight_decay": launch.settings.weight_decay,
        "max_grad_norm": launch.settings.max_grad_norm,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": launch.settings.accumulation,
        "gradient_checkpointing": True,
        "optimizer": "adamw_torch_fused",
        "bf16": True,
        "logging_steps": 10,
        "saves_per_epoch": 1,
        "output_dir": "checkpoints",
        "seed": launch.settings.seed,
    }
    if launch.settings.steps is not None:
        config["max_steps"] = launch.settings.steps
    if launch.validates:
        config["test_datasets"] = [dataset("validation")]
        config["evals_per_epoch"] = 1
    if launch.tokenizer:
        config["tokenizer_config"] = launch.tokenizer
    return {"sft.yaml": _yaml("axolotl train sft.yaml", config)}


_SUBMIT = '''\
"""Upload the files and start a fine-tuning job: OPENAI_API_KEY=… python submit.py"""

import json

from openai import OpenAI

job = json.load(open("job.json"))
client = OpenAI()
for key in ("training_file", "validation_file"):
    if key in job:
        with open(job[key], "rb") as stream:
            job[key] = client.files.create(file=stream, purpose="fine-tune").id
print(client.fine_tuning.jobs.create(**job).id)
'''


def openai(launch: Launch) -> dict[str, str]:
    """A supervised fine-tuning job of OpenAI's API, which many other services speak."""
    job: dict[str, Any] = {
        "model": launch.target.model,
        "training_file": launch.files["train"][0],
        "suffix": launch.name[:18],
        "seed": launch.settings.seed,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": math.ceil(launch.settings.epochs)}},
        },
    }
    if launch.validates:
        job["validation_file"] = launch.files["validation"][0]
    return {"job.json": json.dumps(job, indent=2) + "\n", "submit.py": _SUBMIT}


def _yaml(command: str, config: Mapping[str, Any]) -> str:
    comment = "".join(f"# {line}\n" for line in command.splitlines())
    return comment + yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
