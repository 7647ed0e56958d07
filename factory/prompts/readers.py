"""Rows of a file, one at a time, each with its line: JSONL, JSON, CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from factory.core.errors import SourceError
from factory.prompts.source import BadRow, Row

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


def _open(path: Path) -> io.BufferedReader | gzip.GzipFile:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".zst":
            return io.BufferedReader(ZstdFile(path.open("rb")), 1 << 20)
    return path.open("rb")


class ZstdFile(io.RawIOBase):
    """A zstd stream of any number of frames. Unlike the library's own reader it notices that the
    last frame is cut off."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._pending = b""  # compressed, the next frame's start
        self._ready = b""  # decompressed, not yet handed out
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._pending or self._source.read(1 << 17)
            self._pending = b""
            if not chunk:
                if self._inside:
                    raise EOFError("the zstd stream is cut off")
                return 0
            self._ready = self._frame.decompress(chunk)
            self._inside = not self._frame.eof
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._source.close()
        super().close()


def _jsonl(path: Path) -> Rows:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _parsed(line)


def _json(path: Path) -> Rows:
    """An array, held in memory whole, or JSON Lines that go by the name of JSON."""
    with _open(path) as file:
        start = next((line.strip() for line in file if line.strip()), b"")
    if not start.removeprefix(b"\xef\xbb\xbf").startswith(b"["):
        yield from _jsonl(path)
        return
    with _open(path) as file:
        rows = _decoded(file.read())
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
        return json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return BadRow("bad_unicode", f"not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow("bad_json", str(error))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_row(value: Any) -> Row | BadRow:
    return value if isinstance(value, dict) else BadRow("bad_json", "the row is not an object")


DELIMITERS = ",;\t|"


def find_delimiter(path: Path) -> str:
    """Return the sign that separates the columns of a CSV file's header line.

    Raises SourceError where two signs may: a header names columns, so it has one of them.
    """
    with _open(path) as file:
        header = file.readline(1 << 16).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if header.startswith(("\ufffd\ufffd", "\0")) or "\0" in header:
        raise SourceError(f"{path}: is UTF-16, not UTF-8; save it as UTF-8")
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
    csv.field_size_limit(sys.maxsize)  # the default refuses tests and passages over 128 kB
    with (
        _open(path) as raw,
        io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
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


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
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
