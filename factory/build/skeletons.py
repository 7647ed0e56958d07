"""`factory init`: a recipe, or an extension with its test, to begin from. Never overwrites."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from factory.core.errors import Problem, RecipeError
from factory.core.resources import data_path, recipe_path


class Skeleton(NamedTuple):
    """A complete extension of the shipped example package, and how a user names a copy of it."""

    name: str  # of its class
    use: str  # where the reference goes; {0} is path/to/file.py:Class


SKELETONS = {
    "loader": Skeleton("QuestionBlocks", 'sources: [{{class: "{0}", path: questions.txt}}]'),
    "verifier": Skeleton("SameItems", 'in a source: verifier: {{class: "{0}"}}'),
    "filter": Skeleton("AsksBack", 'filters: {{NAME: {{class: "{0}"}}}}'),
    "reward": Skeleton("Brevity", 'rewards: {{NAME: {{class: "{0}"}}}}'),
    "environment": Skeleton("GuessNumber", 'in a source: environment: {{class: "{0}"}}'),
    "exporter": Skeleton("Alpaca", "factory export RUN --format {0} …"),
    "engine": Skeleton("Canned", 'engine: {{class: "{0}", args: {{…}}}}'),
}
"""Kind of extension → what `factory init --KIND` copies."""

_PACKAGE = "plugin_example"

EXISTS = "already exists; choose another name or move it"


def write_skeleton(kind: str, path: Path) -> tuple[Path, str]:
    """Write an extension to `path` and its test next to it; returns the test and how it is named.

    The class is named after the file. Raises RecipeError for a file that exists, or whose name is
    no Python module's.
    """
    stem = path.stem
    if path.suffix != ".py" or not stem.isidentifier():
        what = f"is no name of a Python module; write one like my_{kind}.py"
        raise RecipeError([Problem(str(path), what)])
    skeleton = SKELETONS[kind]
    folder = recipe_path(_PACKAGE)
    code = (folder / _PACKAGE / f"{kind}.py").read_text(encoding="utf-8")
    test = (folder / "tests" / f"test_{kind}.py").read_text(encoding="utf-8")
    name = "".join(word.capitalize() for word in stem.split("_") if word)
    if re.search(rf"\b{name}\b", code + test):
        name = f"My{name}"  # such as Filter, which the skeleton imports
    old = skeleton.name
    words = {old: name, _snake(old): stem, f"{_PACKAGE}.{kind}": stem}
    for before, after in words.items():
        code, test = code.replace(before, after), test.replace(before, after)
    tests = path.with_name(f"test_{stem}.py")
    for file in (path, tests):
        if file.exists():
            raise RecipeError([Problem(str(file), EXISTS)])
    write_new(path, code)
    write_new(tests, test)
    return tests, skeleton.use.format(f"{path.name}:{name}")


def write_recipe(path: Path) -> None:
    """Write a commented recipe to begin from."""
    write_new(path, data_path("starter.yaml").read_text(encoding="utf-8"))


def write_new(path: Path, text: str) -> None:
    """Write a file that must not be there yet. Raises RecipeError where it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise RecipeError([Problem(str(path), EXISTS)]) from None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
