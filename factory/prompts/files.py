"""Prompts from the user's own files."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from factory.core.errors import SourceError
from factory.prompts.mapping import Mapped
from factory.prompts.readers import read_rows
from factory.prompts.source import BadRow, Row


class Files(Mapped):
    """JSONL, JSON, CSV, TSV or Parquet files; all but Parquet may be compressed (.gz, .zst)."""

    kind: Literal["files"] = "files"
    path: str | tuple[str, ...] = Field(
        description="A file or a glob (`**` for any depth), or a list of them, "
        "relative to the recipe."
    )
    format: Literal["jsonl", "json", "csv", "tsv", "parquet"] | None = Field(
        None, description="Format of the files. Default: by file name."
    )

    @property
    def label(self) -> str:
        return self.name or Path(self.patterns[0]).name.partition(".")[0].strip("*") or self.kind

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    def paths(self) -> list[Path]:
        """Return the files without repeats, ordered by pattern and then by name."""
        found: dict[Path, None] = {}
        for pattern in self.patterns:
            # A name with brackets is tried as a file name before it is used as a pattern.
            matches = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)
            if not matches:
                raise SourceError(f"{pattern}: no such file; paths are relative to the recipe")
            found.update(dict.fromkeys(map(Path, sorted(matches))))
        for path in found:
            if path.is_dir():
                raise SourceError(f"{path}: is a directory; name its files: {path}/*.jsonl")
        return list(found)

    def identity(self) -> Any:
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths()]
        return [super().identity(), stats]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for path in self.paths():
            for number, row in read_rows(path, self.format):
                yield f"{path}:{number}", row
