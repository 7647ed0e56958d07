"""The filters, by the name a recipe uses.

Named by path and imported on use, so that asking for one imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.core.plugins import find_class

if TYPE_CHECKING:
    from filters.base import Filter

FILTERS = {
    "format": "filters.format:Format",
    "correctness": "filters.correctness:Correctness",
    "language": "filters.language:Language",
    "length": "filters.length:Length",
    "readability": "filters.readability:Readability",
    "repetition": "filters.repetition:Repetition",
    "contamination": "filters.contamination:Contamination",
    "safety": "filters.safety:Safety",
    "identity": "filters.identity:Identity",
    "quality": "filters.quality:Quality",
    "steps": "filters.steps:Steps",
    "episode": "filters.episode:Episode",
}


GROUP = "factory.filters"
"""Installed packages add filters as entry points of this group."""


def filter_class(name: str) -> type[Filter]:
    """The class behind a filter's name, an entry point's, or `path/to/file.py:Class`.

    Raises PluginError.
    """
    from filters.base import Filter

    return find_class(FILTERS, name, Filter, GROUP)
