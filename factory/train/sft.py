"""Supervised fine-tuning with TRL's SFTTrainer: corpus → tokens → weights.

What can be wrong with data, tokenizer and settings is found before the model is loaded. The loss
sees the assistant's tokens alone, its reasoning included (factory.train.tokens).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.models import model_path
from factory.export.target import Target, load_target
from factory.recipe.sft import Sft
from factory.train.arguments import arguments, one_cpu_process
from factory.train.data import check_rows, count_rows, find_shards, prepare, refuse_overlong, stream
from factory.train.directory import TrainDir
from factory.train.loop import fit
from factory.train.weights import load_causal_lm, lora_config, save_causal_lm

if TYPE_CHECKING:
    from rich.console import Console

Shards = dict[str, list[Path]]


def train_sft(recipe: Sft, run: TrainDir, console: Console) -> dict[str, Any]:
    """Carry an SFT recipe out. Returns the closing metrics.

    Raises SourceError for a corpus nothing can be learnt from, ModelError where tokenizer, template
    or context do not fit it, RecipeError, TrainError and Stopped.
    """
    shards = find_shards(recipe.data)
    target = open_target(recipe)
    check_rows(shards["train"], target)

    from trl import SFTConfig

    config = arguments(recipe, SFTConfig, run, **_own_arguments(recipe, target, shards))
    with config.main_process_first(local=False, desc="tokenizing"):
        datasets = {
            split: _dataset(recipe, split, files, target, run, console)
            for split, files in shards.items()
            if split != "test"
        }
    trainer = _trainer_class()(
        model=load_causal_lm(recipe, layers=recipe.layers, context=recipe.context),
        args=config,
        train_dataset=datasets["train"],
        eval_dataset=datasets.get("validation"),
        processing_class=target.tokenizer,
        peft_config=lora_config(recipe.lora),
    )
    metrics = fit(trainer, run, console)
    if "validation" in datasets:
        metrics |= trainer.evaluate()
    save_causal_lm(trainer, recipe, run, target.tokenizer, sorted(target.stop_ids))
    return metrics


def _trainer_class() -> Any:
    if one_cpu_process():
        from factory.train.cpu_loss import CpuTrainer

        return CpuTrainer
    from trl import SFTTrainer

    return SFTTrainer


def open_target(recipe: Sft) -> Target:
    """The tokenizer, template and context that rows are rendered with."""
    target = load_target(
        model_path(recipe.model.tokenizer or recipe.model.id),
        template=recipe.template,
        eos=recipe.eos,
        max_length=None if recipe.context else recipe.max_length,
    )
    if recipe.context is None:
        return target
    return replace(target, max_length=recipe.max_length or recipe.context)


def _own_arguments(recipe: Sft, target: Target, shards: Shards) -> dict[str, Any]:
    own: dict[str, Any] = {
        # Rows come tokenized, and none is longer than max_length: only packing still needs it.
        "max_length": target.max_length if recipe.packing else None,
        "packing": recipe.packing,
        "per_device_eval_batch_size": recipe.micro_batch,
        "eval_strategy": "no",
        "include_num_input_tokens_seen": "non_padding",
    }
    if recipe.evaluate_every is not None and "validation" in shards:
        own |= {"eval_strategy": "steps", "eval_steps": recipe.evaluate_every}
    if recipe.streaming and recipe.steps is None:
        # A stream has no length: its steps follow from the rows in the files' footers.
        own["max_steps"] = math.ceil(count_rows(shards["train"]) * recipe.epochs / recipe.batch)
    return own


def _dataset(
    recipe: Sft, split: str, files: list[Path], target: Target, run: TrainDir, console: Console
) -> Any:
    from datasets import Dataset, IterableDataset

    if recipe.streaming:
        given = {"files": files, "target": target, "overlong": recipe.overlong}
        rows = IterableDataset.from_generator(stream, gen_kwargs=given)
        train = split == "train"
        return rows.shuffle(recipe.seed, buffer_size=recipe.shuffle_buffer) if train else rows
    file = run.scratch / f"{split}.arrow"
    count = prepare(files, target, file)
    refuse_overlong(count, target, recipe.overlong)
    if run.is_main:
        told = [f"{split}: {count.rows:,} rows", f"{count.tokens:,} tokens"]
        told += [f"{count.learnt:,} of them under the loss"]
        told += [f"{count.overlong:,} rows left out, too long"] * bool(count.overlong)
        console.print(", ".join(told), highlight=False, markup=False)
    return Dataset.from_file(str(file))
