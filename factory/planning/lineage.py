"""Which architecture a recipe's model has, although the model may be a training still to come."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from factory.core.errors import ModelError, RecipeError
from factory.planning.architecture import Architecture, find_architecture
from factory.recipe.document import load_document

MOST_TRAININGS = 12
"""Length of a chain of trainings, each the other's model, at which a circle is certain."""


class Lineage:
    """Finds the model that a directory of a coming training will have the shape of.

    `made` maps directories of a pipeline's steps to their models. Other directories are looked up
    by name among the recipes next to `recipe`: runs/NAME is made by the recipe named NAME.
    """

    def __init__(
        self, recipe: Path | None, like: str | None, made: Mapping[str, str] | None = None
    ) -> None:
        self._folder = recipe.parent if recipe is not None else None
        self._like = like
        self._made = dict(made or {})

    def find(self, model: str) -> Architecture:
        """Return the architecture of a model. Raises ModelError where nothing says what it is."""
        for _ in range(MOST_TRAININGS):
            before = self._made.get(model) or self._find_start(model)
            if before is None:
                break
            model = before
        return find_architecture(model, self._like)

    def rows(self, data: Path) -> int | None:
        """Return the rows of a corpus to come: the quotas of the assembly of that name."""
        found = self._recipes.get(data.name, {})
        quotas = found.get("quotas")
        if not isinstance(quotas, dict):
            return None
        rows = [one.get("rows") if isinstance(one, dict) else one for one in quotas.values()]
        known = [row for row in rows if isinstance(row, int)]
        return sum(known) if len(known) == len(rows) else None

    def _find_start(self, model: str) -> str | None:
        """Return the model that the training in the directory `model` starts from."""
        path = Path(model).expanduser()
        if not model.startswith((".", "/", "~")) or (path / "config.json").is_file():
            return None
        try:  # a finished training has its own config
            find_architecture(model)
        except ModelError:
            given = self._recipes.get(path.name, {}).get("model")
            found = given.get("id") if isinstance(given, dict) else given
            return str(found) if found is not None and found != model else None
        return None

    @cached_property
    def _recipes(self) -> dict[str, dict[str, Any]]:
        """The recipes in the folder by name. Those that can't be read are no help."""
        found: dict[str, dict[str, Any]] = {}
        for file in sorted(self._folder.glob("*.yaml")) if self._folder is not None else ():
            try:
                data = load_document(file).data
            except RecipeError:
                continue
            if isinstance(data.get("name"), str):
                found[data["name"]] = data
        return found
