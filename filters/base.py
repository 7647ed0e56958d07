"""What a filter is: it *measures* (expensive, cached) and it *decides* (free, an expression).

A filter never deletes anything. A decision about a group of samples (duplicates, k per prompt,
quotas) is not a filter: that is `factory.corpus.selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from factory.core.nouns import Message, fingerprint

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
"""What a rule may read next to its own filter's metrics. None of them needs the text."""


Ask = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Replies to conversations, in order, at temperature 0; "" where a call failed for good."""


class LocalJudge(BaseModel):
    """Another model, started here once sampling has ended, when it has something to judge.

    It never runs at the same time as the sampling engine or another judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(description="A Hub id, a local folder, or a training's directory.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="vLLM's engine arguments for it, as `engine.args`."
    )
    replicas: int = Field(1, ge=1, description="Engines on this machine, as `engine.replicas`.")


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
    SOURCE: ClassVar[str] = ""  # hash of the file that holds a filter that is not shipped
    REFERENCE: ClassVar[str] = ""  # what finds it again: path/to/file.py:Class, or an entry point
    PARALLEL: ClassVar[bool] = True
    """May be measured in several processes at once. False: it has processes of its own, or waits
    for a server."""

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        """The model on this machine that `measure_with` asks; None where it asks none.

        `engine` is the run's own model. It is started once sampling has ended.
        """
        return None

    def without_local_judge(self) -> Filter | None:
        """This filter as it can measure while the engine samples; None where it cannot."""
        return self if self.local_judge is None else None

    def __reduce__(self) -> Any:
        # Found again by its name: a class out of a user's file has no module that another process
        # could import, and one of an installed package needs its `SOURCE` there too.
        if self.REFERENCE:
            return _restore_own, (self.REFERENCE, self.model_dump())
        return super().__reduce__()

    def expressions(self) -> dict[str, pl.Expr]:
        """Metric name → expression over `INPUT_COLUMNS`. Polars fuses all filters' in one pass."""
        return {}

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The metrics of `samples` (columns: `INPUT_COLUMNS`): `sample_id` and a column a metric.

        Must not raise on any text. Reads no field outside `MEASURED`.
        """
        return samples.select("sample_id", **self.expressions())

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """`measure`, where `ask` reaches the model that `local_judge` names (None: not running)."""
        return self.measure(samples)

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


def _restore_own(reference: str, fields: dict[str, Any]) -> Filter:
    from filters import filter_class

    return filter_class(reference).model_validate(fields)


def decision_exprs(rules: Sequence[Rule]) -> tuple[pl.Expr, pl.Expr]:
    """The decision and the reason that `rules` give, first true wins."""
    decision, reason = pl.lit("keep"), pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        holds = rule.when.fill_null(False)
        decision = pl.when(holds).then(pl.lit(rule.decision)).otherwise(decision)
        reason = pl.when(holds).then(pl.lit(rule.reason)).otherwise(reason)
    return decision, reason
