"""Paths of the project's data, its recipes and the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _find_shipped(folder: str) -> Path:
    """Return a data folder: inside the installed package, or next to it in a checkout."""
    inside = _PACKAGE / "_shipped" / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def data_path(name: str) -> Path:
    """Return the path of a shipped data file, such as `few_shot/arithmetic.yaml`."""
    return _find_shipped("data") / name


def recipe_path(name: str) -> Path:
    """Return the path of a shipped recipe, such as `quickstart.yaml`."""
    return _find_shipped("recipes") / name


def named_path(folder: Path, value: str) -> Path:
    """Return the path that a recipe in `folder` names by `value`.

    `runs` next to the shipped recipes is the user's own: that of the working directory, where
    every command writes its runs. Raises RuntimeError for the home of an unknown user.
    """
    named = folder / Path(value).expanduser()
    recipes = _find_shipped("recipes")
    runs, own = recipes.parent / "runs", Path("runs").absolute()
    place = Path(os.path.normpath(named))
    if runs != own and folder.is_relative_to(recipes) and place.is_relative_to(runs):
        return own / place.relative_to(runs)
    return named


def cache_dir() -> Path:
    """Return the folder for converted models and compiled helpers. FACTORY_CACHE overrides it."""
    override = os.environ.get("FACTORY_CACHE")
    if override:
        return Path(override).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "r1-factory"
