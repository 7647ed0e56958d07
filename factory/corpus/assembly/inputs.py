"""The rows an assembly may take: narrow columns all at once, text only where it is asked for.

A row is known by the file it is in and its place there, so that text is read in the files' own
order, a row group at a time, and never joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from factory.core.errors import RunError
from factory.core.run_dir import read_manifest
from factory.corpus.rows import corpus_schema
from factory.judging.funnel import Funnel, load_funnel
from factory.recipe.assembly import RunSource

BATCH_ROWS = 1024
"""Rows whose text is decoded at once."""

NARROW = (
    "id",
    "prompt_id",
    "index",
    "domain",
    "source",
    "license",
    "model",
    "n_tokens",
    "pass_rate",
    "n_samples",
    "score",
)
_LABELS = ("domain", "source", "license", "model")


@dataclass(frozen=True)
class Input:
    """One run or corpus that an assembly takes rows of."""

    source: RunSource
    shards: list[Path]
    manifest: dict[str, Any]  # of a run; empty for a corpus that came without one
    funnel: Funnel | None  # of a run

    @property
    def label(self) -> str:
        return self.source.label

    @property
    def prompts(self) -> Path | None:
        """The run's own prompts, where it has them."""
        file = self.source.path / "prompts.parquet"
        return file if self.manifest and file.exists() else None

    def identity(self) -> list[Any]:
        """Changes when its rows do; the same wherever the folder lies."""
        stats = [shard.stat() for shard in self.shards]
        files = [
            (s.name, i.st_size, i.st_mtime_ns) for s, i in zip(self.shards, stats, strict=True)
        ]
        return [self.label, files]


def open_inputs(runs: Sequence[RunSource]) -> list[Input]:
    """Find every run's corpus. Raises RunError where one will not do, or none holds a row.

    A run that kept nothing gives nothing: that is for the quotas to complain of.
    """
    inputs = [open_run(run) for run in runs]
    if not any(given.shards for given in inputs):
        raise RunError(
            f"none of the runs kept a row ({', '.join(given.label for given in inputs)}); "
            "`factory show RUN` says where its samples went"
        )
    return inputs


def open_run(run: RunSource) -> Input:
    """One run's corpus. Raises RunError where it is not there, not finished or of another kind."""
    if not run.path.is_dir():
        raise RunError(f"{run.path} is not there; build that run first, or mend its path")
    manifest = read_manifest(run.path)
    if manifest and manifest.get("state") != "done":
        raise RunError(f"{run.path} is not finished; `factory build` it first")
    shards = sorted((run.path / "corpus" if manifest else run.path).glob("*.parquet"))
    if not shards and not manifest:
        raise RunError(
            f"{run.path} is neither a finished run (corpus/*.parquet) nor a corpus (*.parquet)"
        )
    for shard in shards:
        _require_schema(shard)
    has_funnel = (run.path / "funnel.json").exists()
    return Input(run, shards, manifest, load_funnel(run.path) if manifest and has_funnel else None)


def _require_schema(shard: Path) -> None:
    try:
        found = pq.read_schema(shard)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{shard} cannot be read as Parquet: {error}") from error
    wanted = corpus_schema()
    for field in wanted:
        if field.name not in found.names:
            difference = f"has no column {field.name}"
        elif _plain(found.field(field.name).type) != field.type:
            kind = found.field(field.name).type
            difference = f"column {field.name} is {kind}, a corpus has {field.type}"
        else:
            continue
        raise RunError(
            f"{shard}: {difference}. It was made by another version or another program: build the "
            "run again (its samples are kept, no model is needed), or leave it out."
        )
    extra = sorted(set(found.names) - set(wanted.names))
    if extra:
        raise RunError(f"{shard}: column {extra[0]} is not one that a corpus has; drop it first")


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type as Arrow itself would write it: other programs use the large forms."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind


def scan(inputs: Sequence[Input]) -> pl.DataFrame:
    """Every row that an input offers: NARROW, answer (a hash), rounds, run, file and row.

    In the order of the inputs, then of prompts and samples, so that nothing later depends on how a
    corpus happened to be cut into files. `id` is made unique: of two runs that number their
    samples alike, the later one's carry its name.
    """
    frames = []
    number = 0
    for run, given in enumerate(inputs):
        for shard in given.shards:
            frame = _narrow(shard).with_columns(
                run=pl.lit(run, pl.UInt16), file=pl.lit(number, pl.UInt32)
            )
            number += 1
            for column in ("domains", "sources"):
                wanted = getattr(given.source, column)
                if wanted:
                    frame = frame.filter(pl.col(column[:-1]).is_in(wanted))
            frames.append(frame.with_columns(pl.col(_LABELS).cast(pl.Categorical)))
    rows = pl.concat(frames).sort("run", "prompt_id", "index", "id")
    twice = rows.filter(pl.struct("run", "id").is_duplicated())
    if twice.height:
        path = inputs[twice["run"][0]].source.path
        raise RunError(f"{path} holds the sample {twice['id'][0]} more than once; it was damaged")
    labels = pl.Series([given.label for given in inputs], dtype=pl.String)
    named = pl.format("{}@{}", "id", pl.lit(labels).gather(pl.col("run")))
    first = pl.col("id").is_first_distinct()
    return rows.with_columns(sample_id=pl.when(first).then("id").otherwise(named)).drop("id")


def _narrow(shard: Path) -> pl.DataFrame:
    with pq.ParquetFile(shard) as file:
        columns = [file.schema.column(i).path for i in range(len(file.schema))]
        roles = [path for path in columns if path.startswith("messages.") and "role" in path]
        table = file.read(columns=[*NARROW, "answer", *roles])
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    asked = pl.col("messages").list.eval(pl.element().struct.field("role") == "user").list.sum()
    return frame.select(
        *NARROW,
        answer=pl.col("answer").hash(),
        rounds=asked.cast(pl.UInt16),
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
    )


def read(
    inputs: Sequence[Input], wanted: pl.DataFrame, columns: Sequence[str] | None = None
) -> Iterator[tuple[pl.DataFrame, pa.Table]]:
    """The rows of `wanted` (columns file and row, and any others), batch by batch, in file order.

    Yields the batch of `wanted` and, aligned with it, these columns of the corpus.
    """
    names = list(columns) if columns else corpus_schema().names
    schema = pa.schema([corpus_schema().field(name) for name in names])
    shards = [shard for given in inputs for shard in given.shards]
    by_file = wanted.sort("file", "row").partition_by("file", as_dict=True, maintain_order=True)
    for (number,), rows in by_file.items():
        places = rows["row"].to_numpy()
        start = 0
        with pq.ParquetFile(shards[number], buffer_size=1 << 20) as file:
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                if np.searchsorted(places, start) == np.searchsorted(places, stop):
                    start = stop
                    continue
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=names):
                    low, high = np.searchsorted(places, [start, start + batch.num_rows])
                    taken = pa.table(batch).select(names).take(places[low:high] - start)
                    start += batch.num_rows
                    if high > low:
                        yield rows[int(low) : int(high)], taken.cast(schema)
