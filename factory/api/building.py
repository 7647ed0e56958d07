"""Recipes and builds: `load_recipe` and `build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any

from factory.api.consoles import RUNS, console
from factory.api.runs import Run
from factory.core.errors import Problem, RecipeError
from factory.core.trust import trusting
from factory.recipe.assembly import Assembly, parse_build
from factory.recipe.build import Recipe
from factory.recipe.document import Document, change, load_document, read_mapping

RecipeSource = str | PathLike[str] | Mapping[str, Any] | Recipe | Assembly
"""A file, a shipped recipe's name (`quickstart`), a mapping, or what `load_recipe` returned."""

Overrides = Mapping[str, Any] | Sequence[str]
"""Dotted keys and their values, or `key=value` strings as `--set` takes them."""


def load_recipe(
    source: RecipeSource, overrides: Overrides = (), *, trust_code: bool = False
) -> Recipe | Assembly:
    """Read and check a recipe that samples, or one of `kind: assembly`.

    `source` is a file, the name of a shipped recipe (`quickstart`, `r1/corpus`), or a mapping with
    a recipe's keys, whose relative paths start at the working directory. `overrides` change keys:
    a mapping of dotted keys to values (`{"sampling.n": 16}`), or `"sampling.n=16"` strings as
    `--set` takes them. With `trust_code` the classes in files that the recipe names run; without
    it only those in files that are trusted already.

    Raises RecipeError, which lists every problem with its place; `.problems` holds them one by one.

    >>> load_recipe("quickstart", {"sampling.n": 2}).sampling.n
    2
    """
    if isinstance(source, Recipe | Assembly):
        _refuse_changed(source)
        if not overrides:
            return source
        document = Document(deepcopy(source._written))
    elif isinstance(source, Mapping):
        document = read_mapping(source)
    else:
        document = load_document(Path(source))
    change(document, overrides)
    with trusting(trust_code):
        return parse_build(document)


def build(
    recipe: RecipeSource,
    *,
    run: str | PathLike[str] | None = None,
    overrides: Overrides = (),
    progress: bool = False,
    trust_code: bool = False,
) -> Run:
    """Carry a recipe through to its corpus, and return its run.

    Does only what is not done yet: after an interruption the same call goes on, and a finished run
    returns at once. `recipe`, `overrides` and `trust_code` are as in `load_recipe`; `run` is the
    run directory, `runs/NAME` unless given. With `progress` a display on standard error shows the
    work, in a notebook too; else it is only logged.

    Raises RecipeError, EngineError (the engine is lost; what was sampled is safe), RunError (the
    directory is in use, or holds samples drawn with other settings), SourceError, ModelError,
    StorageError, QuotaError, and Stopped on Ctrl-C.

    >>> run = build("quickstart", overrides={"sampling.n": 2})  # doctest: +SKIP
    >>> run.corpus()  # doctest: +SKIP
    """
    from factory.build.build import build as build_recipe
    from factory.corpus.assembly.assemble import build_assembly

    with trusting(trust_code):
        loaded = load_recipe(recipe, overrides)
        directory = Path(run) if run is not None else RUNS / loaded.name
        if isinstance(loaded, Assembly):
            build_assembly(loaded, directory, console(progress))
        else:
            build_recipe(loaded, directory, console(progress))
    return Run(directory)


def _refuse_changed(recipe: Recipe | Assembly) -> None:
    """A run keeps the recipe as it was written; a copy with other fields would not be that one."""
    again = parse_build(Document(deepcopy(recipe._written)))
    if again != recipe:
        raise RecipeError(
            [
                Problem(
                    f"recipe {recipe.name}",
                    "was changed after it was loaded (model_copy?), which a run cannot record; "
                    "give the changes as `overrides`",
                )
            ]
        )
