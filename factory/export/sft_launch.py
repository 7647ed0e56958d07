"""Export an SFT recipe for another trainer: its corpus, and a config with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import Problem, RecipeError
from factory.core.models import model_path
from factory.export.export import ExportReport, export_run
from factory.export.trainer_configs import GPUS, Settings

if TYPE_CHECKING:
    from factory.recipe.sft import Sft

_UNSUPPORTED = ("lora", "layers", "context")
"""Keys whose effect can't be expressed in the trainers' configs."""


def export_sft(recipe: Sft, format: str, out: Path, gpus: int = GPUS) -> ExportReport:
    """Write the recipe's corpus, checked by the gate, and the trainer's config to `out`.

    The config divides the batch among `gpus`. Raises what `export_run` raises, and RecipeError for
    settings that a config can't express: adapters, and a model whose layers or context are changed
    before training.
    """
    unsupported = [key for key in _UNSUPPORTED if getattr(recipe, key) is not None]
    if unsupported:
        what = "can't be expressed in an exported config; train here, or remove the key"
        raise RecipeError([Problem(key, what) for key in unsupported])
    optimizer = recipe.optimizer
    settings = Settings(
        learning_rate=optimizer.learning_rate,
        floor=optimizer.floor if optimizer.schedule == "cosine" else 1.0,
        epochs=recipe.epochs,
        steps=recipe.steps,
        batch=recipe.batch,
        warmup=optimizer.warmup,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        packing=recipe.packing,
        seed=recipe.seed,
        gpus=gpus,
    )
    return export_run(
        recipe.data,
        format,
        model_path(recipe.model.tokenizer or recipe.model.id),
        out,
        model=model_path(recipe.model.id),
        template=recipe.template,
        eos=recipe.eos,
        overlong=recipe.overlong,
        max_length=recipe.max_length,
        settings=settings,
    )
