"""An SFT recipe as a launch for another trainer: its corpus, and a config with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import Problem, RecipeError
from factory.core.models import model_path
from factory.export.export import ExportReport, export_run
from factory.export.formats import FormatName
from factory.export.trainer_configs import Settings

if TYPE_CHECKING:
    from factory.recipe.sft import Sft

_UNSAID = ("lora", "layers", "context")
"""Keys that change the training in a way that no trainer's config is given."""


def export_sft(recipe: Sft, format: FormatName, out: Path) -> ExportReport:
    """Write OUT: the recipe's corpus behind the gate, and the trainer's own config.

    Raises what `export_run` raises, and RecipeError for what a config is not given: adapters, and a
    model that is cut or stretched before training.
    """
    unsaid = [key for key in _UNSAID if getattr(recipe, key) is not None]
    if unsaid:
        what = "is something an exported config does not carry; train it here, or take it out"
        raise RecipeError([Problem(key, what) for key in unsaid])
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
