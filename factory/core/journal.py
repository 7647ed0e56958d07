"""The write-ahead journal of samples, which is sealed into Parquet parts.

A record is one line: the sample as compact JSON, a tab, and the CRC-32 of the JSON in hexadecimal.
(Tabs inside strings are escaped, so the last tab of a line is the separator.) Lines of version
0.1.0, without a checksum, are also read. A damaged record is dropped, the others are sealed, and
the journal is kept as `journal-00007.jsonl.damaged`.
"""

from __future__ import annotations

import json
import math
import queue
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from factory.core.checksums import check
from factory.core.errors import FactoryError, RunError
from factory.core.files import encode_line, storage_error, sync_dir, sync_stream, write_row_groups
from factory.core.nouns import OPTIONAL, Sample, sample_schema

if TYPE_CHECKING:
    import pyarrow as pa

SYNC_SECONDS = 1.0
"""Maximum time until an appended sample is durable."""

SEAL_ROWS = 4096
SEAL_BYTES = 64 << 20
"""A journal is sealed when it has this many samples or bytes, or when its first sample is as old as
the writer's `seal_seconds`."""

ROW_GROUP_ROWS = 256
"""Samples per row group of a part: what a damaged byte can cost."""

QUEUE_BYTES = 64 << 20
"""Bytes of records that may wait for the disk. Beyond it, `put` waits: memory stays bounded."""

_CHECKSUM = re.compile(rb"\t([0-9a-f]{8})")


class Sealed(NamedTuple):
    """What became of a journal."""

    part: Path | None  # None where it held no readable sample
    damaged: int = 0
    """Records that could not be read."""
    kept_as: Path | None = None
    """The journal itself, where a record of it was damaged."""


class JournalWriter(threading.Thread):
    """Appends lines to a journal, syncs them in groups, and seals the journal when it is full.

    The sampling loop only puts bytes on a queue, so sealing does not delay it. A disk that stays
    too slow does: then the loop waits, and no memory fills with what is not durable.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        on_seal: Callable[[Sealed], None] | None,
        seal_seconds: float | None = None,
    ) -> None:
        super().__init__(name="journal", daemon=True)
        self.folder, self.number, self.on_seal = folder, number, on_seal
        self.seal_seconds = math.inf if seal_seconds is None else seal_seconds
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self.queued_bytes = 0
        """Bytes of the records that are not written yet."""
        self._error: BaseException | None = None
        self.start()

    def put(self, line: bytes) -> None:
        """Queue a record, once there is room. Raises the FactoryError of what ended the writer."""
        with self._room:
            self._room.wait_for(lambda: self._error or self.queued_bytes < QUEUE_BYTES)
            self._raise_error()
            self.queued_bytes += len(line)
            self._queue.put(line)

    def close(self) -> None:
        """Write, sync and seal what is queued. Raises a FactoryError if any of it failed."""
        self._queue.put(None)
        self.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error = self._error
        if error is None:
            return
        if isinstance(error, FactoryError):
            raise error
        if isinstance(error, OSError):
            raise storage_error(self.folder, error) from error
        raise RunError(
            f"the journal of {self.folder} cannot be written ({type(error).__name__}: {error}). "
            "What was committed is safe; run the same command again to go on."
        ) from error

    def run(self) -> None:
        try:
            while self._write_journal():
                pass
        except BaseException as error:  # whatever it is, the run must hear of it
            with self._room:
                self._error = error
                self._room.notify_all()
            if not isinstance(error, OSError):  # the disk still takes what is queued
                with suppress(OSError):
                    self._rescue()

    def _make_room(self, size: int) -> None:
        with self._room:
            self.queued_bytes -= size
            self._room.notify_all()

    def _rescue(self) -> None:
        """Write what is still queued to a journal; the next process seals it."""
        with open(self.folder / f"journal-{self.number + 1:05d}.jsonl", "wb") as stream:
            with suppress(queue.Empty):
                while True:
                    stream.write(self._queue.get_nowait() or b"")
            sync_stream(stream)

    def _write_journal(self) -> bool:
        """Fill one journal and seal it. Returns False after the last line."""
        journal = self.folder / f"journal-{self.number:05d}.jsonl"
        rows = size = 0
        more = True
        with open(journal, "wb", buffering=1 << 16) as stream:
            synced, dirty, seal_at = time.monotonic(), False, math.inf
            while rows < SEAL_ROWS and size < SEAL_BYTES and time.monotonic() < seal_at:
                try:
                    line = self._queue.get(timeout=SYNC_SECONDS / 2)
                except queue.Empty:
                    line = b""
                if line is None:
                    more = False
                    break
                if line:
                    self._make_room(len(line))
                    seal_at = seal_at if rows else time.monotonic() + self.seal_seconds
                    stream.write(line)
                    rows, size, dirty = rows + 1, size + len(line), True
                if dirty and time.monotonic() - synced >= SYNC_SECONDS / 2:
                    sync_stream(stream)
                    synced, dirty = time.monotonic(), False
            sync_stream(stream)
        sealed = seal_journal(journal)
        self.number += 1
        if self.on_seal is not None:
            self.on_seal(sealed)
        return more


def encode_record(sample: Sample) -> bytes:
    """Encode a sample as a line of the journal."""
    try:
        text = msgspec.json.encode(sample)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a count beyond 64 bits
        text = encode_line(asdict(sample))[:-1]
    return add_checksum(text)


def add_checksum(text: bytes) -> bytes:
    """Return a line of a journal: the JSON of a record and its checksum."""
    return b"%s\t%08x\n" % (text, zlib.crc32(text))


def read_records(journal: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the samples of a journal in order, and None for each damaged record.

    A torn last line does not count as damaged: the process was killed while writing it.
    """
    with open(journal, "rb") as stream:
        for line in stream:
            records = _records(line.rstrip(b"\n"))
            yield from records if line.endswith(b"\n") else filter(None, records)


def _records(line: bytes) -> Iterator[dict[str, Any] | None]:
    """Yield the records of a line. There may be several, if a newline is damaged."""
    start = 0
    for checksum in _CHECKSUM.finditer(line):
        text = line[start : checksum.start()]
        if zlib.crc32(text) == int(checksum[1], 16):
            yield _decode(text)
            start = checksum.end() + 1
    rest = line[start:]
    if rest:
        yield None if _CHECKSUM.search(rest) else _record_without_checksum(rest)


def _decode(text: bytes) -> dict[str, Any]:
    """Decode a record whose checksum is right."""
    row: dict[str, Any] = msgspec.json.decode(text)
    return row


def _record_without_checksum(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def seal_journal(journal: Path) -> Sealed:
    """Convert a journal to its part.

    The part is created by a rename, and the journal is deleted after it. If the process is killed
    in between, both exist; then the part is used, unless it is damaged.
    """
    part = journal.with_name(journal.name.replace("journal", "part")).with_suffix(".parquet")
    damaged, kept_as = 0, None
    if not part.exists() or check(part) == "damaged":
        damaged = _write_part(journal, part)
    if damaged:
        kept_as = journal.with_name(f"{journal.name}.damaged")
        journal.replace(kept_as)
    else:
        journal.unlink()
    sync_dir(journal.parent)
    return Sealed(part if part.exists() else None, damaged, kept_as)


def _write_part(journal: Path, part: Path) -> int:
    """Write the samples of a journal, each once. Returns the number of damaged records.

    An optional column is left out until a record has it: then the part is written again.
    """
    columns = frozenset[str]()
    while True:
        reading = _Reading(journal, columns)
        try:
            write_row_groups(part, reading.row_groups())
        except _MoreColumns as found:
            columns |= found.names
            continue
        return reading.damaged


class _MoreColumns(Exception):
    """A record has optional columns that the part was begun without."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(names)
        self.names = names


class _Reading:
    """One pass over a journal, with some of the optional columns."""

    def __init__(self, journal: Path, columns: frozenset[str]) -> None:
        self._journal, self._columns = journal, columns
        self.damaged = 0

    def row_groups(self) -> Iterator[pa.Table]:
        """Yield the samples, each once, a row group at a time: that bounds memory.

        Raises _MoreColumns at a record with other optional columns.
        """
        names = [
            name for name in sample_schema().names if name not in OPTIONAL or name in self._columns
        ]
        seen = set[tuple[str | None, int | None]]()
        records = read_records(self._journal)
        while batch := list(islice(records, ROW_GROUP_ROWS)):
            rows = [row for row in batch if row is not None]
            try:
                table = _sample_table(rows)
            except (KeyError, TypeError, ValueError, OverflowError):  # Arrow's errors among them
                rows = [row for row in rows if _fits(row)]
                table = _sample_table(rows)
            used = frozenset(name for name in OPTIONAL if any(row.get(name) for row in rows))
            if not used <= self._columns:
                raise _MoreColumns(used)
            self.damaged += len(batch) - len(rows)
            table = _drop_repeats(table, seen).select(names)
            if table.num_rows:
                yield table


def _fits(row: dict[str, Any]) -> bool:
    """Return whether a record has all columns of a sample, with values of the right types."""
    try:
        _sample_table([row])
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return True


def _drop_repeats(table: pa.Table, seen: set[tuple[str | None, int | None]]) -> pa.Table:
    """Drop the samples in `seen`, and add the others to it."""
    keys = zip(table["prompt_id"].to_pylist(), table["index"].to_pylist(), strict=True)
    fresh = []
    for key in keys:
        fresh.append(key not in seen)
        seen.add(key)
    return table if all(fresh) else table.filter(fresh)


def _sample_table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    schema = sample_schema()
    columns = {
        f.name: pa.array(
            [row.get(f.name) if f.name in OPTIONAL else row[f.name] for row in rows], f.type
        )
        for f in schema
    }
    return pa.table(columns, schema=schema)


def next_part_number(folder: Path) -> int:
    """Return the number of the next journal, unused by any part or journal.

    A journal is left, with samples, where its writer failed in this process.
    """
    files = [*folder.glob("part-*.parquet*"), *folder.glob("journal-*.jsonl*")]
    numbers = [int(file.name.split("-")[1].split(".")[0]) for file in files]
    return max(numbers, default=-1) + 1
