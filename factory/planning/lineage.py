"""Which architecture a recipe's model has, although the model may be a training still to come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.core.errors import ModelError, RecipeError
from factory.planning.architecture import Architecture, find_architecture
from factory.recipe.assembly import Assembly
from factory.recipe.document import load_document
from factory.recipe.kinds import AnyRecipe
from factory.recipe.training import Training

MOST_TRAININGS = 12
"""Length of a chain of trainings, each the other's model, at which a circle is certain."""


class Lineage:
    """Finds the model that a directory of a coming training will have the shape of.

    `steps` maps directories of a pipeline's steps to their recipes. Other directories are looked up
    by name among the recipes next to `recipe`, in the folder above and in those below: runs/NAME is
    made by the recipe named NAME.
    """

    def __init__(
        self, recipe: Path | None, like: str | None, steps: Mapping[str, AnyRecipe] | None = None
    ) -> None:
        self._folders = [recipe.parent, recipe.parent.parent] if recipe is not None else []
        self._like = like
        self._steps = dict(steps or {})
        self._recipes: dict[Path, dict[str, Any]] = {}

    def find(self, model: str) -> Architecture:
        """Return the architecture of a model. Raises ModelError where nothing says what it is."""
        for _ in range(MOST_TRAININGS):
            step = self._steps.get(model)
            before = step.model.id if isinstance(step, Training) else self._find_start(model)
            if before is None:
                break
            model = before
        return find_architecture(model, self._like)

    def rows(self, data: Path) -> int | None:
        """Return the rows of a corpus to come: the quotas of the assembly of that name."""
        step = self._steps.get(str(data))
        if isinstance(step, Assembly):
            found = {"quotas": step.model_dump()["quotas"]}
        else:
            found = self._find_recipe(data.name)
        quotas = found.get("quotas")
        if not isinstance(quotas, dict):
            return None
        rows = [one.get("rows") if isinstance(one, dict) else one for one in quotas.values()]
        known = [row for row in rows if isinstance(row, int)]
        return sum(known) if known and len(known) == len(rows) else None

    def _find_start(self, model: str) -> str | None:
        """Return the model that the training in the directory `model` starts from."""
        path = Path(model).expanduser()
        if not model.startswith((".", "/", "~")) or (path / "config.json").is_file():
            return None
        try:  # a finished training has its own config
            find_architecture(model)
        except ModelError:
            given = self._find_recipe(path.name).get("model")
            found = given.get("id") if isinstance(given, dict) else given
            return str(found) if found is not None and found != model else None
        return None

    def _find_recipe(self, name: str) -> dict[str, Any]:
        """Return the nearest recipe of this name, or nothing. Unreadable files are no help."""
        for shape in ("*.yaml", "*/*.yaml"):
            for folder in self._folders:
                for file in sorted(folder.glob(shape)):
                    if file not in self._recipes:
                        self._recipes[file] = _read(file)
                    if self._recipes[file].get("name") == name:
                        return self._recipes[file]
        return {}


def _read(file: Path) -> dict[str, Any]:
    try:
        return load_document(file).data
    except RecipeError:
        return {}
