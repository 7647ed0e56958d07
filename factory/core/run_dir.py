"""The run directory: what has been sampled, and the promise that it is never lost.

    runs/<name>/
      recipe.yaml  run.json         resolved recipe; settings, versions, state (atomic, last)
      prompts.parquet  rejected_prompts.jsonl
      samples/journal-00007.jsonl   write-ahead: a completed sample a line, fsynced every ≤ 1 s
      samples/part-00007.parquet    the same journal sealed (atomic rename, then the journal goes)
      failures.jsonl                requests that will never give a sample, with the reason
      metrics/<filter>-<key>/part-00007.parquet     aligned with the samples' parts
      verdicts/part-00007.parquet   funnel.json
      corpus/<split>-00000-of-000NN.parquet

kill -9 loses at most the generations in flight and a second of finished ones. A torn last line is
dropped. A journal whose part exists was sealed, so it goes: no sample is written twice.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from factory.core.errors import RunError, RunLocked, StorageError
from factory.core.nouns import Failure, Prompt, Sample, prompt_schema, sample_schema

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Layout version of a run directory; a newer one is refused rather than misread."""

SYNC_SECONDS = 1.0
SEAL_ROWS = 4096
SEAL_BYTES = 64 << 20


class RunDir:
    """One run's directory, opened for writing by exactly one process.

    `on_seal` is called, in the writer's thread, with the name of each part as it becomes durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_seal: Callable[[str], None] | None = None
        self._lock = lock_directory(path)
        self._writer: _Writer | None = None
        try:
            self.manifest = read_manifest(path)
            self._recover()
        except BaseException:
            self._lock.close()
            raise

    @property
    def samples_dir(self) -> Path:
        return self.path / "samples"

    def parts(self) -> list[Path]:
        """The sealed parts, oldest first."""
        return sample_parts(self.path)

    def save_manifest(self, **changes: Any) -> None:
        """Update run.json in one atomic step."""
        self.manifest = {**self.manifest, **changes, "format": FORMAT}
        write_atomic(self.path / "run.json", json.dumps(self.manifest, indent=2) + "\n")

    def append(self, sample: Sample) -> None:
        """Hand a finished sample to the writer. Durable within `SYNC_SECONDS`."""
        self._live_writer().put(_line(asdict(sample)))

    def record_failure(self, failure: Failure) -> None:
        """Keep a failure that no retry will mend, so that a resumed run does not try again."""
        append_line(self.path / "failures.jsonl", asdict(failure))

    def event(self, kind: str, **fields: Any) -> None:
        """One line of the run's log: throughput, restarts, seals."""
        log_event(self.path, kind, **fields)

    def drawn(self) -> Iterator[tuple[str, int, int]]:
        """(prompt_id, index, n_tokens) of every sealed sample, without reading any text."""
        import pyarrow.parquet as pq

        for part in self.parts():
            table = pq.read_table(part, columns=["prompt_id", "index", "n_tokens"])
            yield from zip(*(column.to_pylist() for column in table.columns), strict=True)

    def failures(self) -> list[Failure]:
        """The recorded failures of this run."""
        return [Failure(**row) for row in read_lines(self.path / "failures.jsonl")]

    def seal(self) -> None:
        """Make everything appended so far a durable part; returns when it is."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """Seal and let go of the directory."""
        try:
            self.seal()
        finally:
            self._lock.close()

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _live_writer(self) -> _Writer:
        if self._writer is None:
            self._writer = _Writer(self.samples_dir, _next_number(self.samples_dir), self.on_seal)
        return self._writer

    def _recover(self) -> None:
        """Seal the journals that a killed process left; drop what it had half-written."""
        self.samples_dir.mkdir(parents=True, exist_ok=True)
        for scratch in self.path.rglob("*.tmp"):
            scratch.unlink()
        for journal in sorted(self.samples_dir.glob("journal-*.jsonl")):
            seal_journal(journal)


class _Writer(threading.Thread):
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
                    _sync(stream)
                    synced, dirty = time.monotonic(), False
            _sync(stream)
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


def _line(row: dict[str, Any]) -> bytes:
    # A lone surrogate in a model's text has no UTF-8 form; it becomes "?" rather than an error.
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file that a killed process may have torn at its end."""
    if not path.exists():
        return []
    rows = []
    with open(path, "rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            try:
                rows.append(json.loads(line))
            except ValueError:
                break  # a crash can leave a page of zeros; nothing after it is whole
    return rows


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line; a torn last line of an earlier process is cut off first."""
    try:
        with open(path, "ab+") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.seek(0)
                    stream.truncate(stream.read().rfind(b"\n") + 1)
            stream.write(_line(row))
    except OSError as error:
        raise storage_error(path, error) from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file that is either whole under its name or not there at all."""
    import pyarrow.parquet as pq

    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            _sync(stream)
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def write_atomic(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, never half of it."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "w", encoding="utf-8") as stream:
            stream.write(text)
            _sync(stream)
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def save_prompts(run: Path, prompts: Iterable[Prompt]) -> int:
    """Write prompts.parquet in the order given, in bounded memory. Returns how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = run / "prompts.parquet"
    scratch = target.with_name(target.name + ".tmp")
    count, batch = 0, list[dict[str, Any]]()
    try:
        run.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as stream:
            with pq.ParquetWriter(stream, prompt_schema(), compression="zstd") as writer:
                for prompt in prompts:
                    batch.append(prompt.to_row())
                    count += 1
                    if len(batch) == 8192:
                        writer.write_table(pa.Table.from_pylist(batch, schema=prompt_schema()))
                        batch.clear()
                writer.write_table(pa.Table.from_pylist(batch, schema=prompt_schema()))
            _sync(stream)
        os.replace(scratch, target)
        sync_dir(run)
    except OSError as error:
        raise storage_error(target, error) from error
    return count


def log_event(run: Path, kind: str, **fields: Any) -> None:
    """Append to a run's log; for the one process that holds the run, and what it calls."""
    append_line(run / "events.jsonl", {"at": round(time.time(), 3), "event": kind, **fields})


def engine_seconds(run: Path) -> float:
    """Seconds that engines have sampled for a run, killed ones up to their last sign.

    Each event counts from its engine's start by the monotonic clock: the time of day may jump.
    """
    total = sitting = 0.0
    for event in read_lines(run / "events.jsonl"):
        if event["event"] == "engine_started":
            total, sitting = total + sitting, 0.0
        sitting = event.get("seconds", sitting)
    return total + sitting


def sample_parts(run: Path) -> list[Path]:
    """The sealed parts of a run, oldest first; reads without the lock."""
    return sorted((run / "samples").glob("part-*.parquet"))


def read_manifest(run: Path) -> dict[str, Any]:
    """run.json, or an empty mapping for a new run. Raises RunError where it cannot be used."""
    return read_versioned(
        run / "run.json",
        FORMAT,
        "The samples beside it are untouched: move run.json away and build again to take them up.",
    )


def read_versioned(path: Path, layout: int, remedy: str) -> dict[str, Any]:
    """A directory's manifest of this layout, or an empty mapping where there is none yet.

    Raises RunError for any other layout, and, with the remedy, where it cannot be read.
    """
    if not path.exists():
        return {}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}). {remedy}") from error
    if manifest.get("format") != layout:
        raise RunError(
            f"{path} has layout {manifest.get('format')}, this version reads {layout}. Use the "
            "version of the factory that made it, or another run directory."
        )
    return manifest


def sync_dir(path: Path) -> None:
    """Make a rename in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _next_number(folder: Path) -> int:
    taken = [int(file.stem.split("-")[1]) for file in folder.glob("part-*.parquet")]
    return max(taken, default=-1) + 1


def lock_directory(path: Path) -> IO[str]:
    """Hold the directory for this process; the kernel lets go of it however the process ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        stream = open(path / "run.lock", "a+", encoding="utf-8")  # noqa: SIM115 (held until close)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip() or "another process"
        stream.close()
        raise RunLocked(
            f"{path} is in use by process {holder}. Wait for it or stop it; two builds cannot "
            "share a run directory."
        ) from None
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    return stream


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into; it takes the place of `target` whole, or not at all.

    Raises StorageError where it cannot be written.
    """
    scratch = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    remedy = (
        "Free some space and run the same command again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "Check the path and its permissions, then run the same command again"
    )
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}. {remedy}; everything written before "
        "is safe."
    )
