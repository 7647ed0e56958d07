"""The filters, by the name a recipe uses.

Named by path and imported on use, so that asking for one imports one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.nouns import fingerprint
from factory.core.plugins import look_up, own_module

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
}


def filter_class(name: str) -> type[Filter]:
    """The class behind a filter's name. Raises KeyError for a name not in `FILTERS`."""
    found: type[Filter] = look_up(FILTERS[name])
    return found


class FilterClassError(ValueError):
    """A filter of the user's own cannot be loaded; the message says why."""


def own_filter_class(reference: str) -> type[Filter]:
    """A filter of the user's own, named `path/to/file.py:Class`.

    Runs that file: it is code, to be trusted as code is. Raises FilterClassError.
    """
    from filters.base import Filter

    file, colon, attribute = reference.rpartition(":")
    path = Path(file)
    if not colon or not path.is_file():
        raise FilterClassError("name a Python file and a class in it, as path/to/file.py:Class")
    try:
        module = own_module(path)
    except ImportError as error:
        raise FilterClassError(str(error)) from error
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, Filter)):
        raise FilterClassError(f"{path} has no class {attribute} that is a filters.base.Filter")
    found.SOURCE = fingerprint(path.read_text(encoding="utf-8"))
    found.REFERENCE = f"{path.resolve()}:{attribute}"
    return found
