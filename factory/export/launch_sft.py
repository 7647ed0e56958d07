"""An SFT recipe as a launch for another trainer: its corpus, and a config with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.errors import Problem, RecipeError
from factory.export.export import ExportReport, export_run
from factory.export.formats import FormatName
from factory.export.launch import Settings
from factory.models import model_path

if TYPE_CHECKING:
    from factory.train.sft_options import Sft


_UNSAID = ("lora", "layers", "context", "steps")


def export_sft(recipe: Sft, format: FormatName, out: Path) -> ExportReport:
    """Write OUT: the recipe's corpus behind the gate, and the trainer's own config.

    Raises what `export_run` raises, and RecipeError for what a config cannot say: adapters, a model
    that is cut or stretched before training, and steps in place of epochs.
    """
    unsaid = [
        key for key in ("lora", "layers", "context", "steps") if getattr(recipe, key) is not None
    ]
    if unsaid:
        what = "is something an exported config does not carry; train it here, or take it out"
        raise RecipeError([Problem(key, what) for key in unsaid])
    settings = Settings(
        learning_rate=recipe.optimizer.learning_rate,
        floor=recipe.optimizer.floor if recipe.optimizer.schedule == "cosine" else 1.0,
        epochs=recipe.epochs,
        batch=recipe.batch,
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
