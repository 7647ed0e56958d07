"""The base of filters. A filter *measures* (expensive, cached) and *decides* (cheap, expressions).

A filter never deletes anything. Decisions about groups of samples (duplicates, k per prompt,
quotas) are not filters; they are in `factory.corpus.selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from factory.core.nouns import Message, fingerprint, turn_type
from factory.core.trial import TrialError, call_own

INPUT_COLUMNS = (
    "sample_id",
    "prompt_id",
    "index",
    "text",  # the whole assistant turn
    "thinking",  # None if there is no think section
    "response",  # the text after it; None if the think section is unclosed
    "shape",  # factory.core.think.Shape
    "finish_reason",
    "n_tokens",
    "question",  # the prompt's last user turn
    "domain",
    "source",
    "language",  # the prompt's, ISO 639-1, or null
    "verifier",  # JSON, or null
    "cot",  # whether the prompt gets a chain of thought; null: undecided
    "turns",  # of an episode, factory.core.nouns.Turn each; null for one answer
    "tools",  # the functions that the prompt offers, JSON, or null
)
"""The input of `measure`, one row per sample. Of an episode `text`, `thinking` and `response` are
the model's own words (factory.judging.own_words); only `turns` has what it was shown."""

BASE_COLUMNS = (
    "sample_id",
    "prompt_id",
    "index",
    "finish_reason",
    "n_tokens",
    "domain",
    "source",
    "language",
)
"""Columns that a rule may read in addition to its filter's metrics. None needs the text."""


@cache
def turns_type() -> pl.DataType:
    """Return the type of the column `turns`."""
    import pyarrow as pa

    # No value is converted: that would import pandas, 35 MB in every process that judges.
    return pl.Schema(pa.schema([("turns", pa.list_(turn_type()))]))["turns"]


def null_turns() -> dict[str, pl.Expr]:
    """Return the columns `turns` and `tools` of samples that are no episodes."""
    return {"turns": pl.lit(None, turns_type()), "tools": pl.lit(None, pl.String)}


Ask = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Conversations → replies, in order, at temperature 0; "" for a call that failed for good."""


class LocalJudge(BaseModel):
    """Another local model, which is started after sampling if there is something to judge.

    It never runs at the same time as the sampling engine or another judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(description="A Hub id, a local folder, or the directory of a training.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="vLLM's engine arguments, like `engine.args`."
    )
    replicas: int = Field(
        1, ge=1, description="Number of engines on this machine, like `engine.replicas`."
    )


@dataclass(frozen=True)
class Rule:
    """One reason not to keep a sample.

    `when` is true for the samples that the rule drops; null counts as false. `metric` is the column
    to show as the cause. `bound` describes the limit ("at most 8192").
    """

    reason: str
    when: pl.Expr
    metric: str
    bound: str
    decision: Literal["drop", "undecided"] = "drop"


class Filter(BaseModel):
    """Base of every filter. Its fields are its keys in a recipe; unknown keys are refused.

    A subclass sets `VERSION` (increased whenever the results of `measure` change) and `MEASURED`
    (the fields that `measure` reads). Both are part of the cache key, so that a changed threshold
    recomputes nothing. It implements `rules`, and either `expressions` or `measure`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    VERSION: ClassVar[int] = 1
    MEASURED: ClassVar[frozenset[str]] = frozenset()
    SOURCE: ClassVar[str] = ""  # hash of the file of a filter that is not shipped
    REFERENCE: ClassVar[str] = ""  # path/to/file.py:Class, or an entry point
    PARALLEL: ClassVar[bool] = True
    """Whether it may run in several processes at once. False if it has its own processes or waits
    for a server."""

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        """The local model that `measure_with` needs, or None.

        `engine` is the run's own model. It is started after sampling.
        """
        return None

    def without_local_judge(self) -> Filter | None:
        """Return the filter in a form that can run during sampling, or None if it can't."""
        return self if self.local_judge is None else None

    def __reduce__(self) -> Any:
        # Pickle by reference: a class from a user's file has no module that another process could
        # import, and a class of an installed package needs its `SOURCE` there too.
        if self.REFERENCE:
            return _restore, (self.REFERENCE, self.model_dump())
        return super().__reduce__()

    def expressions(self) -> dict[str, pl.Expr]:
        """Return metric name → expression over `INPUT_COLUMNS`."""
        return {}

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """Measure `samples` (`INPUT_COLUMNS`). Returns `sample_id` and one column per metric.

        Must not raise for any text. Must not read fields outside `MEASURED`.
        """
        return samples.select("sample_id", **self.expressions())

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """Like `measure`. `ask` queries the model of `local_judge` (None: it is not running)."""
        return self.measure(samples)

    def rules(self) -> Sequence[Rule]:
        """Return the rules in order. The first one that matches gives the sample's reason."""
        raise NotImplementedError

    def cache_key(self) -> str:
        """Return a hash of all that the metrics depend on: version and `MEASURED` fields."""
        fields: dict[str, Any] = self.model_dump(mode="json", include=set(self.MEASURED))
        return fingerprint([type(self).__qualname__, self.VERSION, self.SOURCE, fields], 12)

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Decide rows with `BASE_COLUMNS` and metrics. Returns sample_id, decision, reason."""
        decision, reason = decision_exprs(self.rules())
        return measured.select("sample_id", decision=decision, reason=reason)


def _restore(reference: str, fields: dict[str, Any]) -> Filter:
    from filters import filter_class

    return filter_class(reference).model_validate(fields)


def decision_exprs(rules: Sequence[Rule]) -> tuple[pl.Expr, pl.Expr]:
    """Return the expressions of decision and reason. The first rule that matches decides."""
    decision, reason = pl.lit("keep"), pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        holds = rule.when.fill_null(False)
        decision = pl.when(holds).then(pl.lit(rule.decision)).otherwise(decision)
        reason = pl.when(holds).then(pl.lit(rule.reason)).otherwise(reason)
    return decision, reason


def measure_rows(filter_: Filter, rows: pl.DataFrame, ask: Ask | None = None) -> pl.DataFrame:
    """Measure samples with a filter, which may be a user's own.

    Raises TrialError if that one raises, or does not give one row per sample in their order: a
    sample without metrics would pass its rules.
    """
    if not filter_.REFERENCE:
        return filter_.measure_with(rows, ask)
    measured = call_own(
        filter_.REFERENCE,
        "measure",
        lambda: filter_.measure_with(rows, ask),
        "correct it and run the same command again; the samples are safe",
    )
    is_frame = isinstance(measured, pl.DataFrame) and "sample_id" in measured.columns
    if not is_frame or not measured["sample_id"].equals(rows["sample_id"]):
        returned = f"{measured.height} rows" if is_frame else f"{type(measured).__name__}"
        raise TrialError(
            f"{filter_.REFERENCE}: measure returns {returned} for {rows.height} samples; return a "
            "DataFrame with sample_id and a column for each metric, one row per sample, in their "
            "order"
        )
    return measured
