"""Runs → one corpus: `factory build` of an assembly recipe.

What goes in is decided on narrow columns (factory.corpus.assembly.selection); then the text of
the chosen rows is read once and shuffled on disk. The same runs and the same
recipe give the same bytes.
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
from factory.corpus.assembly.inputs import Input, open_inputs, read
from factory.corpus.assembly.selection import Choice, choose
from factory.corpus.assembly.statistics import (
    AssemblyReport,
    count,
    load_report,
    merge_funnels,
    shares,
    tally,
)
from factory.corpus.rows import DICTIONARY, corpus_schema, in_form, in_places
from factory.corpus.shards import PLACE, write_shards
from factory.recipe.assembly import Assembly

if TYPE_CHECKING:
    from rich.console import Console


def build_assembly(recipe: Assembly, out: Path, console: Console) -> AssemblyReport:
    """Assemble the corpus of `recipe` in `out`. Finished: returns at once. Killed: run it again.

    Raises RunError for a run that cannot be used, QuotaError where a strict recipe falls short
    (nothing is written then), StorageError when the disk is full.
    """
    inputs = open_inputs(recipe.runs)
    identity = _identity(recipe, inputs)
    manifest = read_manifest(out)
    if manifest.get("state") == "done" and manifest.get("recipe") == identity:
        return load_report(out)
    if any(given.source.path.resolve() == out.resolve() for given in inputs):
        raise RunError(f"{out} is one of the runs to assemble; name another with --run")
    with RunDir(out) as run:
        if run.parts():
            raise RunError(f"{out} holds the samples of a run; name another with --run")
        choice = choose(recipe, inputs)
        refuse_shortfall(recipe, choice)
        console.print(f"{choice.rows.height:,} rows chosen; writing them", highlight=False)
        write_atomic(out / "recipe.yaml", recipe.to_yaml())
        params = {fp: known for i in inputs for fp, known in i.manifest.get("params", {}).items()}
        run.save_manifest(state="running", kind=recipe.kind, name=recipe.name, params=params)
        report = describe(recipe, inputs, choice)
        placed, splits = in_places(choice.rows)
        del choice  # the widest frame there is; the text comes now
        write_shards(
            _chosen_rows(recipe, inputs, placed.select("file", "row", PLACE, id="sample_id")),
            splits,
            out / "corpus",
            corpus_schema(),
            shard_rows=recipe.corpus.shard_rows,
            shard_bytes=recipe.corpus.shard_bytes,
            dictionary=DICTIONARY,
        )
        report.save(out)
        merge_funnels([given.funnel for given in inputs if given.funnel], report.rows).save(out)
        run.save_manifest(state="done", recipe=identity, finished_at=int(time.time()))
    return report


def refuse_shortfall(recipe: Assembly, choice: Choice) -> None:
    """A contract the recipe calls strict is kept, or nothing is written."""
    if recipe.strict and choice.shortfalls:
        listing = "\n".join(f"  {item}" for item in choice.shortfalls)
        raise QuotaError(f"{recipe.name} falls short, and its recipe is strict:\n{listing}")


def describe(recipe: Assembly, inputs: Sequence[Input], choice: Choice) -> AssemblyReport:
    """The chosen rows in numbers."""
    rows = choice.rows
    labels = dict(enumerate(given.label for given in inputs))
    by_run = rows.select(run=pl.col("run").replace_strict(labels, return_dtype=pl.String))
    return AssemblyReport(
        name=recipe.name,
        offered=choice.offered,
        steps=choice.steps,
        rows=count(rows),
        splits=dict(rows.group_by("split").len().sort("split").iter_rows()),
        domains=shares(rows),
        shortfalls=choice.shortfalls,
        runs=tally(by_run, "run"),
        models=tally(rows, "model"),
        unknown_licenses=tally(rows.filter(pl.col("license").is_null()), "source"),
    )


def _identity(recipe: Assembly, inputs: Sequence[Input]) -> str:
    """Changes whenever the corpus could."""
    keys = recipe.model_dump(mode="json", exclude={"runs": {"__all__": {"path"}}})
    rows = [given.identity() for given in inputs]
    return fingerprint([keys, recipe.contamination.cache_key(), rows])


def _chosen_rows(
    recipe: Assembly, inputs: Sequence[Input], placed: pl.DataFrame
) -> Iterator[pa.Table]:
    """The rows as their runs hold them, under ids that are unique here, with their places; with
    other tags around the reasoning where the recipe says so."""
    position = corpus_schema().get_field_index("id")
    for some, table in read(inputs, placed):
        if "think" in recipe.corpus.model_fields_set:
            table = in_form(table, recipe.corpus.tags)
        ids = pa.array(some["id"], pa.string())
        places = pa.array(some[PLACE].to_numpy().astype(np.int64))
        yield table.set_column(position, "id", ids).append_column(PLACE, places)
