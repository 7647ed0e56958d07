"""Installed packages that programs in a box may import: their files are bound read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

PACKAGES = "/box/packages"
"""Where a box holds them."""
TREE = "/box/tree"
"""Where a box holds a repository."""
LAYER = "/box/layer"
"""Where the files of one attempt lie while its repository is put together."""
REPOSITORY = "/repository"
"""Where a repository's tests find it, with the files of one attempt over it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_MODULE = (".dist-info", ".egg-info", ".data", ".pth", "__pycache__", "__editable__")


@dataclass(frozen=True, slots=True)
class Library:
    """Distributions to bind, with what they require, and modules to import before any program.

    An `optional` distribution is left out where it is not installed; any other must be there.
    `tree` is a folder to bind at TREE, for tasks of mode `tests`; `compiling` makes it writable;
    `without` names plugins of pytest that its tests do not need.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    tree: Path | None = None
    compiling: bool = False
    without: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """The first required distribution that is not installed, or None."""
        return next((name for name in self.required if _installed(name) is None), None)

    def files(self) -> dict[str, Path]:
        """Top-level name → where it is installed, of all distributions that are."""
        return _files((*self.required, *self.optional))


PROGRAMS = Library(optional=("numpy", "sortedcontainers"))
"""What the programs of code answers find besides the standard library, where it is installed."""


@cache
def _files(names: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting, seen = list(names), set()
    while waiting:
        name = _canonical(waiting.pop())
        distribution = None if name in seen else _installed(name)
        seen.add(name)
        if distribution is not None:
            found |= dict(_top_level(distribution))
            waiting += _requirements(distribution)
    return found


def _installed(name: str) -> Distribution | None:
    try:
        return Distribution.from_name(name)
    except PackageNotFoundError:
        return None


def _top_level(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    for name in {file.parts[0] for file in distribution.files or ()}:
        path = Path(str(distribution.locate_file(name)))
        if name != ".." and not name.endswith(_NO_MODULE) and path.exists():
            yield name, path.resolve()


def _requirements(distribution: Distribution) -> Iterator[str]:
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        name = _NAME.match(requirement)
        if name and "extra" not in marker:
            yield name[0]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
