"""Scores the steps of an answer by a process reward model.

R1 tried process rewards and dropped them: steps are hard to define and to label, and a policy
learns to please the model (v1 §4.2). So nothing is dropped unless a recipe sets `min_score`. With
`select: {pick: best, score: steps_min}` it is best-of-n by steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl
from pydantic import Field

from factory.core.content_hash import content_hash
from factory.core.nouns import fingerprint
from filters.base import Filter, Rule
from filters.judges.classifier import find_folder
from filters.judges.process_model import AGGREGATES, Aggregate, ProcessModel, aggregate


class Steps(Filter):
    """Scores every step of the whole text, reasoning included, each between 0 and 1.

    A text without a score (no text, or longer than the model reads) is undecided.
    """

    process_model: ProcessModel = Field(description="Process reward model, loaded in this process.")
    min_score: float | None = Field(
        None, ge=0, le=1, description="Minimum of the score that `by` names. Off by default."
    )
    by: Aggregate = Field(
        "min", description="The score that `min_score` is for: one of min, product, last, mean."
    )

    PARALLEL = False  # it holds a model

    MEASURED: ClassVar[frozenset[str]] = frozenset(("process_model",))

    def cache_key(self) -> str:
        """Depends on the weights, not on their path alone: a model trained again measures again."""
        folder = find_folder(self.process_model.model)
        weights = content_hash(folder) if folder is not None and folder.is_dir() else None
        return fingerprint([super().cache_key(), weights], 12)

    def without_local_judge(self) -> None:
        """It can't score during sampling: the model needs memory."""

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        pairs = list(samples.select("question", pl.col("text").fill_null("")).iter_rows())
        scores = self.process_model.scores(pairs) if pairs else []
        metrics = {
            f"steps_{how}": pl.Series(
                [None if own is None else aggregate(own, how) for own in scores], dtype=pl.Float64
            )
            for how in AGGREGATES
        }
        count = [None if own is None else len(own) for own in scores]
        return samples.select("sample_id").with_columns(
            steps_count=pl.Series(count, dtype=pl.Int64), **metrics
        )

    def rules(self) -> Sequence[Rule]:
        metric = f"steps_{self.by}"
        rules = [Rule("unscored", pl.col(metric).is_null(), metric, "a score", "undecided")]
        if self.min_score is not None:
            bound = f"at least {self.min_score:g}"
            rules.append(Rule("weak_step", pl.col(metric) < self.min_score, metric, bound))
        return rules
