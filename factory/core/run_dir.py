"""The run directory: stores samples so that none is lost.

    runs/<name>/
      recipe.yaml  run.json         resolved recipe; settings, versions, state (atomic, last)
      prompts.parquet  rejected_prompts.jsonl
      samples/journal-00007.jsonl   write-ahead: one completed sample per line, with a checksum,
                                    fsynced every ≤ 1 s
      samples/part-00007.parquet    the sealed journal (atomic rename, then it is deleted)
      samples/part-00007.parquet.xxh3   its digest (factory.core.checksums)
      failures.jsonl                requests without a sample, with the reason
      metrics/<filter>-<key>/part-00007.parquet     aligned with the samples' parts
      verdicts/part-00007.parquet   funnel.json
      corpus/<split>-00000-of-000NN.parquet

kill -9 loses at most the generations in flight and one second of finished ones. A torn last line is
dropped. A journal whose part exists was already sealed and is deleted, so no sample is doubled.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from factory.core.checksums import check, digest, digest_path
from factory.core.errors import RunError, RunLocked
from factory.core.files import (
    append_line,
    read_lines,
    read_versioned,
    release_memory,
    storage_error,
    sync_dir,
    sync_stream,
    write_atomic,
)
from factory.core.journal import (
    JournalWriter,
    Sealed,
    encode_record,
    next_part_number,
    seal_journal,
)
from factory.core.nouns import Failure, Prompt, Sample, prompt_schema

FORMAT = 1
"""Layout version of a run directory. Other versions are refused."""

SCRATCH = ("*.tmp", "samples/*.tmp", "metrics/*/*.tmp", "verdicts/*.tmp")
"""What a killed process may leave half-written. Nothing else in the directory is deleted."""

MARKS = (
    "run.lock",
    "run.json",
    "train.json",
    "pipeline.json",
    "prompts.parquet",
    "samples/*-[0-9]*",
    "pilot/run.lock",
)
"""A directory with one of these was made by the factory, and the factory may write in it."""

LOGS = {".log", ".out", ".err"}
"""Endings of files that a shell or a scheduler writes in a directory before the run starts."""


class RunDir:
    """A run's directory, opened for writing by exactly one process.

    `on_seal` is called, in the writer's thread, with the name of each part as it becomes durable.
    `guard` is called after it; what it raises ends the run. A sample is sealed after `seal_seconds`
    at the latest, where that is given. `notices` lists damage for the user. Raises RunError if a
    sealed part is damaged: `factory repair` moves it away and keeps its readable samples.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_seal: Callable[[str], None] | None = None
        self.guard: Callable[[], None] | None = None
        self.seal_seconds: float | None = None
        self._lock = lock_directory(path)
        self._writer: JournalWriter | None = None
        self._damaged: list[Sealed] = []
        self.notices: list[str] = []
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
        """Return the sealed parts, oldest first."""
        return sample_parts(self.path)

    def save_manifest(self, **changes: Any) -> None:
        """Update run.json atomically."""
        self.manifest = {**self.manifest, **changes, "format": FORMAT}
        write_atomic(self.path / "run.json", json.dumps(self.manifest, indent=2) + "\n")

    def append(self, sample: Sample) -> None:
        """Queue a finished sample for writing. It is durable within `SYNC_SECONDS`."""
        self._live_writer().put(encode_record(sample))

    def record_failure(self, failure: Failure) -> None:
        """Record a permanent failure, so that a resumed run does not retry the request."""
        append_line(self.path / "failures.jsonl", asdict(failure))

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event to the run's log."""
        log_event(self.path, kind, **fields)

    def read_drawn(self, *more: str) -> Iterator[tuple[Any, ...]]:
        """Yield (prompt_id, index, n_tokens) of every sealed sample, without reading any text.

        `more` are further columns to yield.
        """
        import pyarrow.parquet as pq

        for part in self.parts():
            table = pq.read_table(part, columns=["prompt_id", "index", "n_tokens", *more])
            yield from zip(*(column.to_pylist() for column in table.columns), strict=True)

    def failures(self) -> list[Failure]:
        """Return the recorded failures of this run."""
        known = {field.name for field in fields(Failure)}
        rows = read_lines(self.path / "failures.jsonl")
        return [Failure(**row) for row in rows if row.keys() == known]  # else a damaged line

    def seal(self) -> None:
        """Write everything appended so far to a durable part. Blocks until it is done."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            finally:
                self._report_damage()

    def close(self) -> None:
        """Seal, and release the directory."""
        try:
            self.seal()
        finally:
            self._lock.close()

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _live_writer(self) -> JournalWriter:
        if self._writer is None:
            number = next_part_number(self.samples_dir)
            self._writer = JournalWriter(self.samples_dir, number, self._sealed, self.seal_seconds)
        return self._writer

    def _sealed(self, sealed: Sealed) -> None:
        """Handle a sealed journal. Called in the writer's thread."""
        if sealed.damaged:
            self._damaged.append(sealed)
        if sealed.part is not None and self.on_seal is not None:
            self.on_seal(sealed.part.stem)
        if self.guard is not None:
            self.guard()

    def _recover(self) -> None:
        """Seal the journals of a killed process and delete its partial files."""
        self.samples_dir.mkdir(parents=True, exist_ok=True)
        for pattern in SCRATCH:
            for scratch in self.path.glob(pattern):
                scratch.unlink()
        for journal in sorted(self.samples_dir.glob("journal-*.jsonl")):
            self._sealed(seal_journal(journal))
        self._report_damage()
        for file in (self.path / "prompts.parquet", *self.parts()):
            if file.exists() and check(file) == "damaged":
                raise RunError(
                    f"{file} is damaged: its checksum differs. `factory repair {self.path}` moves "
                    "it away, keeps every readable sample, and reports what must be drawn again."
                )

    def _report_damage(self) -> None:
        """Log the damaged records of sealed journals and add them to `notices`."""
        for sealed in self._damaged:
            assert sealed.kept_as is not None
            name = sealed.kept_as.name
            self.event("journal_damaged", records=sealed.damaged, kept_as=name)
            self.notices.append(
                f"{sealed.damaged:,} damaged record(s) of a journal can't be read and are drawn "
                f"again; the others are saved. The journal is kept as samples/{name}."
            )
        self._damaged.clear()


def save_prompts(run: Path, prompts: Iterable[Prompt]) -> int:
    """Write prompts.parquet in the given order, in bounded memory. Returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = run / "prompts.parquet"
    scratch = target.with_name(target.name + ".tmp")
    count, batch = 0, list[dict[str, Any]]()
    try:
        run.mkdir(parents=True, exist_ok=True)
        digest_path(target).unlink(missing_ok=True)
        with open(scratch, "wb") as stream:
            with pq.ParquetWriter(stream, prompt_schema(), compression="zstd") as writer:
                for prompt in prompts:
                    batch.append(prompt.to_row())
                    count += 1
                    if len(batch) == 8192:
                        writer.write_table(pa.Table.from_pylist(batch, schema=prompt_schema()))
                        batch.clear()
                writer.write_table(pa.Table.from_pylist(batch, schema=prompt_schema()))
            sync_stream(stream)
        write_atomic(digest_path(target), digest(scratch))
        os.replace(scratch, target)
        sync_dir(run)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        release_memory()
    return count


def log_event(run: Path, kind: str, **fields: Any) -> None:
    """Append an event to a run's log. Only for the process that holds the run's lock."""
    append_line(run / "events.jsonl", {"at": round(time.time(), 3), "event": kind, **fields})


def engine_seconds(run: Path) -> float:
    """Return the seconds that engines have sampled for a run, up to their last event if killed.

    Event times count from the start of the engine, by the monotonic clock.
    """
    total = current = 0.0
    for event in read_lines(run / "events.jsonl"):
        if event.get("event") == "engine_started":
            total, current = total + current, 0.0
        current = event.get("seconds", current)
    return total + current


def sample_parts(run: Path) -> list[Path]:
    """Return the sealed parts of a run, oldest first. Needs no lock."""
    return sorted((run / "samples").glob("part-*.parquet"))


def read_manifest(run: Path) -> dict[str, Any]:
    """Read run.json. Returns an empty mapping for a new run. Raises RunError if it is unusable."""
    return read_versioned(
        run / "run.json",
        FORMAT,
        "The samples next to it are intact: move run.json away and build again to use them.",
    )


def lock_directory(path: Path, *, lock_only: bool = False) -> IO[str]:
    """Lock the directory for this process. The kernel releases it when the process ends.

    Raises RunLocked if another process holds it, RunError for a directory with other people's
    files (unless nothing but the lock is written there), StorageError if it can't be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not lock_only:
            _refuse_foreign(path)
        stream = open(path / "run.lock", "a+", encoding="utf-8")  # noqa: SIM115 (held until close)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
    except BlockingIOError:
        with stream:
            raise _locked(path, stream) from None
    except OSError as error:
        with suppress(OSError):
            stream.close()
        raise storage_error(path / "run.lock", error) from error
    return stream


@contextmanager
def refuse_locked(path: Path) -> Iterator[None]:
    """Raise RunLocked if another process holds the directory. Writes nothing."""
    try:
        stream = open(path / "run.lock", encoding="utf-8")  # noqa: SIM115
    except OSError:
        yield
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(path, stream) from None
        yield


def is_locked(run: Path) -> bool:
    """Return True if the process that locked a directory is alive.

    Does not try the lock itself: a build that starts at that moment would be refused.
    """
    lock = run / "run.lock"
    try:
        holder = int(lock.read_text())
        os.kill(holder, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return holder > 0 and _has_open(holder, lock)


def _has_open(process: int, file: Path) -> bool:
    """Return True if a process has a file open, or if that can't be determined.

    Needed because the PID of a dead process is soon reused, above all in a container.
    """
    try:
        descriptors = list(Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return True
    for descriptor in descriptors:
        with suppress(OSError):  # it may have been closed since
            if descriptor.samefile(file):
                return True
    return False


def _locked(path: Path, stream: IO[str]) -> RunLocked:
    stream.seek(0)
    holder = stream.read().strip() or "another process"
    return RunLocked(
        f"{path} is in use by process {holder}. Wait for it or stop it; two builds cannot share a "
        "run directory."
    )


def _has_any(path: Path, *patterns: str) -> bool:
    return any(True for pattern in patterns for _ in path.glob(pattern))


def require_run(path: Path) -> None:
    """Raise RunError for a directory without any file of a run, in whatever state that is."""
    if not _has_any(path, *MARKS, "recipe.yaml"):
        raise RunError(
            f"{path} is not a run directory: it has no run.json, no recipe.yaml and no samples. "
            "Name the directory that `factory build` or a training printed, such as runs/NAME."
        )


def _refuse_foreign(path: Path) -> None:
    """Raise RunError for a directory with files that the factory did not make: it would replace
    those that have the names of its own, such as recipe.yaml and corpus/."""
    if _has_any(path, *MARKS):
        return
    found = sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() or entry.suffix not in LOGS
    )
    if found:
        listing = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise RunError(
            f"{path} is not empty and is not a run directory; it has {listing}. A run would "
            "replace files there: name a new or an empty directory."
        )
