"""`factory repair`: finds damaged files of a run, keeps readable samples, reports what is lost.

Only samples need an engine to be made again, so every readable one is kept. All other files
(metrics, verdicts, corpus) are functions of the samples and the recipe. Damaged ones are removed,
and the next build makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from factory.core.checksums import check, digest, digest_path, find_damage
from factory.core.errors import RunError
from factory.core.files import write_atomic, write_row_groups
from factory.core.journal import ROW_GROUP_ROWS, read_records, seal_journal
from factory.core.nouns import sample_schema
from factory.core.run_dir import lock_directory, log_event, refuse_locked, sample_parts
from factory.judging.funnel import load_funnel

if TYPE_CHECKING:
    import pyarrow as pa


class Finding(NamedTuple):
    """One damaged file, with the problem and the remedy."""

    file: str  # relative to the run directory
    problem: str
    remedy: str  # what was done; with `dry_run`, what would be done

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}; {self.remedy}"


def repair(run: Path, *, dry_run: bool = False) -> list[Finding]:
    """Check every file of a run directory and repair what is damaged.

    With `dry_run` nothing is changed. Raises RunError if `run` is not a run directory, RunLocked if
    a build is using it, and StorageError if it can't be written.
    """
    if not (run / "samples").is_dir():
        raise RunError(f"{run} is not a run directory with its own samples: it has no samples/")
    with refuse_locked(run) if dry_run else lock_directory(run):
        found = [
            *_manifest(run, dry_run),
            *_prompts(run, dry_run),
            *_journals(run, dry_run),
            *_parts(run, dry_run),
            *_derived(run, dry_run),
        ]
        if found and not dry_run:
            _mark_unfinished(run)
            for finding in found:
                log_event(run, "repaired", **finding._asdict())
    return found


def _manifest(run: Path, dry_run: bool) -> Iterator[Finding]:
    file = run / "run.json"
    if not file.exists():
        return
    try:
        if not isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
            raise ValueError("no mapping")
    except ValueError as error:
        if not dry_run:
            _set_aside(file)
        remedy = "kept as run.json.damaged; the next build uses the samples again"
        yield Finding(file.name, f"is not JSON ({error})", remedy)


def _prompts(run: Path, dry_run: bool) -> Iterator[Finding]:
    file = run / "prompts.parquet"
    if file.exists() and find_damage(file):
        if not dry_run:
            _set_aside(file)
        remedy = "kept as prompts.parquet.damaged; the next build loads the sources again"
        yield Finding(file.name, "is damaged", remedy)


def _journals(run: Path, dry_run: bool) -> Iterator[Finding]:
    for journal in sorted((run / "samples").glob("journal-*.jsonl")):
        name = f"samples/{journal.name}"
        damaged = sum(row is None for row in read_records(journal))
        if not dry_run:
            damaged = seal_journal(journal).damaged
        if damaged:
            remedy = f"the others are sealed; the journal is kept as {name}.damaged"
            yield Finding(name, f"{damaged:,} damaged record(s)", remedy)


def _parts(run: Path, dry_run: bool) -> Iterator[Finding]:
    for part in sample_parts(run):
        name = f"samples/{part.name}"
        if check(part) == "unknown":
            if find_damage(part) is None:
                if not dry_run:
                    write_atomic(digest_path(part), digest(part))
                yield Finding(
                    name, "has no digest (an older version)", "it reads well; digest added"
                )
                continue
        elif check(part) == "sound":
            continue
        readable, rows = _salvage(part)
        kept = readable.num_rows if readable is not None else 0
        if not dry_run:
            _set_aside(part)
            if readable is not None and kept:
                starts = range(0, kept, ROW_GROUP_ROWS)
                groups = (readable.slice(start, ROW_GROUP_ROWS) for start in starts)
                write_row_groups(part, groups)
        total = f"{rows:,}" if rows is not None else "an unknown number of"
        again = "" if kept == rows else ", the next build draws the others again"
        yield Finding(
            name,
            "is damaged",
            f"{kept:,} of {total} samples kept{again}; the file is kept as {name}.damaged",
        )


def _derived(run: Path, dry_run: bool) -> Iterator[Finding]:
    """Check metrics, verdicts and rows, which the next build can make again."""
    files = [
        *run.glob("metrics/*/part-*.parquet"),
        *run.glob("verdicts/part-*.parquet"),
        *run.glob("corpus/*.parquet"),
        *run.glob("pass_rates.parquet"),
    ]
    for file in sorted(files):
        problem = find_damage(file)
        if problem is not None:
            if not dry_run:
                digest_path(file).unlink(missing_ok=True)
                file.unlink()
            yield Finding(
                str(file.relative_to(run)), problem, "removed; the next build makes it again"
            )
    funnel = run / "funnel.json"
    if funnel.exists():
        try:
            load_funnel(run)
        except RunError:
            if not dry_run:
                funnel.unlink()
            yield Finding(funnel.name, "is damaged", "removed; the next build makes it again")


def _salvage(part: Path) -> tuple[pa.Table | None, int | None]:
    """Return the samples in the intact row groups of a damaged part, and the original number.

    A row group with a damaged page is dropped completely.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = sample_schema()
    try:
        file = pq.ParquetFile(part, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException):
        return None, None
    schema = pa.schema([field for field in schema if field.name in {*file.schema_arrow.names}])
    found = []
    for number in range(file.num_row_groups):
        try:
            found.append(file.read_row_group(number).select(schema.names).cast(schema))
        except (OSError, KeyError, ValueError, pa.ArrowException):
            continue
    return (pa.concat_tables(found) if found else None), file.metadata.num_rows


def _set_aside(file: Path) -> None:
    digest_path(file).unlink(missing_ok=True)
    file.replace(file.with_name(f"{file.name}.damaged"))


def _mark_unfinished(run: Path) -> None:
    """Reset the state, so that the next build does not treat the run as finished."""
    file = run / "run.json"
    if file.exists():
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if not (run / "prompts.parquet").exists():
            manifest.pop("sources", None)
        write_atomic(file, json.dumps({**manifest, "state": "running"}, indent=2) + "\n")
