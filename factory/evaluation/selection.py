"""Compare ways to choose among the same samples, and count how often a vote is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from factory.core.intervals import wilson
from factory.evaluation.choices import Lead, measure_lead
from factory.evaluation.estimators import Bounds, MeanEstimate, Resampling
from factory.evaluation.scores import ALL, NO_VOTE, read_votes, to_matrix
from factory.recipe.evaluation import SCORED, Choice, parse_choice

DIFFERENCE: Bounds = (-1.0, 1.0)
"""The bounds of a difference of two shares."""

MARGINS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)

MIN_VOTES = 4
"""Fewest samples per prompt for a table of margins."""


@dataclass(frozen=True)
class MarginResult:
    """The prompts whose vote leads by at least `margin`: their number, and the wrong ones' share.

    `of` counts all prompts with a vote. `low` and `high` are Wilson's 95% interval.
    """

    margin: float
    prompts: int
    of: int
    wrong: float | None
    low: float | None
    high: float | None


def compare_choices(
    scores: pl.DataFrame, columns: Sequence[str], resampling: Resampling
) -> dict[str, dict[str, MeanEstimate]]:
    """Return each source's metrics minus the plain vote over the same samples, cons@K.

    Only metrics of a K with a choice by score, and with cons@K. The differences are paired by
    prompt.
    """
    named = {name: choice for name in columns if (choice := parse_choice(name))}
    baselines = {
        name: f"cons@{choice.at}"
        for name, choice in named.items()
        if choice.kind != "cons" and _has_scored(named, choice.at) and f"cons@{choice.at}" in named
    }
    found: dict[str, dict[str, MeanEstimate]] = {}
    if not baselines:
        return found
    names = list(baselines)
    for group, part in split_sources(scores).items():
        # A column that several metrics are compared with is read once for each.
        less = part.select(pl.col(baselines[name]).alias(name) for name in names)
        values = to_matrix(part, names) - to_matrix(less, names)
        estimates = resampling.estimate(values, [DIFFERENCE] * len(names))
        found[group] = dict(zip(names, estimates, strict=True))
    return found


def measure_margins(scores: pl.DataFrame) -> dict[str, list[MarginResult]]:
    """Return by source how often a vote over all samples of a prompt is wrong, by its margin.

    It says what a pseudo-reference (a vote instead of a reference) is worth here. Only prompts with
    a decided vote and MIN_VOTES samples count. A source without any is left out.
    """
    found = {}
    usable = scores.filter((pl.col("samples") >= MIN_VOTES) & ~_is_no_vote())
    for group, part in split_sources(usable).items():
        leads = [measure_lead(read_votes(votes)) for votes in part["votes"].to_list()]
        decided = [lead for lead in leads if not math.isnan(lead.right)]
        if decided:
            found[group] = [_count(decided, margin) for margin in MARGINS]
    return found


def split_sources(scores: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows by source, and with several sources also all of them."""
    names = scores["source"].unique(maintain_order=True).to_list()
    parts = {name: scores.filter(source=name) for name in names}
    return {**parts, ALL: scores} if len(parts) > 1 else parts


def read_margins(data: Mapping[str, Any] | None) -> dict[str, list[MarginResult]]:
    """Return the margins as eval.json has them."""
    return {
        group: [MarginResult(**one) for one in margins] for group, margins in (data or {}).items()
    }


def _has_scored(named: Mapping[str, Choice], at: str) -> bool:
    return any(one.kind in SCORED and one.at == at for one in named.values())


def _is_no_vote() -> pl.Expr:
    return pl.col("kind").is_in(list(NO_VOTE)).fill_null(False)


def _count(leads: Sequence[Lead], margin: float) -> MarginResult:
    chosen = [lead for lead in leads if lead.margin >= margin - 1e-9]
    if not chosen:
        return MarginResult(margin, 0, len(leads), None, None, None)
    wrong = sum(lead.right == 0.0 for lead in chosen)
    interval = wilson(wrong, len(chosen))
    share = wrong / len(chosen)
    return MarginResult(margin, len(chosen), len(leads), share, interval.low, interval.high)
