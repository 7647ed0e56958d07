"""Ready-to-run trainer configs, written next to the exported data.

The batch is divided among eight GPUs. Paths are relative to the export's folder, so that it can be
copied to a cluster.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from factory.export.layouts import LayoutName
from factory.export.megatron import (
    divide,
    find_expert_model,
    machines,
    megatron_optimizer,
    megatron_settings,
)
from factory.export.sharegpt import require_hermes_calls
from factory.export.target import Target
from factory.recipe.training import Optimizer

GPUS = 8


@dataclass(frozen=True)
class Settings:
    """Training settings. The defaults are R1's for its 800k rows (v2, supplement)."""

    learning_rate: float = 5e-5
    floor: float = 0.1  # final learning rate of the cosine schedule, as a share of the first
    epochs: float = 2
    steps: int | None = None  # replaces epochs
    batch: int = 128  # sequences
    warmup: float = 0.0  # steps; below 1 a share of all steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    packing: bool = True
    seed: int = 0
    gpus: int = GPUS

    @property
    def accumulation(self) -> int:
        """Gradient accumulation steps, with one sequence per GPU at a time."""
        return max(1, self.batch // self.gpus)

    @property
    def optimizer(self) -> Optimizer:
        """The same settings as a recipe's section."""
        constant = self.floor >= 1
        return Optimizer(
            learning_rate=self.learning_rate,
            schedule="constant" if constant else "cosine",
            floor=0 if constant else self.floor,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
        )

    @property
    def warmup_keys(self) -> dict[str, float]:
        """The warm-up as the keys of LLaMA-Factory and Axolotl."""
        if self.warmup < 1:
            return {"warmup_ratio": self.warmup}
        return {"warmup_steps": int(self.warmup)}


@dataclass(frozen=True)
class ExportInfo:
    """What a config needs to know about its export."""

    name: str
    target: Target
    layout: LayoutName
    files: Mapping[str, Sequence[str]]  # split → files, relative to the export's folder
    settings: Settings
    tools: bool = False  # whether rows have tools and calls

    @property
    def validates(self) -> bool:
        return "validation" in self.files

    @property
    def tokenizer(self) -> str | None:
        """Folder of the tokenizer with the replaced template; None to use the model's own."""
        return "tokenizer" if self.target.template else None


def trl(info: ExportInfo) -> dict[str, str]:
    """TRL: `trl sft --config sft.yaml`."""
    marked = info.layout == "messages"
    config = {
        "model_name_or_path": info.target.model,
        "dtype": "bfloat16",
        "dataset_name": "data",
        "dataset_train_split": "train",
        "dataset_test_split": "validation" if info.validates else "train",
        "eval_strategy": "epoch" if info.validates else "no",
        "max_length": info.target.max_length,
        "packing": info.settings.packing,
        "assistant_only_loss" if marked else "completion_only_loss": True,
        "eos_token": info.target.eos,
        "num_train_epochs": info.settings.epochs,
        "max_steps": info.settings.steps or -1,
        "learning_rate": info.settings.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": info.settings.floor},
        "warmup_steps": info.settings.warmup,
        "weight_decay": info.settings.weight_decay,
        "max_grad_norm": info.settings.max_grad_norm,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": info.settings.accumulation,
        "gradient_checkpointing": True,
        "bf16": True,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "output_dir": "checkpoints",
        "seed": info.settings.seed,
    }
    if info.tokenizer and info.layout != "text":
        config["chat_template_path"] = f"{info.tokenizer}/chat_template.jinja"
    return {"sft.yaml": _yaml("accelerate launch -m trl.scripts.sft --config sft.yaml", config)}


def verl(info: ExportInfo) -> dict[str, str]:
    """verl's SFT trainer: a Hydra config that overrides verl's defaults."""
    model, steps = {"path": info.target.model}, info.settings.steps
    if info.tokenizer:
        model["tokenizer_path"] = info.tokenizer
    config: dict[str, Any] = {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["sft_trainer_engine", "_self_"],
        "data": {
            "train_files": list(info.files["train"]),
            "val_files": list(info.files["validation"]) if info.validates else None,
            "messages_key": "messages",
            "train_batch_size": info.settings.batch,
            "max_length": info.target.max_length,
            "max_token_len_per_gpu": info.target.max_length,
            "truncation": "error",  # no row is too long
        },
        "model": model,
        "optim": {
            "lr": info.settings.learning_rate,
            "lr_scheduler_type": "cosine",
            "min_lr_ratio": info.settings.floor,
            **verl_warmup(info.settings.warmup),
            "weight_decay": info.settings.weight_decay,
            "clip_grad": info.settings.max_grad_norm,
        },
        "trainer": {
            "project_name": info.name,
            "experiment_name": "sft",
            "total_epochs": math.ceil(info.settings.epochs) if steps is None else 10**6,
            "total_training_steps": steps,
            **machines(info.settings.gpus),
            "logger": ["console"],
            "seed": info.settings.seed,
        },
    }
    arch = find_expert_model(info.target.model)
    if arch is not None:
        layout = divide(arch, info.settings.gpus, info.target.max_length)
        config["defaults"] = _MEGATRON_DEFAULTS
        config["engine"] = megatron_settings(arch, layout)
        config["optim"] = megatron_optimizer(info.settings.optimizer)
    where = machines(info.settings.gpus)
    rendezvous = "--standalone"
    if where["nnodes"] > 1:
        rendezvous = f"--nnodes={where['nnodes']} --rdzv_backend=c10d --rdzv_endpoint=HOST:29500"
    command = (
        f"torchrun {rendezvous} --nproc_per_node={where['n_gpus_per_node']} "
        '-m verl.trainer.sft_trainer --config-path "$PWD" --config-name sft'
    )
    return {"sft.yaml": _yaml(command, config)}


_MEGATRON_DEFAULTS = [
    "sft_trainer_engine",
    {"override engine@engine": "megatron"},
    {"override optim@optim": "megatron"},
    "_self_",
]
"""Hydra's defaults list with Megatron in place of FSDP."""


def verl_warmup(warmup: float) -> dict[str, float]:
    """Return a warm-up as verl's keys: steps, or below 1 a share of all steps."""
    if warmup < 1:
        return {"lr_warmup_steps_ratio": warmup}
    return {"lr_warmup_steps": int(warmup)}


def llama_factory(info: ExportInfo) -> dict[str, str]:
    """LLaMA-Factory: dataset_info.json and the settings of a run.

    `template` is not set, so that it uses the tokenizer's own, as the gate did. Of that it cannot
    derive how calls are written: rows with tools get its `qwen`.
    """
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    if info.tools:
        tags |= {"function_tag": "function_call", "observation_tag": "observation"}
    table = {
        f"{info.name}_{split}": {
            "file_name": split,  # a folder that contains only this split's Parquet files
            "formatting": "sharegpt",
            "columns": {"messages": "messages"} | ({"tools": "tools"} if info.tools else {}),
            "tags": tags,
        }
        for split in info.files
    }
    config = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": info.target.model,
        "dataset_dir": ".",
        "dataset": f"{info.name}_train",
        "cutoff_len": info.target.max_length,
        "packing": info.settings.packing,
        "neat_packing": info.settings.packing,  # no attention between rows of a sequence
        "num_train_epochs": info.settings.epochs,
        "max_steps": info.settings.steps or -1,
        "learning_rate": info.settings.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": info.settings.floor},
        **info.settings.warmup_keys,
        "weight_decay": info.settings.weight_decay,
        "max_grad_norm": info.settings.max_grad_norm,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": info.settings.accumulation,
        "bf16": True,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "output_dir": "checkpoints",
        "seed": info.settings.seed,
    }
    if info.validates:
        config |= {"eval_dataset": f"{info.name}_validation", "eval_strategy": "epoch"}
    if info.tools:
        config["template"] = "qwen"
        if not require_hermes_calls(info.target):
            config["default_system"] = ""
    command = "llamafactory-cli train sft.yaml"
    if info.tokenizer:
        command += (
            "\n(first copy tokenizer/* over the model's own files: LLaMA-Factory reads the chat "
            "template from the model's folder)"
        )
    return {
        "dataset_info.json": json.dumps(table, indent=2) + "\n",
        "sft.yaml": _yaml(command, config),
    }


def axolotl(info: ExportInfo) -> dict[str, str]:
    """Axolotl, with the tokenizer's own template, and the loss on assistant turns up to EOS."""

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
        "base_model": info.target.model,
        "datasets": [dataset("train")],
        "sequence_len": info.target.max_length,
        "sample_packing": info.settings.packing,
        "attn_implementation": "flash_attention_2",  # no attention between packed rows
        "special_tokens": {"eos_token": info.target.eos},
        "num_epochs": info.settings.epochs,
        "learning_rate": info.settings.learning_rate,
        "lr_scheduler": "cosine",
        "cosine_min_lr_ratio": info.settings.floor,
        **info.settings.warmup_keys,
        "weight_decay": info.settings.weight_decay,
        "max_grad_norm": info.settings.max_grad_norm,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": info.settings.accumulation,
        "gradient_checkpointing": True,
        "optimizer": "adamw_torch_fused",
        "bf16": True,
        "logging_steps": 10,
        "saves_per_epoch": 1,
        "output_dir": "checkpoints",
        "seed": info.settings.seed,
    }
    if info.settings.steps is not None:
        config["max_steps"] = info.settings.steps
    if info.validates:
        config["test_datasets"] = [dataset("validation")]
        config["evals_per_epoch"] = 1
    if info.tokenizer:
        config["tokenizer_config"] = info.tokenizer
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


def openai(info: ExportInfo) -> dict[str, str]:
    """A supervised fine-tuning job of OpenAI's API, which many other services implement."""
    job: dict[str, Any] = {
        "model": info.target.model,
        "training_file": info.files["train"][0],
        "suffix": info.name[:18],
        "seed": info.settings.seed,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": math.ceil(info.settings.epochs)}},
        },
    }
    if info.validates:
        job["validation_file"] = info.files["validation"][0]
    return {"job.json": json.dumps(job, indent=2) + "\n", "submit.py": _SUBMIT}


def _yaml(command: str, config: Mapping[str, Any]) -> str:
    comment = "".join(f"# {line}\n" for line in command.splitlines())
    return comment + yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
