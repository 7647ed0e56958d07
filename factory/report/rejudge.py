"""Judging a few texts now, with the run's own filters: an edit, or a sample no build got to yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from factory.core.errors import FactoryError, RunError
from factory.core.think import join_think, split_think
from factory.judging.metrics import measured_frame_of
from factory.judging.verdicts import decide, verdict_column
from factory.report.snapshot import RATE_COLUMNS, Snapshot
from filters.base import BASE_COLUMNS, INPUT_COLUMNS

UNCHECKED = "unchecked"
"""The reason of a filter that could not be asked: an edit is not taken to pass it."""


@dataclass(frozen=True)
class Rejudged:
    """Verdicts of a few texts. `skipped` names the filters that could not be asked, and why."""

    verdicts: pl.DataFrame
    measured: pl.DataFrame
    asked: list[str]
    skipped: dict[str, str]

    def flags(self) -> list[str]:
        """ "correctness: wrong" for each filter that would take the first text or was not asked."""
        row = self.verdicts.row(0, named=True)
        own = ((name, row[verdict_column(name)]["reason"]) for name in self.asked)
        unasked = [f"{name}: {UNCHECKED}" for name in self.skipped]
        return [f"{name}: {reason}" for name, reason in own if reason] + unasked


def find_row(snapshot: Snapshot, sample_id: str) -> pl.DataFrame:
    """A sample's row of `samples`. Raises RunError where the run holds no such sample."""
    row = snapshot.samples.filter(pl.col("sample_id") == sample_id)
    if row.is_empty():
        raise RunError(f"{snapshot.run} has no sample {sample_id}; ids read 0123456789abcdef-3")
    return row.head(1)


def rejudge_edit(
    snapshot: Snapshot, sample_id: str, thinking: str | None, response: str
) -> Rejudged:
    """What the run's filters, judge models among them, say of another text of a sample.

    Raises RunError where there is no such sample or its own text cannot be read.
    """
    inputs = snapshot.texts(find_row(snapshot, sample_id))
    if inputs.is_empty():
        raise RunError(f"the text of {sample_id} cannot be read, so no edit can be judged")
    changed = edited(inputs.select(INPUT_COLUMNS), thinking, response)
    return rejudge(snapshot, changed, ask_judges=True)


def rejudge(snapshot: Snapshot, inputs: pl.DataFrame, ask_judges: bool = False) -> Rejudged:
    """Measure and decide texts (`INPUT_COLUMNS`). A judge model is asked only if `ask_judges`."""
    metrics, skipped, asked = {}, {}, {}
    for name, judge in snapshot.filters.items():
        if getattr(judge, "judge", None) is not None and not ask_judges:
            skipped[name] = "asks a judge model"
            continue
        try:
            metrics[name] = judge.measure(inputs.select(INPUT_COLUMNS))
            asked[name] = judge
        except FactoryError as error:
            skipped[name] = str(error)
    rates = snapshot.samples.select("sample_id", *RATE_COLUMNS)
    ids = inputs["sample_id"].implode()
    measured = measured_frame_of(inputs.select(BASE_COLUMNS), metrics).join(
        rates.filter(pl.col("sample_id").is_in(ids)), on="sample_id", how="left"
    )
    return Rejudged(decide(measured, asked), measured, list(asked), skipped)


def edited(inputs: pl.DataFrame, thinking: str | None, response: str) -> pl.DataFrame:
    """One sample's inputs with another text.

    A person ended it, so it is not cut off; its tokens are counted in proportion to its length.
    """
    row: dict[str, Any] = inputs.row(0, named=True)
    text = join_think(thinking, response)
    parts = split_think(text)
    tokens = round(row["n_tokens"] * len(text) / max(1, len(row["text"])))
    changed = {**row, "text": text, **parts._asdict(), "n_tokens": tokens, "finish_reason": "stop"}
    return pl.DataFrame([changed], schema=inputs.schema)
