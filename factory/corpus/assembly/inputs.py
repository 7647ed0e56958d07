"""Input rows of an assembly: narrow columns of all rows, text only on demand.

A row is identified by its file and its row number there. So text is read in file order, one row
group at a time, and is never joined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from factory.core.checksums import refuse_damaged
from factory.core.errors import RunError
from factory.core.run_dir import read_manifest
from factory.corpus.rows import TOOLS, corpus_schema
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
    """One run or corpus that an assembly reads."""

    source: RunSource
    shards: list[Path]
    manifest: dict[str, Any]  # of a run; empty for a plain corpus
    funnel: Funnel | None  # of a run

    @property
    def label(self) -> str:
        return self.source.label

    @property
    def prompts(self) -> Path | None:
        """The run's prompts file, if there is one."""
        file = self.source.path / "prompts.parquet"
        return file if self.manifest and file.exists() else None

    def identity(self) -> list[Any]:
        """Return a value that changes with its rows, but not with the location of the folder."""
        stats = [shard.stat() for shard in self.shards]
        files = [
            (s.name, i.st_size, i.st_mtime_ns) for s, i in zip(self.shards, stats, strict=True)
        ]
        return [self.label, files]


def open_inputs(runs: Sequence[RunSource]) -> list[Input]:
    """Open every run's corpus. Raises RunError if one is unusable, or if none has a row.

    A single run without rows is no error: the quotas report what is missing.
    """
    inputs = [open_run(run) for run in runs]
    if not any(given.shards for given in inputs):
        raise RunError(
            f"none of the runs kept a row ({', '.join(given.label for given in inputs)}); "
            "`factory show RUN` shows why its samples were dropped"
        )
    return inputs


def open_run(run: RunSource) -> Input:
    """Open one run's corpus. Raises RunError if it is missing, unfinished, damaged or of another
    kind."""
    if not run.path.is_dir():
        raise RunError(f"{run.path} does not exist; build that run first, or correct its path")
    manifest = read_manifest(run.path)
    if manifest and manifest.get("state") != "done":
        raise RunError(f"{run.path} is not finished; finish it with `factory build` first")
    shards = sorted((run.path / "corpus" if manifest else run.path).glob("*.parquet"))
    if not shards and not manifest:
        raise RunError(
            f"{run.path} is neither a finished run (corpus/*.parquet) nor a corpus (*.parquet)"
        )
    refuse_damaged(shards)
    for shard in shards:
        _require_schema(shard)
    has_funnel = (run.path / "funnel.json").exists()
    return Input(run, shards, manifest, load_funnel(run.path) if manifest and has_funnel else None)


def _require_schema(shard: Path) -> None:
    found = pq.read_schema(shard)
    wanted = corpus_schema(TOOLS in found.names)
    for field in wanted:
        if field.name not in found.names:
            difference = f"has no column {field.name}"
        elif _normalize_type(found.field(field.name).type) != field.type:
            kind = found.field(field.name).type
            difference = f"column {field.name} is {kind}, a corpus has {field.type}"
        else:
            continue
        raise RunError(
            f"{shard}: {difference}. It was made by another version or program: build the run "
            "again (its samples are kept, no model is needed), or remove it from the recipe."
        )
    extra = sorted(set(found.names) - set(wanted.names))
    if extra:
        raise RunError(
            f"{shard}: column {extra[0]} is not part of the corpus schema; remove it first"
        )


def _normalize_type(kind: pa.DataType) -> pa.DataType:
    """Replace Arrow's large types, which other programs write, by the plain ones."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_normalize_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _normalize_type(field.type)) for field in kind])
    return kind


def scan_rows(inputs: Sequence[Input]) -> pl.DataFrame:
    """Return every row of the inputs: NARROW, answer (a hash), rounds, run, file and row.

    Rows are sorted by input, prompt and sample, so that the division into files has no effect.
    `sample_id` is the id made unique: if two runs have the same id, the later one gets `@label`.
    """
    frames = []
    number = 0
    for run, given in enumerate(inputs):
        known = set(given.funnel.by_domain) if given.funnel is not None else set()
        for shard in given.shards:
            frame = _read_narrow(shard).with_columns(
                run=pl.lit(run, pl.UInt16), file=pl.lit(number, pl.UInt32)
            )
            number += 1
            known.update(frame["domain"].unique())
            for column in ("domains", "sources"):
                wanted = getattr(given.source, column)
                if wanted:
                    frame = frame.filter(pl.col(column[:-1]).is_in(wanted))
            frames.append(frame.with_columns(pl.col(_LABELS).cast(pl.Categorical)))
        _require_domains(given, known)
    rows = pl.concat(frames).sort("run", "prompt_id", "index", "id")
    twice = rows.filter(pl.struct("run", "id").is_duplicated())
    if twice.height:
        path = inputs[twice["run"][0]].source.path
        raise RunError(
            f"{path} has the sample {twice['id'][0]} more than once; the corpus is damaged"
        )
    labels = pl.Series([given.label for given in inputs], dtype=pl.String)
    named = pl.format("{}@{}", "id", pl.lit(labels).gather(pl.col("run")))
    first = pl.col("id").is_first_distinct()
    return rows.with_columns(sample_id=pl.when(first).then("id").otherwise(named)).drop("id")


def _require_domains(given: Input, known: Collection[str]) -> None:
    """Raise RunError for a domain that the recipe selects and no prompt of the run has."""
    for domain in given.source.domains:
        if domain not in known:
            raise RunError(
                f"{given.source.path} has no prompt of the domain {domain!r}; its domains are "
                f"{', '.join(sorted(known))}"
            )


def _read_narrow(shard: Path) -> pl.DataFrame:
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


def input_schema(inputs: Sequence[Input]) -> pa.Schema:
    """Return the schema that holds the rows of all inputs: with tools if any has them."""
    shards = [shard for given in inputs for shard in given.shards]
    return corpus_schema(any(TOOLS in pq.read_schema(shard).names for shard in shards))


def read_rows(
    inputs: Sequence[Input], wanted: pl.DataFrame, columns: Sequence[str] | None = None
) -> Iterator[tuple[pl.DataFrame, pa.Table]]:
    """Read the rows of `wanted` (columns file, row and any others) in batches, in file order.

    Yields each batch of `wanted` and, aligned with it, the given columns of the corpus.
    """
    whole = input_schema(inputs)
    schema = pa.schema([whole.field(name) for name in columns or whole.names])
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
                names = [name for name in schema.names if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=names):
                    low, high = np.searchsorted(places, [start, start + batch.num_rows])
                    found = pa.table(batch).select(names).take(places[low:high] - start)
                    for name in schema.names[len(names) :]:  # those of episodes
                        kind = schema.field(name).type
                        found = found.append_column(name, pa.nulls(found.num_rows, kind))
                    start += batch.num_rows
                    if high > low:
                        yield rows[int(low) : int(high)], found.cast(schema)
