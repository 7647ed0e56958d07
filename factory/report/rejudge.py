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
from filters.base import BASE_COLUMNS, INPUT_COLUMNS, Filter, LocalJudge, measure_rows
from filters.correctness import Correctness
from filters.judges.asked import asks_server, loads_model

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
    """Measure and decide texts (`INPUT_COLUMNS`). A judge model is asked only if `ask_judges`.

    No engine is ever started, and no server or model of a run that was not built here is used.
    """
    metrics, skipped, asked = {}, {}, {}
    rows = inputs.select(INPUT_COLUMNS)
    trusted = is_trusted(snapshot.run / "recipe.yaml")
    for name, filter_ in snapshot.filters.items():
        if isinstance(filter_, Recorded):
            filter_ = filter_.load()
        elif isinstance(filter_, Correctness):
            # A run may come from a stranger: its programs never leave the sandbox here.
            filter_ = filter_.model_copy(update={"unsafe_without_sandbox": False})
        if not ask_judges:  # as during sampling: the rule alone decides
            filter_ = filter_.without_local_judge() or filter_
        refusal = _refuse_asking(filter_, trusted, ask_judges)
        if refusal is not None:
            skipped[name] = refusal
            continue
        try:
            metrics[name] = measure_rows(filter_, rows)
            asked[name] = filter_
        except FactoryError as error:
            skipped[name] = _explain_local(filter_, rows) if filter_.local_judge else str(error)
    rates = snapshot.samples.select("sample_id", *RATE_COLUMNS)
    ids = inputs["sample_id"].implode()
    measured = join_metrics(inputs.select(BASE_COLUMNS), metrics).join(
        rates.filter(pl.col("sample_id").is_in(ids)), on="sample_id", how="left"
    )
    return Rejudged(decide(measured, asked), measured, list(asked), skipped)


def _refuse_asking(filter_: Filter, trusted: bool, ask_judges: bool) -> str | None:
    """Return why a filter may not measure here, or None. `trusted`: the recipe was run here."""
    server, model = asks_server(filter_), loads_model(filter_)
    if (server or model or filter_.local_judge) and not ask_judges:
        return "asks a judge model"
    if trusted or not (server or model):
        return None
    what = "a server, which would get the text and your key" if server else "a model to load"
    return (
        f"not asked: the run's recipe names {what}; build the run yourself, or set "
        "FACTORY_TRUST_CODE=1 if you trust the recipe"
    )


def _explain_local(filter_: Filter, rows: pl.DataFrame) -> str:
    """Say that a model on this machine was not asked about a text, and what the rule alone says."""
    judge = filter_.local_judge
    model = judge.start if isinstance(judge, LocalJudge) else "the run's own model"
    why = (
        f"not asked: its judge ({model}) runs on this machine, and no engine is started to look at "
        "a run; the next build asks it"
    )
    alone = filter_.without_local_judge()
    if alone is None:
        return why
    reason = alone.decide(rows.select(BASE_COLUMNS).hstack(_metrics(alone, rows)))["reason"][0]
    return f"{why}. The rule alone says {reason or 'keep'}"


def _metrics(filter_: Filter, rows: pl.DataFrame) -> pl.DataFrame:
    return measure_rows(filter_, rows).drop("sample_id")


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
