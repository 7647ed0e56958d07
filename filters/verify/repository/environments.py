"""Boxes for repositories: a snapshot, unpacked and compiled once, with pytest warm in each box."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from factory.core.machine import list_versions
from filters.verify.repository.problem import limits
from filters.verify.repository.snapshots import read_snapshot, unpack_snapshot
from filters.verify.repository.trial import compile_tests, library, list_unneeded
from filters.verify.sandbox import Boxes, available
from filters.verify.sandbox.box import Box

logger = logging.getLogger(__name__)

_OPEN = 4
"""Snapshots whose boxes stay warm at a time. Each box holds about 50 MB."""


@lru_cache(maxsize=8)
def read_texts(snapshot: str) -> dict[str, str]:
    """The Python files of a snapshot as text. Those that are no UTF-8 are left out.

    Raises SnapshotError.
    """
    texts = {}
    for path, content in read_snapshot(snapshot).items():
        if path.endswith(".py"):
            try:
                texts[path] = content.decode()
            except UnicodeDecodeError:
                continue
    return texts


class Environments:
    """The boxes of several snapshots, opened when first needed; the least used are closed."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers
        self._open: OrderedDict[tuple[str, tuple[str, ...]], Boxes] = OrderedDict()
        self._obstacles: dict[tuple[str, ...], str | None] = {}

    def obstacle(self, requires: Sequence[str]) -> str | None:
        """Why no tests can be run here, or None. Looked at once for each set of distributions."""
        key = tuple(requires)
        if key not in self._obstacles:
            needed = library(key)
            missing = needed.missing()
            self._obstacles[key] = (
                f"{missing} is not installed here; install it next to r1-factory"
                if missing is not None
                else available()
            )
        return self._obstacles[key]

    def boxes(self, snapshot: str, requires: Sequence[str], paths: Sequence[str]) -> Boxes:
        """The boxes of one snapshot. Raises SnapshotError or SandboxFailure."""
        key = snapshot, tuple(requires)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        needed = library(requires)

        def compile_tree(folder: Path) -> None:
            box = Box(library=replace(needed, tree=folder, compiling=True))
            try:
                records = compile_tests(box, paths, limits(300.0))
            finally:
                box.close()
            if records.broken:
                logger.warning("snapshot %s: not compiled: %s", snapshot[:12], records.broken)

        versions = list_versions("pytest", *requires)
        tools = f"{versions} {'/'.join(paths)}"
        tree = unpack_snapshot(snapshot, tools, compile_tree)
        while len(self._open) >= _OPEN:
            self._open.popitem(last=False)[1].close()
        without = list_unneeded(read_snapshot(snapshot))
        self._open[key] = Boxes(self._workers, library=replace(needed, tree=tree, without=without))
        return self._open[key]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
