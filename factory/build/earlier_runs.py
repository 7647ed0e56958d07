"""Where a recipe was built before: the same command in another directory begins a new run.

Without `--run` a run lies in `runs/NAME` of the working directory. Samples cost money, so a run of
the same recipe elsewhere is named before a new one begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from factory.core.errors import StorageError
from factory.core.files import write_atomic
from factory.core.resources import cache_dir
from factory.core.run_dir import sample_parts

REMEMBERED = 20
"""Runs remembered for a recipe, newest first."""
NAMED = 3
"""Runs named before a new one begins."""


def describe_new_run(recipe: Path, run: Path) -> Iterator[str]:
    """Yield where a new run begins, and runs of the same recipe elsewhere that could go on."""
    if (run / "run.json").exists():
        return
    others = [(other, count) for other in _find_others(recipe, run) if (count := _count(other))]
    if others:
        yield f"a new run begins in {run.absolute()}"
    for other, count in others[:NAMED]:
        yield (
            f"this recipe has a run with {count:,} samples in {other}; to go on there instead, "
            f"give --run {other}"
        )


def remember_run(recipe: Path, run: Path) -> None:
    """Remember that a recipe is built in a directory. Does nothing where the cache is read-only."""
    known = [str(run.absolute()), *_read(recipe)]
    with suppress(StorageError):
        write_atomic(_file(recipe), json.dumps(list(dict.fromkeys(known))[:REMEMBERED]))


def _find_others(recipe: Path, run: Path) -> list[Path]:
    """The directories of this recipe that exist: remembered, next to it, or in a parent folder."""
    here = run.resolve()
    found = [Path(name) for name in _read(recipe)]
    if not run.is_absolute():
        folders = [recipe.resolve().parent, *Path.cwd().resolve().parents]
        found += [folder / run for folder in folders]
    known: dict[Path, None] = {}
    for path in found:
        with suppress(OSError):
            if (path / "run.json").is_file() and path.resolve() != here:
                known[path.resolve()] = None
    return list(known)


def _count(run: Path) -> int:
    """The number of sealed samples, by the files' footers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    for part in sample_parts(run):
        with suppress(OSError, pa.ArrowException):
            count += pq.read_metadata(part).num_rows
    return count


def _file(recipe: Path) -> Path:
    name = hashlib.sha256(str(recipe.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_dir() / "runs" / f"{name[:32]}.json"


def _read(recipe: Path) -> list[str]:
    try:
        found = json.loads(_file(recipe).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
