"""Where the project's own data, its recipes and the user's cache are."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(folder: str) -> Path:
    """A folder beside the packages in a checkout, inside the package once installed."""
    inside = _PACKAGE / f"_{folder}"
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def data_path(name: str) -> Path:
    """A file that ships with the project, such as `few_shot/arithmetic.yaml`."""
    return _shipped("data") / name


def recipe_path(name: str) -> Path:
    """A recipe that ships with the project, such as `quickstart.yaml`."""
    return _shipped("recipes") / name


def cache_dir() -> Path:
    """Where converted models and compiled helpers are kept; FACTORY_CACHE overrides it."""
    override = os.environ.get("FACTORY_CACHE")
    if override:
        return Path(override).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "r1-factory"
