"""The kinds of recipes: how each is loaded, which command runs it, and what it produces.

A recipe without a `kind` samples and judges; its kind is `build` here.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel

from factory.core.errors import ModelError
from factory.core.models import DEMO, model_path
from factory.core.plugins import look_up
from factory.prompts.source import Source
from factory.recipe.document import Loc

SAMPLES = "build"
"""The kind of a recipe without `kind`."""

ASSEMBLY = "assembly"
"""The kind of a recipe that mixes the corpora of finished runs."""

PIPELINE = "pipeline"
"""The kind of a recipe whose steps are recipes of other kinds."""

Product = Literal["corpus", "model", "eval.json"]


@dataclass(frozen=True, slots=True)
class RecipeKind:
    """One kind of recipe."""

    loader: str  # "module:function": (path, assignments) -> the recipe; raises RecipeError
    command: Literal["build", "train", "eval"]  # the command that runs it
    product: Product  # the output in its directory
    remade: bool = False
    """Whether it is made again when an input changed: for cheap, pure functions of the inputs."""


_TRAINING = "factory.train.train:load_training"

KINDS: dict[str, RecipeKind] = {
    SAMPLES: RecipeKind("factory.recipe.build:load_recipe", "build", "corpus"),
    ASSEMBLY: RecipeKind("factory.recipe.assembly:load_assembly", "build", "corpus", remade=True),
    "sft": RecipeKind(_TRAINING, "train", "model"),
    "grpo": RecipeKind(_TRAINING, "train", "model"),
    "reward_model": RecipeKind(_TRAINING, "train", "model"),
    "eval": RecipeKind("factory.recipe.evaluation:load_eval", "eval", "eval.json"),
}


def command(kind: object) -> str | None:
    """The command that carries out recipes of this kind; None where there is no such kind."""
    if kind == PIPELINE:
        return "run"
    return KINDS[kind].command if isinstance(kind, str) and kind in KINDS else None


class AnyRecipe(Protocol):
    """The interface of recipes of every kind."""

    @property
    def name(self) -> str: ...

    def to_yaml(self) -> str: ...


def load(kind: str, path: Path, assignments: Iterable[str] = ()) -> AnyRecipe:
    """Read a recipe of this kind. Raises RecipeError that lists all problems."""
    recipe: AnyRecipe = look_up(KINDS[kind].loader)(path, assignments)
    return recipe


def explain_missing_model(recipe: AnyRecipe, planned: Path | None = None) -> str | None:
    """Return why the folder that a recipe names as its model can't be loaded; None if it can.

    None also for a Hub id, for a model that a server has, and for a folder in `planned`, where the
    steps of a pipeline will write theirs.
    """
    model, engine = getattr(recipe, "model", None), getattr(recipe, "engine", None)
    if model is None or model.id == DEMO or (engine is not None and not engine.is_embedded):
        return None
    missing = _explain_model(model.id, planned)
    return f"{missing} No step writes it." if missing and planned is not None else missing


def find_missing_inputs(
    recipe: AnyRecipe, planned: Path | None = None
) -> Iterator[tuple[Loc, str]]:
    """Yield key and fault of every local file, folder and reward model that a recipe lacks.

    Not its own model (`explain_missing_model`), nor a path in `planned`, where the steps of a
    pipeline will write theirs.
    """
    for key, reward in getattr(recipe, "rewards", {}).items():
        named = getattr(reward, "model", None)
        if isinstance(named, str) and (missing := _explain_model(named, planned)):
            yield ("rewards", key, "model"), f"is not there: {missing}"
    for loc, path in _list_paths(recipe, ()):
        if planned is not None and Path(path).is_relative_to(planned):
            continue
        if not Path(path).exists() and not glob.glob(path, recursive=True):
            what = "is the output of no step and does not exist" if planned else "does not exist"
            yield loc, f"is {path!r}, which {what}; correct the path, or make the file or run first"


def _explain_model(model: str, planned: Path | None) -> str | None:
    if planned is not None and Path(model).is_relative_to(planned):
        return None
    try:
        model_path(model)
    except ModelError as error:
        return str(error)
    return None


def _list_paths(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield the local paths in a recipe, patterns included, with their keys."""
    if isinstance(value, Path):
        yield loc, str(value)
    elif isinstance(value, Source):
        yield from (((*loc, "path"), path) for path in value.local_paths())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            item = getattr(value, name)
            file = name == "template" and isinstance(item, str) and Path(item).is_absolute()
            yield from _list_paths(Path(item) if file else item, (*loc, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _list_paths(item, (*loc, str(key)))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _list_paths(item, (*loc, number))
