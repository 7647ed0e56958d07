"""The write-ahead journal of samples, and how it is sealed into Parquet parts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.files import read_lines, storage_error, sync_dir, sync_stream, write_parquet
from factory.core.nouns import sample_schema

if TYPE_CHECKING:
    import pyarrow as pa


SYNC_SECONDS = 1.0
"""A sample is durable at most this long after it was appended."""

SEAL_ROWS = 4096
SEAL_BYTES = 64 << 20
"""A journal is sealed at this many samples or bytes, whichever comes first."""


class JournalWriter(threading.Thread):
    """Appends lines to a journal, syncs it in groups, and seals it when it is large.

    The engine's loop only puts bytes on a queue: neither a slow disk nor sealing holds it up.
    """

    def __init__(self, folder: Path, number: int, on_seal: Callable[[str], None] | None) -> None:
        super().__init__(name="journal", daemon=True)
        self.folder, self.number, self.on_seal = folder, number, on_seal
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._error: OSError | None = None
        self.start()

    def put(self, line: bytes) -> None:
        if self._error is not None:
            raise storage_error(self.folder, self._error) from self._error
        self._queue.put(line)

    def close(self) -> None:
        """Write, sync and seal what is queued. Raises StorageError if any of it failed."""
        self._queue.put(None)
        self.join()
        if self._error is not None:
            raise storage_error(self.folder, self._error) from self._error

    def run(self) -> None:
        try:
            while self._write_journal():
                pass
        except OSError as error:
            self._error = error

    def _write_journal(self) -> bool:
        """Fill one journal and seal it. False once the last line was asked for."""
        journal = self.folder / f"journal-{self.number:05d}.jsonl"
        rows = size = 0
        more = True
        with open(journal, "wb", buffering=1 << 16) as stream:
            synced, dirty = time.monotonic(), False
            while rows < SEAL_ROWS and size < SEAL_BYTES:
                try:
                    line = self._queue.get(timeout=SYNC_SECONDS / 2)
                except queue.Empty:
                    line = b""
                if line is None:
                    more = False
                    break
                if line:
                    stream.write(line)
                    rows, size, dirty = rows + 1, size + len(line), True
                if dirty and time.monotonic() - synced >= SYNC_SECONDS / 2:
                    sync_stream(stream)
                    synced, dirty = time.monotonic(), False
            sync_stream(stream)
        part = seal_journal(journal)
        self.number += 1
        if part is not None and self.on_seal is not None:
            self.on_seal(part.stem)
        return more


def seal_journal(journal: Path) -> Path | None:
    """Turn a journal into its part; None where it held nothing.

    The part appears whole by a rename, and only then does the journal go. A kill between the two
    leaves both: the part wins.
    """
    part = journal.with_name(journal.name.replace("journal", "part")).with_suffix(".parquet")
    if not part.exists():
        rows = _unique(read_lines(journal))
        if rows:
            write_parquet(part, _sample_table(rows))
    journal.unlink()
    sync_dir(journal.parent)
    return part if part.exists() else None


def _unique(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(row["prompt_id"], row["index"]): row for row in reversed(rows)}.values())[::-1]


def _sample_table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    schema = sample_schema()
    columns = {f.name: pa.array([row[f.name] for row in rows], f.type) for f in schema}
    return pa.table(columns, schema=schema)


def next_part_number(folder: Path) -> int:
    taken = [int(file.stem.split("-")[1]) for file in folder.glob("part-*.parquet")]
    return max(taken, default=-1) + 1
