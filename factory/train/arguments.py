"""Convert a training recipe to the configuration object of one of TRL's trainers."""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import Any

from factory.core.errors import Problem, RecipeError
from factory.core.machine import cpu_computes_bf16
from factory.recipe.training import Training
from factory.train.directory import TrainDir

RECIPE_KEYS = {
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
    "use_bias_correction_kl": "kl_bias_correction",
    "vllm_importance_sampling_correction": "rollouts.correction",
    "vllm_importance_sampling_mode": "rollouts.correction",
}
"""TRL's key → the recipe's key, where they differ."""


def build_arguments(recipe: Training, config: type[Any], run: TrainDir, **own: Any) -> Any:
    """Build a `config` (SFTConfig, GRPOConfig, …) from a recipe.

    `own` are the arguments of the recipe's kind of training. Raises RecipeError for a key of `args`
    that the installed TRL does not know, or that a recipe key sets.
    """
    import torch

    _refuse_sharded_adapters(recipe)
    fixed = _common_arguments(recipe, run) | own
    _check_args(recipe, config, fixed)
    replaceable = {
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "ddp_find_unused_parameters": False,
        "use_cpu": not torch.accelerator.is_available(),
    }
    # TRL loads a model with these; here factory.train.weights loads it.
    given = {key: value for key, value in recipe.args.items() if key != "model_init_kwargs"}
    return config(**replaceable | given | fixed)


def accumulation_steps(recipe: Training) -> int:
    """Return the micro batches per step and process, so that all processes make up `batch`."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    parallel = recipe.micro_batch * processes
    if recipe.batch % parallel:
        what = (
            f"is {recipe.batch}; it must be a multiple of micro_batch x processes "
            f"({recipe.micro_batch} x {processes})"
        )
        raise RecipeError([Problem("batch", what)])
    return recipe.batch // parallel


def is_single_cpu_process() -> bool:
    """Return True without an accelerator and without a launcher of several processes.

    Then `cpu_loss` and `policy.cpu_log_probs` compute the losses, since TRL's fast kernels need a
    GPU.
    """
    import torch

    return not torch.accelerator.is_available() and "WORLD_SIZE" not in os.environ


def _common_arguments(recipe: Training, run: TrainDir) -> dict[str, Any]:
    optimizer = recipe.optimizer
    cosine = optimizer.schedule == "cosine"
    return {
        "output_dir": str(run.checkpoints),
        "seed": recipe.seed,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.steps or -1,
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": accumulation_steps(recipe),
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
        "logging_nan_inf_filter": False,  # it would hide NaN steps in the logged mean
    }


def computes_bf16() -> bool:
    """Return True if this machine computes bf16 efficiently; decides `precision: auto`."""
    import torch

    return torch.cuda.is_bf16_supported(False) if torch.cuda.is_available() else cpu_computes_bf16()


def _refuse_sharded_adapters(recipe: Training) -> None:
    """Raise RecipeError for LoRA with sharded weights: adapters could not be merged at the end.

    The environment variables are those that `accelerate launch` sets.
    """
    sharded = (
        os.environ.get("ACCELERATE_USE_FSDP") == "true"
        or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    )
    if recipe.lora is not None and sharded:
        what = "needs unsharded weights on every GPU; launch with recipes/r1/launch/ddp.yaml"
        raise RecipeError([Problem("lora", what)])


def _check_args(recipe: Training, config: type[Any], fixed: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(config)}
    problems = []
    for key in recipe.args:
        if key in fixed:
            instead = RECIPE_KEYS.get(key, key if key in type(recipe).model_fields else None)
            remedy = f"set {instead} instead" if instead else "the factory sets it; leave it out"
            problems.append(Problem(f"args.{key}", f"can't be set here: {remedy}"))
        elif key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            problems.append(
                Problem(f"args.{key}", f"is no key of the installed TRL's {config.__name__}{hint}")
            )
    if problems:
        raise RecipeError(problems)
