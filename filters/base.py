"""What a filter is: it *measures* (dear, cached) and it *decides* (free, an expression).

A filter never deletes anything. A decision about a group of samples (duplicates, k per prompt,
quotas) is not a filter: that is `factory.corpus.selection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from factory.core.nouns import fingerprint

INPUT_COLUMNS = (
    "sample_id",
    "prompt_id",
    "index",
    "text",  # the whole assistant turn
    "thinking",  # None where there is no think section
    "response",  # what follows it; None where the think section never closed
    "shape",  # factory.core.think.Shape
    "finish_reason",
    "n_tokens",
    "question",  # the prompt's last user turn
    "domain",
    "source",
    "language",  # the prompt's, ISO 639-1, or null
    "verifier",  # JSON, or null
    "cot",  # whether the prompt was to get a chain of thought; null: no rule said
)
"""What `measure` is given, one row a sample."""

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
"""What a rule may read beside its own filter's metrics. None of them needs the text."""


@dataclass(frozen=True)
class Rule:
    """One reason not to keep a sample.

    `when` is true for the samples it takes; a null counts as false. `metric` names the column to
    show as the cause and `bound` the limit it broke, in words ("at most 8192").
    """

    reason: str
    when: pl.Expr
    metric: str
    bound: str
    decision: Literal["drop", "undecided"] = "drop"


class Filter(BaseModel):
    """Base of every filter. Its fields are its keys in a recipe; unknown keys are refused.

    A subclass sets `VERSION` (raised whenever `measure` changes what it returns) and `MEASURED`
    (the fields `measure` reads): together they name the cache, so that a changed threshold
    recomputes nothing. It gives `expressions` or overrides `measure`, and gives `rules`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    VERSION: ClassVar[int] = 1
    MEASURED: ClassVar[frozenset[str]] = frozenset()
    SOURCE: ClassVar[str] = ""  # hash of the file that holds a user's own filter

    def expressions(self) -> dict[str, pl.Expr]:
        """Metric name → expression over `INPUT_COLUMNS`. Polars fuses all filters' in one pass."""
        return {}

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The metrics of `samples` (columns: `INPUT_COLUMNS`): `sample_id` and a column a metric.

        Must not raise on any text. Reads no field outside `MEASURED`.
        """
        return samples.select("sample_id", **self.expressions())

    def rules(self) -> Sequence[Rule]:
        """The reasons, in order: the first that holds is the sample's."""
        raise NotImplementedError

    def cache_key(self) -> str:
        """Names the metrics this filter computes: its version and the fields `measure` reads."""
        fields: dict[str, Any] = self.model_dump(mode="json", include=set(self.MEASURED))
        return fingerprint([type(self).__qualname__, self.VERSION, self.SOURCE, fields], 12)

    def decide(self, measured: pl.DataFrame) -> pl.DataFrame:
        """Verdicts of measured rows (`BASE_COLUMNS` and metrics): sample_id, decision, reason."""
        decision, reason = decision_exprs(self.rules())
        return measured.select("sample_id", decision=decision, reason=reason)


def decision_exprs(rules: Sequence[Rule]) -> tuple[pl.Expr, pl.Expr]:
    """The decision and the reason that `rules` give, first true wins."""
    decision, reason = pl.lit("keep"), pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        holds = rule.when.fill_null(False)
        decision = pl.when(holds).then(pl.lit(rule.decision)).otherwise(decision)
        reason = pl.when(holds).then(pl.lit(rule.reason)).otherwise(reason)
    return decision, reason
