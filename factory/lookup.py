"""How tables name what they hold: by path, so that asking for one thing imports one thing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def look_up(reference: str) -> Any:
    """What "package.module:attribute" names; its module is imported now."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
