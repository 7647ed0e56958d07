"""`kind: sft`: supervised fine-tuning with TRL's SFTTrainer: corpus → tokens → weights.

Data, tokenizer and settings are checked before the model is loaded. The loss covers only the
assistant's tokens, including its reasoning (factory.train.tokens).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.models import model_path
from factory.export.target import Target, load_target
from factory.recipe.sft import LENGTH, Sft
from factory.train.arguments import build_arguments, is_single_cpu_process
from factory.train.data import (
    check_rows,
    count_rows,
    find_shards,
    refuse_overlong,
    stream_rows,
    write_tokens,
)
from factory.train.directory import TrainDir
from factory.train.loop import fit
from factory.train.weights import create_causal_lm, load_causal_lm, lora_config, save_causal_lm

if TYPE_CHECKING:
    from rich.console import Console

Shards = dict[str, list[Path]]


def train_sft(recipe: Sft, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train by an SFT recipe. Returns the final metrics.

    Raises SourceError for an unusable corpus, ModelError where tokenizer, template or context don't
    fit it, RecipeError, TrainError and Stopped.
    """
    shards = find_shards(recipe.data)
    target = open_target(recipe)
    check_rows(shards["train"], target)

    from trl import SFTConfig

    config = build_arguments(recipe, SFTConfig, run, **_own_arguments(recipe, target, shards))
    with config.main_process_first(local=False, desc="tokenizing"):
        datasets = {
            split: _dataset(recipe, split, files, target, run, console)
            for split, files in shards.items()
            if split != "test"
        }
    trainer = _trainer_class()(
        model=_open_model(recipe, target),
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


def _open_model(recipe: Sft, target: Target) -> Any:
    if recipe.from_config is not None:
        return create_causal_lm(recipe, recipe.from_config, len(target.tokenizer))
    return load_causal_lm(recipe, layers=recipe.layers, context=recipe.context)


def _trainer_class() -> Any:
    if is_single_cpu_process():
        from factory.train.cpu_loss import CpuTrainer

        return CpuTrainer
    from trl import SFTTrainer

    return SFTTrainer


def open_target(recipe: Sft) -> Target:
    """Load the tokenizer, template and context that rows are rendered with."""
    context = recipe.context or (recipe.from_config or {}).get(LENGTH)
    target = load_target(
        model_path(recipe.model.tokenizer or recipe.model.id),
        template=recipe.template,
        eos=recipe.eos,
        max_length=None if context else recipe.max_length,
    )
    if context is None:
        return target
    return replace(target, max_length=recipe.max_length or context)


def _own_arguments(recipe: Sft, target: Target, shards: Shards) -> dict[str, Any]:
    own: dict[str, Any] = {
        # Rows are tokenized and none is too long; only packing needs the length.
        "max_length": target.max_length if recipe.packing else None,
        "packing": recipe.packing,
        "per_device_eval_batch_size": recipe.micro_batch,
        "eval_strategy": "no",
        "include_num_input_tokens_seen": "non_padding",
    }
    if recipe.evaluate_every is not None and "validation" in shards:
        own |= {"eval_strategy": "steps", "eval_steps": recipe.evaluate_every}
    if recipe.streaming and recipe.steps is None:
        # A stream has no length; the number of steps follows from the files' row counts.
        own["max_steps"] = math.ceil(count_rows(shards["train"]) * recipe.epochs / recipe.batch)
    return own


def _dataset(
    recipe: Sft, split: str, files: list[Path], target: Target, run: TrainDir, console: Console
) -> Any:
    from datasets import Dataset, IterableDataset

    if recipe.streaming:
        given = {"files": files, "target": target, "overlong": recipe.overlong}
        rows = IterableDataset.from_generator(stream_rows, gen_kwargs=given)
        train = split == "train"
        return rows.shuffle(recipe.seed, buffer_size=recipe.shuffle_buffer) if train else rows
    file = run.scratch / f"{split}.arrow"
    count = write_tokens(files, target, file)
    refuse_overlong(count, target, recipe.overlong)
    if run.is_main:
        facts = [f"{split}: {count.rows:,} rows", f"{count.tokens:,} tokens"]
        facts += [f"{count.learnt:,} of them under the loss"]
        facts += [f"{count.overlong:,} rows left out, too long"] * bool(count.overlong)
        console.print(", ".join(facts), highlight=False, markup=False)
    return Dataset.from_file(str(file))
