"""Judge a few texts with a run's own filters: an edited text, or samples not yet judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from factory.core.errors import FactoryError, RunError
from factory.core.think import join_think, split_think
from factory.core.trust import is_trusted
from factory.judging.metrics import join_metrics
from factory.judging.recorded import Recorded
from factory.judging.verdicts import decide, verdict_column
from factory.report.snapshot import RATE_COLUMNS, Snapshot
from filters.base import BASE_COLUMNS, INPUT_COLUMNS, measure_rows
from filters.correctness import Correctness
from filters.judges.client import Endpoint

UNCHECKED = "unchecked"
"""The reason given for a filter that could not run; an edit does not count as passing it."""


@dataclass(frozen=True)
class Rejudged:
    """Verdicts on a few texts. `skipped` maps the filters that could not run to the reason."""

    verdicts: pl.DataFrame
    measured: pl.DataFrame
    asked: list[str]
    skipped: dict[str, str]

    def flags(self) -> list[str]:
        """Return "correctness: wrong" for each filter that drops the first text or was skipped."""
        row = self.verdicts.row(0, named=True)
        own = ((name, row[verdict_column(name)]["reason"]) for name in self.asked)
        unchecked = [f"{name}: {UNCHECKED}" for name in self.skipped]
        return [f"{name}: {reason}" for name, reason in own if reason] + unchecked


def find_row(snapshot: Snapshot, sample_id: str) -> pl.DataFrame:
    """Return a sample's row of `samples`. Raises RunError where the run has no such sample."""
    row = snapshot.samples.filter(pl.col("sample_id") == sample_id)
    if row.is_empty():
        where = f"{snapshot.run} has no sample {sample_id}"
        raise RunError(f"{where}; ids look like 0123456789abcdef-3")
    return row.head(1)


def rejudge_edit(
    snapshot: Snapshot, sample_id: str, thinking: str | None, response: str
) -> Rejudged:
    """Judge an edited text of a sample with all filters of the run, including judge models.

    Raises RunError where there is no such sample or its own text can't be read.
    """
    inputs = snapshot.texts(find_row(snapshot, sample_id))
    if inputs.is_empty():
        raise RunError(f"the text of {sample_id} cannot be read, so no edit can be judged")
    changed = apply_edit(inputs.select(INPUT_COLUMNS), thinking, response)
    return rejudge(snapshot, changed, ask_judges=True)


def rejudge(snapshot: Snapshot, inputs: pl.DataFrame, ask_judges: bool = False) -> Rejudged:
    """Measure and decide texts (`INPUT_COLUMNS`). A judge model is asked only if `ask_judges`."""
    metrics, skipped, asked = {}, {}, {}
    recipe_file = snapshot.run / "recipe.yaml"
    for name, filter_ in snapshot.filters.items():
        if isinstance(filter_, Recorded):
            filter_ = filter_.load()
        elif isinstance(filter_, Correctness):
            # A run may come from a stranger: its programs never leave the sandbox here.
            filter_ = filter_.model_copy(update={"unsafe_without_sandbox": False})
        if getattr(filter_, "judge", None) is not None and not ask_judges:
            skipped[name] = "asks a judge model"
            continue
        if isinstance(getattr(filter_, "judge", None), Endpoint) and not is_trusted(recipe_file):
            skipped[name] = (
                "the run's recipe names a judge server, which would get the text and your key; "
                "build the run yourself, or set FACTORY_TRUST_CODE=1 if you trust the recipe"
            )
            continue
        try:
            metrics[name] = measure_rows(filter_, inputs.select(INPUT_COLUMNS))
            asked[name] = filter_
        except FactoryError as error:
            skipped[name] = str(error)
    rates = snapshot.samples.select("sample_id", *RATE_COLUMNS)
    ids = inputs["sample_id"].implode()
    measured = join_metrics(inputs.select(BASE_COLUMNS), metrics).join(
        rates.filter(pl.col("sample_id").is_in(ids)), on="sample_id", how="left"
    )
    return Rejudged(decide(measured, asked), measured, list(asked), skipped)


def apply_edit(inputs: pl.DataFrame, thinking: str | None, response: str) -> pl.DataFrame:
    """Return one sample's inputs with an edited text.

    The finish reason becomes "stop". The token count is estimated in proportion to the length.
    """
    row: dict[str, Any] = inputs.row(0, named=True)
    text = join_think(thinking, response)
    parts = split_think(text)
    tokens = round(row["n_tokens"] * len(text) / max(1, len(row["text"])))
    changed = {**row, "text": text, **parts._asdict(), "n_tokens": tokens, "finish_reason": "stop"}
    return pl.DataFrame([changed], schema=inputs.schema)
