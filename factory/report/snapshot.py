"""Read a run directory in any state: finished, being written, partly sealed, damaged or old.

What can't be read is listed in `Snapshot.missing`. Reading takes no lock and writes nothing, so it
never disturbs a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from factory.core.errors import RunError
from factory.core.journal import read_records
from factory.core.run_dir import is_locked, read_manifest, sample_parts
from factory.judging.metrics import (
    add_metrics,
    input_frame,
    join_metrics,
    metrics_folder,
    prompt_frame,
)
from factory.judging.recorded import Recorded, describe_damage, read_filters, stored_folder
from factory.judging.verdicts import decide, verdict_column
from filters.base import BASE_COLUMNS, Filter

PolarsType = pl.DataType | type[pl.DataType]
State = Literal["done", "running", "stopped", "unknown"]

UNJUDGED = "unjudged"
"""The decision of a sample that has neither a verdict nor metrics yet."""

_DAMAGE = (OSError, pl.exceptions.PolarsError)
_SAMPLE: dict[str, PolarsType] = {
    "prompt_id": pl.String,
    "index": pl.Int32,
    "finish_reason": pl.String,
    "n_tokens": pl.Int32,
    "n_prompt_tokens": pl.Int32,
    "params_fp": pl.String,
    "created_at": pl.Datetime("ms", "UTC"),
}
_VERDICT: dict[str, PolarsType] = {"decision": pl.String, "reason": pl.String, "filter": pl.String}
_PROMPT: dict[str, PolarsType] = {
    "domain": pl.String,
    "source": pl.String,
    "language": pl.String,
    "verifier": pl.String,
    "prompt_id": pl.String,
    "question": pl.String,
}
_RATES: dict[str, PolarsType] = {
    "prompt_id": pl.String,
    "n_samples": pl.UInt32,
    "n_judged": pl.UInt32,
    "n_correct": pl.UInt32,
    "pass_rate": pl.Float64,
}
RATE_COLUMNS = tuple(name for name in _RATES if name != "prompt_id")


@dataclass
class Snapshot:
    """The readable content of a run. `samples` has one row per sample, without its texts."""

    run: Path
    state: State = "unknown"
    manifest: dict[str, Any] = field(default_factory=dict)
    filters: dict[str, Filter] = field(default_factory=dict)
    prompts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_PROMPT))
    samples: pl.DataFrame = field(default_factory=pl.DataFrame)
    missing: list[str] = field(default_factory=list)
    _parts: dict[str, tuple[Any, pl.DataFrame, list[str]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.manifest.get("name") or self.run.name)

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The folder of each filter's cached metrics."""
        return {name: metrics_folder(self.run, name, own) for name, own in self.filters.items()}

    @property
    def stages(self) -> list[str]:
        """The filters in order, after the engine."""
        return ["engine", *self.filters]

    def texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the filter inputs of `rows` (of `samples`), with `prompt_text` and `model`.

        Rows whose part can't be read are left out.
        """
        frames = []
        for (part,), wanted in rows.group_by("part", maintain_order=True):
            try:
                scan = scan_part(self.run / "samples" / str(part))
                ids = wanted["prompt_id"].unique().implode()
                full = scan.filter(pl.col("prompt_id").is_in(ids)).collect()
                inputs = input_frame(full, self._prompts_of(full))
            except _DAMAGE:
                continue
            extra = full.select(
                pl.format("{}-{}", "prompt_id", "index").alias("sample_id"),
                *(_column(full, name) for name in ("prompt_text", "model")),
            )
            frames.append(
                wanted.select("sample_id").join(inputs, on="sample_id").join(extra, on="sample_id")
            )
        if not frames:
            return pl.DataFrame(schema={"sample_id": pl.String})
        return pl.concat(frames, how="vertical_relaxed")  # a journal has wider integer types

    def metrics(self, wanted: Mapping[str, Iterable[str] | None]) -> pl.DataFrame:
        """Return cached metrics: `sample_id` and the wanted columns of each filter.

        None stands for all columns of a filter. Parts that lack any wanted column are left out.
        """
        frames = []
        for part in self.samples["part"].unique(maintain_order=True):
            frame: pl.DataFrame | None = None
            for name, columns in wanted.items():
                found = self._read_metrics(name, str(part), columns)
                if found is None:
                    frame = None
                    break
                frame = found if frame is None else add_metrics(frame, found)
            if frame is not None:
                frames.append(frame)
        known = pl.concat(frames, how="vertical_relaxed") if frames else None
        return known if known is not None else pl.DataFrame(schema={"sample_id": pl.String})

    def own_verdicts(self, stage: str) -> pl.DataFrame:
        """Return one filter's own decision on each sample, as the last build wrote it."""
        own = pl.col(verdict_column(stage))
        frames = []
        for part in self.samples["part"].unique(maintain_order=True):
            try:
                verdicts = pl.scan_parquet(self.run / "verdicts" / str(part)).select(
                    "sample_id",
                    decision=own.struct.field("decision"),
                    reason=own.struct.field("reason"),
                )
                frames.append(verdicts.collect())
            except _DAMAGE:
                continue
        schema = {"sample_id": pl.String, "decision": pl.String, "reason": pl.String}
        return pl.concat([pl.DataFrame(schema=schema), *frames])

    def measured(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return base columns, pass rates and all stored metrics of a few rows of `samples`.

        The metrics are those that the verdicts were made with, for showing them.
        """
        frame = rows.select(*BASE_COLUMNS, *RATE_COLUMNS)
        for name, filter_ in self.filters.items():
            folder = stored_folder(self.run, name, filter_)
            found = [
                metrics
                for (part,), own in rows.group_by("part", maintain_order=True)
                if (metrics := _read_rows(folder / f"{Path(str(part)).stem}.parquet", own))
                is not None
            ]
            if found:
                frame = add_metrics(frame, pl.concat(found))
        return frame

    def _read_metrics(
        self, name: str, part: str, columns: Iterable[str] | None
    ) -> pl.DataFrame | None:
        """Read a filter's metrics of a part; None if they are missing."""
        try:
            found = pl.scan_parquet(_metrics_file(self, name, Path(part).stem))
            return (found if columns is None else found.select("sample_id", *columns)).collect()
        except _DAMAGE:
            return None

    def _prompts_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the prompts of some sampled rows; an unknown prompt gets empty fields."""
        ids = rows.select("prompt_id").unique()
        return ids.join(self.prompts, on="prompt_id", how="left").with_columns(
            pl.col("question", "source").fill_null(""), pl.col("domain").fill_null("general")
        )


def _read_rows(file: Path, rows: pl.DataFrame) -> pl.DataFrame | None:
    """Read the metrics of some rows; None if they are missing."""
    wanted = pl.col("sample_id").is_in(rows["sample_id"].implode())
    try:
        return pl.scan_parquet(file).filter(wanted).collect()
    except _DAMAGE:
        return None


def signature(run: Path) -> tuple[object, ...]:
    """Return a value that changes whenever a snapshot could; costs a few dozen `stat` calls.

    Parts appear by a rename, which changes their folder's mtime; only journals and logs grow.
    """
    folders = [run, run / "samples", run / "verdicts", *sorted(run.glob("metrics/*"))]
    growing = sorted(run.glob("samples/journal-*.jsonl"))
    files = [run / name for name in ("run.json", "recipe.yaml", "events.jsonl", "failures.jsonl")]
    stamps: list[object] = [is_locked(run)]
    for path in (*folders, *growing, *files):
        try:
            status = path.stat()
            stamps.append((path.name, status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            stamps.append((path.name, None, None))
    return tuple(stamps)


def take_snapshot(run: Path, before: Snapshot | None = None) -> Snapshot:
    """Read what can be read of a run. Reuses the unchanged parts of `before`.

    Raises RunError where there is no such directory.
    """
    if not run.is_dir():
        raise RunError(f"{run} is not a run directory; build one first, or check the path")
    snapshot = Snapshot(run)
    _read_manifest(snapshot)
    snapshot.filters, amiss = read_filters(run)
    snapshot.missing += amiss
    try:
        snapshot.prompts = prompt_frame(run)
    except _DAMAGE as error:
        snapshot.missing.append(f"prompts.parquet: {describe_damage(error)}")
    _read_samples(snapshot, before)
    return snapshot


def _read_manifest(snapshot: Snapshot) -> None:
    try:
        snapshot.manifest = read_manifest(snapshot.run)
    except RunError as error:
        snapshot.missing.append(f"run.json: {error}")
        return
    if not snapshot.manifest:
        snapshot.missing.append("run.json: not written yet")
        return
    state = snapshot.manifest.get("state")
    if state == "running":
        state = "running" if is_locked(snapshot.run) else "stopped"
    snapshot.state = state if state in ("done", "running", "stopped") else "unknown"


def _read_samples(snapshot: Snapshot, before: Snapshot | None) -> None:
    run = snapshot.run
    rates = _read_rates(snapshot)
    files = sample_parts(run)
    sealed = {part.stem for part in files}
    # A journal whose part exists was sealed: the part wins, as when a build resumes.
    journals = [
        journal
        for journal in sorted((run / "samples").glob("journal-*.jsonl"))
        if journal.stem.replace("journal", "part") not in sealed
    ]
    frames = []
    for file in [*files, *journals]:
        stamp = _part_stamp(snapshot, file)
        cached = before._parts.get(file.name) if before is not None else None
        if cached is None or cached[0] != stamp:
            missing: list[str] = []
            cached = (stamp, _read_part(snapshot, file, rates, missing), missing)
        snapshot._parts[file.name] = cached
        snapshot.missing.extend(cached[2])
        frames.append(cached[1])
    for name in snapshot.filters:
        lacking = [part for part in files if not _metrics_file(snapshot, name, part.stem).exists()]
        if lacking and snapshot.state != "running":
            snapshot.missing.append(
                f"metrics of {name}: none by this version and these settings for {len(lacking)} of "
                f"{len(files)} parts; build again to measure them"
            )
    if not files and not journals:
        snapshot.missing.append("samples: none yet")
    empty = pl.DataFrame(schema={"part": pl.String, "sample_id": pl.String, **_SAMPLE, **_VERDICT})
    joined = (
        pl.concat([empty, *frames])
        .join(
            snapshot.prompts.select("prompt_id", "domain", "source", "language"),
            on="prompt_id",
            how="left",
            maintain_order="left",
        )
        .join(rates, on="prompt_id", how="left", maintain_order="left")
    )
    categories = ("part", "source", "domain", "language", "decision", "reason", "filter")
    snapshot.samples = joined.with_columns(
        pl.col("source", "domain").fill_null("unknown")
    ).with_columns(pl.col(*categories, "finish_reason", "params_fp").cast(pl.Categorical))


def _read_rates(snapshot: Snapshot) -> pl.DataFrame:
    try:
        return pl.read_parquet(snapshot.run / "pass_rates.parquet").select(
            pl.col(name).cast(kind) for name, kind in _RATES.items()
        )
    except _DAMAGE as error:
        snapshot.missing.append(f"pass_rates.parquet: {describe_damage(error)}")
        return pl.DataFrame(schema=_RATES)


def _metrics_file(snapshot: Snapshot, name: str, part: str) -> Path:
    return snapshot.folders[name] / f"{part}.parquet"


def _part_stamp(snapshot: Snapshot, part: Path) -> tuple[Any, ...]:
    """Return a value that changes whenever a part's samples, verdicts or metrics could."""
    files = [part, snapshot.run / "verdicts" / f"{part.stem}.parquet"]
    files += [_metrics_file(snapshot, name, part.stem) for name in snapshot.filters]
    stamps: list[Any] = []
    for file in files:
        try:
            status = file.stat()
            stamps.append((str(file), status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            stamps.append(None)
    return tuple(stamps)


def _read_part(
    snapshot: Snapshot, part: Path, rates: pl.DataFrame, missing: list[str]
) -> pl.DataFrame:
    """Return the rows of one part, without texts, with their verdicts where they exist."""
    place = f"samples/{part.name}"
    try:
        scan = scan_part(part)
        known = scan.collect_schema().names()
        absent = [name for name in _SAMPLE if name not in known]
        drawn = scan.select(
            pl.col(name).cast(kind) if name in known else pl.lit(None, kind).alias(name)
            for name, kind in _SAMPLE.items()
        ).collect()
    except _DAMAGE as error:
        missing.append(f"{place}: {describe_damage(error)}")
        drawn, absent = pl.DataFrame(schema=_SAMPLE), []
    if absent:
        missing.append(f"{place}: has no column {', '.join(absent)}")
    if part.suffix == ".jsonl" and snapshot.state != "running":
        missing.append(f"{place}: {drawn.height:,} samples not sealed; the next build seals them")
    named = drawn.with_columns(pl.format("{}-{}", "prompt_id", "index").alias("sample_id"))
    verdicts = _verdicts(snapshot, part, named, rates, missing)
    return (
        named.join(verdicts, on="sample_id", how="left", maintain_order="left")
        .with_columns(pl.lit(part.name).alias("part"), pl.col("decision").fill_null(UNJUDGED))
        .select("part", "sample_id", *_SAMPLE, *_VERDICT)
    )


def _verdicts(
    snapshot: Snapshot, part: Path, drawn: pl.DataFrame, rates: pl.DataFrame, missing: list[str]
) -> pl.DataFrame:
    """Return the part's verdicts; decides from cached metrics where the build hasn't yet."""
    file = snapshot.run / "verdicts" / f"{part.stem}.parquet"
    columns = ["sample_id", *_VERDICT]
    if file.exists():
        try:
            return pl.read_parquet(file, columns=columns)
        except _DAMAGE as error:
            missing.append(f"verdicts/{file.name}: {describe_damage(error)}")
    metrics = {}
    if any(isinstance(filter_, Recorded) for filter_ in snapshot.filters.values()):
        return pl.DataFrame(schema={"sample_id": pl.String, **_VERDICT})  # only a build can decide
    for name in snapshot.filters:
        found = snapshot._read_metrics(name, part.name, None)
        if found is None:
            if part.suffix == ".parquet":
                missing.append(f"samples/{part.name}: not judged yet")
            return pl.DataFrame(schema={"sample_id": pl.String, **_VERDICT})
        metrics[name] = found
    base = drawn.join(
        snapshot.prompts.select("prompt_id", "domain", "source", "language"), on="prompt_id"
    ).join(rates, on="prompt_id", how="left")
    measured = join_metrics(base, metrics)
    measured = measured.join(rates, on="prompt_id", how="left")
    return decide(measured, snapshot.filters).select(columns)


def scan_part(part: Path) -> pl.LazyFrame:
    if part.suffix == ".parquet":
        return pl.scan_parquet(part)
    records = [row for row in read_records(part) if row is not None]
    rows = pl.DataFrame(records, infer_schema_length=None)
    if rows.is_empty():
        return pl.LazyFrame(schema={**_SAMPLE, "text": pl.String})
    stamps = pl.from_epoch("created_at", time_unit="ms").dt.replace_time_zone("UTC")
    return rows.lazy().with_columns(stamps)


def _column(frame: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name) if name in frame.columns else pl.lit(None, pl.String).alias(name)
