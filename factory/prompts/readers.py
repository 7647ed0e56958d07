"""Rows of a file, one at a time, each with its line: JSONL, JSON, CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from factory.core.errors import SourceError
from factory.prompts.bounded import (
    FREE_BYTES,
    MAX_LINE_BYTES,
    MAX_RATIO,
    LimitedLines,
    lines,
    open_bounded,
)
from factory.prompts.source import BadRow, Row

MAX_DEPTH = 100
"""Levels of lists and objects in a row."""

MAX_ARRAY_BYTES = 1 << 30
"""Of a file that is one JSON array."""

Rows = Iterator[tuple[int, Row | BadRow]]


def read_rows(path: Path, format: str | None = None, delimiter: str | None = None) -> Rows:
    """The rows of `path` and their line (Parquet: row) numbers, from 1.

    `delimiter` separates the columns of CSV; it is found by the header line unless given.
    """
    format = format or format_of(path)
    if format is None:
        raise SourceError(
            f"{path}: no format is known by this name; rename it or set `format:` "
            f"({', '.join(READERS)})"
        )
    import pyarrow as pa

    try:
        if format == "csv":
            yield from _csv(path, delimiter or find_delimiter(path))
        else:
            yield from READERS[format](path)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
        raise SourceError(
            f"{path}: cannot be read as {format}: {error}; "
            "check that the file is whole and of that format"
        ) from error


def format_of(path: Path) -> str | None:
    """The format a file's name tells, compression aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _refuse_utf_16(path: Path) -> None:
    """Raise SourceError for a file in UTF-16, with or without a mark at its start."""
    with open_bounded(path) as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff") or (start.count(0) == 1 and len(start) == 2):
        raise SourceError(f"{path}: is UTF-16, not UTF-8; save it as UTF-8")


def _jsonl(path: Path) -> Rows:
    _refuse_utf_16(path)
    with open_bounded(path) as file:
        for number, line in enumerate(lines(file), 1):
            if line is None:
                yield number, BadRow("too_long", f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
            elif line.strip():
                yield number, _parsed(line)


def _json(path: Path) -> Rows:
    """An array, held in memory whole, or JSON Lines that go by the name of JSON."""
    _refuse_utf_16(path)
    with open_bounded(path) as file:
        start = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        yield from _jsonl(path)
        return
    with open_bounded(path) as file:
        text = file.read(MAX_ARRAY_BYTES + 1)
    if len(text) > MAX_ARRAY_BYTES:
        raise SourceError(
            f"{path}: an array of more than {MAX_ARRAY_BYTES >> 20:,} MiB, which must be held in "
            "memory whole; write JSONL, one object a line"
        )
    rows = _decoded(text)
    if isinstance(rows, BadRow):
        raise SourceError(
            f"{path}: {rows.detail}; one broken value spoils an array, JSONL does not"
        )
    for number, row in enumerate(rows, 1):
        yield number, _as_row(row)


def _parsed(line: bytes) -> Row | BadRow:
    value = _decoded(line)
    return value if isinstance(value, BadRow) else _as_row(value)


def _decoded(text: bytes) -> Any:
    try:
        found = json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return BadRow("bad_unicode", f"not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow("bad_json", str(error))
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_deep(found):
        return BadRow("bad_json", f"nested more than {MAX_DEPTH} levels deep")
    return found


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_row(value: Any) -> Row | BadRow:
    return value if isinstance(value, dict) else BadRow("bad_json", "the row is not an object")


DELIMITERS = ",;\t|"


def find_delimiter(path: Path) -> str:
    """Return the sign that separates the columns of a CSV file's header line.

    Raises SourceError where two signs may: a header names columns, so it has one of them.
    """
    _refuse_utf_16(path)
    with open_bounded(path) as file:
        header = file.readline(1 << 16).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    outside = re.sub(r'"(?:[^"]|"")*"', "", header)
    counts = {sign: n for sign in DELIMITERS if (n := outside.count(sign))}
    if len(counts) > 1:
        listed = ", ".join(f"{n} {sign!r}" for sign, n in counts.items())
        raise SourceError(
            f"{path}:1: the header has {listed}, so what separates its columns is not clear; set "
            f"`delimiter:` of this source. The header: {header.strip()[:200]}"
        )
    return next(iter(counts), ",")


def _csv(path: Path, delimiter: str = ",") -> Rows:
    csv.field_size_limit(MAX_LINE_BYTES)  # the default refuses tests and passages over 128 kB
    with (
        io.BufferedReader(LimitedLines(open_bounded(path))) as raw,
        io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        _refuse_doubled(path, reader)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, BadRow("bad_csv", str(error))
                continue
            bad = _undecodable(row)
            if bad is not None:
                yield reader.line_num, BadRow("bad_unicode", bad)
                continue
            if None in row or None in row.values():
                width = len(reader.fieldnames or ())
                yield reader.line_num, BadRow("bad_csv", f"the row has not the {width} columns")
            else:
                yield reader.line_num, row


def _refuse_doubled(path: Path, reader: csv.DictReader[str]) -> None:
    """Raise SourceError for a header that names a column twice: one would hide the other."""
    try:
        names = Counter(name for name in reader.fieldnames or () if name.strip())
    except csv.Error as error:
        raise SourceError(f"{path}:1: the header cannot be read: {error}") from error
    doubled = [name for name, count in names.items() if count > 1]
    if doubled:
        raise SourceError(f"{path}:1: the header names {doubled[0]!r} twice; rename one of the two")


def _undecodable(row: dict[str | None, Any]) -> str | None:
    """Say which text of a row is not UTF-8; None if all is."""
    for text in (*row.keys(), *row.values()):
        if not isinstance(text, str) or text.isascii():
            continue
        raw = text.encode("utf-8", "surrogateescape")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            around = raw[max(0, error.start - 20) : error.start + 20]
            return (
                f"not UTF-8: the byte 0x{raw[error.start]:02x} in "
                f"{around.decode('cp1252', 'replace')!r} as Windows-1252 reads it; save it as "
                "UTF-8 (in a spreadsheet: CSV UTF-8)"
            )
    return None


def _tsv(path: Path) -> Rows:
    return _csv(path, "\t")


def _refuse_absurd(path: Path, metadata: Any) -> None:
    """Raise SourceError where a file would expand out of all proportion."""
    size = path.stat().st_size
    for number in range(metadata.num_row_groups):
        expanded = metadata.row_group(number).total_byte_size
        if expanded > max(FREE_BYTES, MAX_RATIO * size):
            raise SourceError(
                f"{path}: row group {number} expands to {expanded >> 20:,} MiB, more than "
                f"{MAX_RATIO} times the file; write it again in smaller row groups"
            )


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _refuse_absurd(path, file.metadata)
        for batch in file.iter_batches(batch_size=512):
            for row in batch.to_pylist():
                number += 1
                yield number, row


READERS: dict[str, Callable[[Path], Rows]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def parse_object(line: bytes, place: str) -> dict[str, Any]:
    """Return the object of a line of JSON Lines. Raises SourceError, which names the place."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{place} is not JSON ({error}); each line must be an object: fix or remove the line"
        ) from error
    if not isinstance(row, dict):
        raise SourceError(f"{place} is {type(row).__name__}, not an object with one key per column")
    return row
