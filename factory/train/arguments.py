"""A training recipe as the configuration object of one of TRL's trainers."""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import Any

from factory.core.errors import Problem, RecipeError
from factory.core.hardware import cpu_computes_bf16
from factory.recipe.training import Training
from factory.train.directory import TrainDir

ELSEWHERE = {
    "learning_rate": "optimizer.learning_rate",
    "lr_scheduler_type": "optimizer.schedule",
    "lr_scheduler_kwargs": "optimizer.floor",
    "warmup_steps": "optimizer.warmup",
    "weight_decay": "optimizer.weight_decay",
    "max_grad_norm": "optimizer.max_grad_norm",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "batch",
    "bf16": "precision",
    "fp16": "precision",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "logging_steps": "log_every",
    "output_dir": "name (or --run)",
    "vllm_importance_sampling_correction": "rollouts.correction",
    "vllm_importance_sampling_mode": "rollouts.correction",
}
"""TRL's key → the recipe's own, for those whose names differ."""


def arguments(recipe: Training, config: type[Any], run: TrainDir, **own: Any) -> Any:
    """`recipe` as a `config` (SFTConfig, GRPOConfig, …); `own` is what its kind of training adds.

    Raises RecipeError for a key of `args` that the installed TRL does not know, or that the recipe
    says by a key of its own.
    """
    import torch

    _refuse_sharded_adapters(recipe)
    fixed = _common(recipe, run) | own
    _check(recipe, config, fixed)
    replaceable = {
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "ddp_find_unused_parameters": False,
        "use_cpu": not torch.accelerator.is_available(),
    }
    # TRL would load the model by these itself; here factory.train.weights does.
    given = {key: value for key, value in recipe.args.items() if key != "model_init_kwargs"}
    return config(**replaceable | given | fixed)


def accumulation(recipe: Training) -> int:
    """Micro batches a process takes for one step, so that `batch` holds over all processes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    at_once = recipe.micro_batch * processes
    if recipe.batch % at_once:
        what = (
            f"is {recipe.batch}; it must be a multiple of micro_batch x processes "
            f"({recipe.micro_batch} x {processes})"
        )
        raise RecipeError([Problem("batch", what)])
    return recipe.batch // at_once


def one_cpu_process() -> bool:
    """Whether there is neither an accelerator nor a launch of several processes.

    Then losses are computed by `cpu_loss` and `policy.cpu_log_probs`: TRL's kernels need a GPU.
    """
    import torch

    return not torch.accelerator.is_available() and "WORLD_SIZE" not in os.environ


def _common(recipe: Training, run: TrainDir) -> dict[str, Any]:
    optimizer = recipe.optimizer
    cosine = optimizer.schedule == "cosine"
    return {
        "output_dir": str(run.checkpoints),
        "seed": recipe.seed,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.steps or -1,
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": accumulation(recipe),
        "learning_rate": optimizer.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr" if cosine else "constant_with_warmup",
        "lr_scheduler_kwargs": {"min_lr_rate": optimizer.floor} if cosine else {},
        "warmup_steps": optimizer.warmup,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.max_grad_norm,
        "bf16": computes_bf16() if recipe.precision == "auto" else recipe.precision == "bf16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint.every,
        "save_total_limit": recipe.checkpoint.keep,
        "logging_strategy": "steps",
        "logging_steps": recipe.log_every,
        "logging_nan_inf_filter": False,  # it would log the mean of the steps that were numbers
    }


def computes_bf16() -> bool:
    """What `precision: auto` comes to: whether this machine is made for bf16."""
    import torch

    return torch.cuda.is_bf16_supported(False) if torch.cuda.is_available() else cpu_computes_bf16()


def _refuse_sharded_adapters(recipe: Training) -> None:
    """What `accelerate launch` tells its processes; the adapters could not be merged at the end."""
    sharded = (
        os.environ.get("ACCELERATE_USE_FSDP") == "true"
        or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    )
    if recipe.lora is not None and sharded:
        what = "needs whole weights on every GPU; launch with recipes/r1/launch/ddp.yaml"
        raise RecipeError([Problem("lora", what)])


def _check(recipe: Training, config: type[Any], fixed: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(config)}
    problems = []
    for key in recipe.args:
        if key in fixed:
            instead = ELSEWHERE.get(key, key if key in type(recipe).model_fields else None)
            remedy = f"set {instead} instead" if instead else "the factory sets it; leave it out"
            problems.append(Problem(f"args.{key}", f"is not TRL's to decide here: {remedy}"))
        elif key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            problems.append(
                Problem(f"args.{key}", f"is no key of the installed TRL's {config.__name__}{meant}")
            )
    if problems:
        raise RecipeError(problems)
