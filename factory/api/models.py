"""Training and evaluation: `train` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.api.building import Overrides
from factory.api.consoles import RUNS, console
from factory.core.trust import trusting
from factory.recipe.document import Document, change, load_document, read_mapping

if TYPE_CHECKING:
    from factory.evaluation.result import Evaluation


def train(
    recipe: str | PathLike[str] | Mapping[str, Any],
    *,
    run: str | PathLike[str] | None = None,
    overrides: Overrides = (),
    progress: bool = False,
    trust_code: bool = False,
) -> Path:
    """Train by a recipe of kind sft, grpo or reward_model; returns the folder of the model.

    After an interruption the same call goes on from the newest checkpoint; a finished training
    returns at once. `recipe` is a file, a shipped recipe's name (`sft_quickstart`) or a mapping;
    `run` the training's directory, `runs/NAME` unless given. `trust_code` is as in `load_recipe`.

    Raises RecipeError, TrainError (the loss is no number, a policy collapsed; its checkpoints are
    whole), RunError, SourceError, ModelError, MissingDependency, and Stopped on Ctrl-C.

    >>> model = train("sft_quickstart")  # doctest: +SKIP
    """
    from factory.train.train import parse_training
    from factory.train.train import train as carry_out

    with trusting(trust_code):
        loaded = parse_training(_document(recipe, overrides))
        return carry_out(loaded, _directory(run, loaded.name), console(progress))


def evaluate(
    recipe: str | PathLike[str] | Mapping[str, Any],
    *,
    run: str | PathLike[str] | None = None,
    overrides: Overrides = (),
    progress: bool = False,
    trust_code: bool = False,
) -> Evaluation:
    """Evaluate a model by a recipe of kind eval: pass@1, pass@k, cons@k, with intervals.

    Samples only what is missing. `trust_code` is as in `load_recipe`.

    `.groups[SOURCE].metrics[METRIC]` is an estimate with its
    interval; eval.json in the run directory holds the same.

    Raises RecipeError and what `build` raises.

    >>> evaluate("eval/math500").groups["math500"].metrics["pass@1"]  # doctest: +SKIP
    """
    from factory.evaluation.evaluate import evaluate as carry_out
    from factory.recipe.evaluation import parse_eval

    with trusting(trust_code):
        loaded = parse_eval(_document(recipe, overrides))
        return carry_out(loaded, _directory(run, loaded.name), console(progress))


def _document(recipe: str | PathLike[str] | Mapping[str, Any], overrides: Overrides) -> Document:
    document = read_mapping(recipe) if isinstance(recipe, Mapping) else load_document(Path(recipe))
    change(document, overrides)
    return document


def _directory(run: str | PathLike[str] | None, name: str) -> Path:
    return Path(run) if run is not None else RUNS / name
