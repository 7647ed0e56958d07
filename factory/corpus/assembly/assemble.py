"""Runs → one corpus: `factory build` of an assembly recipe.

The rows are selected on narrow columns (factory.corpus.assembly.selection). Then the text of the
selected rows is read once and shuffled on disk. The same runs and recipe give the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from factory.core.errors import QuotaError, RunError
from factory.core.files import write_atomic
from factory.core.nouns import fingerprint
from factory.core.run_dir import RunDir, read_manifest
from factory.corpus.assembly.inputs import Input, input_schema, open_inputs, read_rows
from factory.corpus.assembly.selection import Choice, choose
from factory.corpus.assembly.statistics import (
    AssemblyReport,
    compute_shares,
    count_rows,
    count_values,
    load_report,
    merge_funnels,
)
from factory.corpus.rows import DICTIONARY, assign_places, corpus_schema, rewrite_tags
from factory.corpus.shards import PLACE, write_shards
from factory.recipe.assembly import Assembly

if TYPE_CHECKING:
    from rich.console import Console


def build_assembly(recipe: Assembly, out: Path, console: Console) -> AssemblyReport:
    """Assemble the corpus of `recipe` in `out`. Returns at once if it is already finished.

    Raises RunError for a run that can't be used, QuotaError if a strict recipe falls short (then
    nothing is written), and StorageError if the disk is full.
    """
    inputs = open_inputs(recipe.runs)
    identity = _identity(recipe, inputs)
    manifest = read_manifest(out)
    if manifest.get("state") == "done" and manifest.get("recipe") == identity:
        return load_report(out)
    if any(given.source.path.resolve() == out.resolve() for given in inputs):
        raise RunError(f"{out} is one of the runs to assemble; name another directory with --run")
    with RunDir(out) as run:
        if run.parts():
            raise RunError(f"{out} has the samples of a run; name another directory with --run")
        choice = choose(recipe, inputs)
        refuse_shortfall(recipe, choice)
        console.print(f"{choice.rows.height:,} rows selected; writing them", highlight=False)
        write_atomic(out / "recipe.yaml", recipe.to_yaml())
        params = {fp: known for i in inputs for fp, known in i.manifest.get("params", {}).items()}
        run.save_manifest(state="running", kind=recipe.kind, name=recipe.name, params=params)
        report = summarize(recipe, inputs, choice)
        placed, splits = assign_places(choice.rows)
        del choice  # free memory before the text is read
        write_shards(
            _chosen_rows(recipe, inputs, placed.select("file", "row", PLACE, id="sample_id")),
            splits,
            out / "corpus",
            input_schema(inputs),
            shard_rows=recipe.corpus.shard_rows,
            shard_bytes=recipe.corpus.shard_bytes,
            dictionary=DICTIONARY,
        )
        report.save(out)
        merge_funnels([given.funnel for given in inputs if given.funnel], report.rows).save(out)
        run.save_manifest(state="done", recipe=identity, finished_at=int(time.time()))
    return report


def refuse_shortfall(recipe: Assembly, choice: Choice) -> None:
    """Raise QuotaError if a strict recipe has shortfalls, or rows are fewer than required."""
    if recipe.strict and choice.shortfalls:
        listing = "\n".join(f"  {item}" for item in choice.shortfalls)
        raise QuotaError(
            f"{recipe.name} does not fill its quotas, and its recipe is strict:\n{listing}"
        )
    if choice.rows.height < recipe.corpus.min_rows:
        raise QuotaError(
            f"{recipe.name}: {choice.rows.height:,} of {choice.offered.samples:,} rows are left, "
            f"{recipe.corpus.min_rows:,} are required (corpus.min_rows); add runs, or relax a step"
        )


def summarize(recipe: Assembly, inputs: Sequence[Input], choice: Choice) -> AssemblyReport:
    """Return the statistics of the selected rows."""
    rows = choice.rows
    labels = dict(enumerate(given.label for given in inputs))
    by_run = rows.select(run=pl.col("run").replace_strict(labels, return_dtype=pl.String))
    return AssemblyReport(
        name=recipe.name,
        offered=choice.offered,
        steps=choice.steps,
        rows=count_rows(rows),
        splits=dict(rows.group_by("split").len().sort("split").iter_rows()),
        domains=compute_shares(rows),
        shortfalls=choice.shortfalls,
        runs=count_values(by_run, "run"),
        models=count_values(rows, "model"),
        unknown_licenses=count_values(rows.filter(pl.col("license").is_null()), "source"),
    )


def _identity(recipe: Assembly, inputs: Sequence[Input]) -> str:
    """Return a hash that changes whenever the corpus may change."""
    keys = recipe.model_dump(mode="json", exclude={"runs": {"__all__": {"path"}}})
    del keys["corpus"]["min_rows"]  # no row depends on it
    rows = [given.identity() for given in inputs]
    return fingerprint([keys, recipe.contamination.cache_key(), rows])


def _chosen_rows(
    recipe: Assembly, inputs: Sequence[Input], placed: pl.DataFrame
) -> Iterator[pa.Table]:
    """Yield the selected rows with unique ids, their places and the recipe's tags."""
    position = corpus_schema().get_field_index("id")
    for some, table in read_rows(inputs, placed):
        if "think" in recipe.corpus.model_fields_set:
            table = rewrite_tags(table, recipe.corpus.tags)
        ids = pa.array(some["id"], pa.string())
        places = pa.array(some[PLACE].to_numpy().astype(np.int64))
        yield table.set_column(position, "id", ids).append_column(PLACE, places)
