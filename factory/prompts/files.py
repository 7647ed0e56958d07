"""Prompts from the user's own files."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from factory.core.errors import SourceError
from factory.prompts.mapping import Mapped
from factory.prompts.readers import find_delimiter, format_of, read_rows
from factory.prompts.source import BadRow, Row

_COMMA = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?")


class Files(Mapped):
    """JSONL, JSON, CSV, TSV or Parquet files; all but Parquet may be compressed (.gz, .zst)."""

    kind: Literal["files"] = "files"
    path: str | tuple[str, ...] = Field(
        description="A file or a glob (`**` for any depth), or a list of them, "
        "relative to the recipe. `factory:prompts/arithmetic.jsonl` is one that comes with the "
        "factory."
    )
    format: Literal["jsonl", "json", "csv", "tsv", "parquet"] | None = Field(
        None, description="Format of the files. Default: by file name."
    )

    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Sign between the columns of CSV files. Default: found in the header line: a "
        "comma, semicolon, tab or `|`.",
    )

    decimal_comma: bool | None = Field(
        None,
        description="Whether numbers in the answer column have a decimal comma: `1.234,5` is read "
        "as 1234.5. Must be given for such answers in CSV with semicolons.",
    )

    @model_validator(mode="after")
    def _delimits_csv(self) -> Files:
        if self.delimiter is not None and self.format not in (None, "csv"):
            raise ValueError(f"delimiter is for CSV, and format is {self.format}; remove one")
        return self

    @property
    def label(self) -> str:
        return self.name or Path(self.patterns[0]).name.partition(".")[0].strip("*") or self.kind

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    def local_paths(self) -> tuple[str, ...]:
        return self.patterns

    def paths(self) -> list[Path]:
        """Return the files without repeats, ordered by pattern and then by name."""
        return find_files(self.patterns)

    def identity(self) -> Any:
        return [super().identity(), identify_files(self.paths())]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for path in self.paths():
            delimiter = None
            if (self.format or format_of(path)) == "csv":
                delimiter = self.delimiter or find_delimiter(path)
            for number, row in read_rows(path, self.format, delimiter):
                yield f"{path}:{number}", self._with_decimal_point(row, delimiter)

    def _with_decimal_point(self, row: Row | BadRow, delimiter: str | None) -> Row | BadRow:
        """Return a row whose answer, where it is a number with a decimal comma, has a point."""
        name = self.columns.answer
        answer = None if isinstance(row, BadRow) else row.get(str(name))
        if isinstance(row, BadRow) or not isinstance(answer, str):
            return row
        if self.decimal_comma is None and delimiter == ";" and _COMMA.fullmatch(answer.strip()):
            return BadRow(
                "decimal_comma",
                f"is the answer {answer!r} one number with a decimal comma? Columns are separated "
                "by semicolons, so it may be: set `decimal_comma: true` or `false`",
            )
        if self.decimal_comma and _NUMBER.fullmatch(answer.strip()):
            return {**row, str(name): answer.replace(".", "").replace(",", ".")}
        return row


def find_files(patterns: Iterable[str]) -> list[Path]:
    """Return the files of names and globs, without repeats. Raises SourceError if one has none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        # A name with brackets is tried as a file name before it is used as a pattern.
        matches = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)
        if not matches:
            raise SourceError(f"{pattern}: no such file; paths are relative to the recipe")
        found.update(dict.fromkeys(map(Path, sorted(matches))))
    for path in found:
        if path.is_dir():
            raise SourceError(f"{path}: is a directory; name its files: {path}/*.jsonl")
    return list(found)


def identify_files(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what changes with the files: their names, sizes and times."""
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
