"""Estimators from k samples per prompt: pass@k, cons@k, and intervals of means over prompts.

pass@k is the unbiased estimator of Chen et al. (arXiv 2107.03374). cons@k is the majority vote of
Wang et al. (arXiv 2203.11171), as R1 reports it. Intervals resample prompts, not samples: a
benchmark has few prompts, and samples of one prompt are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.core.intervals import wilson
from filters.verify.exact import same
from filters.verify.latex import normalise
from filters.verify.maths.parse import parse

Floats = NDArray[np.float64]

Bounds = tuple[float, float]
"""The smallest and the largest possible value."""

CELLS = 4_000_000
"""Numbers drawn per chunk while resampling: 32 MB."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the probability that k of n samples, drawn without replacement, include a correct one.

    Returns NaN where n < k: there is no unbiased estimate then.

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 4)
    (0.25, 1.0)
    """
    if n < k:
        return float("nan")
    missed = 1.0  # C(n - correct, k) / C(n, k) as a product: factorials would overflow
    for drawn in range(k):
        missed *= max(0, n - correct - drawn) / (n - drawn)
    return 1.0 - missed


class Vote(NamedTuple):
    """A sample's answer, and whether it is right; None where the verdict is undecided."""

    answer: str | None
    right: bool | None


def cons_at_k(votes: Sequence[Vote], k: int) -> float:
    """Return how often the majority of k samples is right: the mean over disjoint groups of k.

    Samples beyond the last complete group are ignored. Returns NaN where there is no complete
    group, or where the winning answer of a group is undecided.
    """
    groups = len(votes) // k
    if not groups:
        return float("nan")
    return float(np.mean([majority(votes[k * at : k * (at + 1)]) for at in range(groups)]))


def majority(votes: Sequence[Vote]) -> float:
    """Return the probability that the most frequent answer is right.

    All right answers count as one answer; wrong answers are merged where their values are equal.
    A tie is broken by a fair draw among the tied answers. Samples without an answer do not vote;
    without any vote the result is 0.
    """
    right = sum(vote.right is True for vote in votes)
    others = _tally([vote for vote in votes if vote.right is not True and vote.answer])
    most = max([right, *(count for count, _ in others)])
    if not most:
        return 0.0
    winners = [0.0 if wrong else float("nan") for count, wrong in others if count == most]
    winners += [1.0] * (right == most)
    return sum(winners) / len(winners)


def _tally(votes: Sequence[Vote]) -> list[tuple[int, bool]]:
    """Count votes by value; returns the count, and whether any of them was found wrong."""
    spelled: dict[str, tuple[int, bool]] = {}
    for vote in votes:
        text = normalise(vote.answer or "")
        count, wrong = spelled.get(text, (0, False))
        spelled[text] = (count + 1, wrong or vote.right is False)
    values: list[tuple[str, int, bool]] = []
    for text, (count, wrong) in sorted(spelled.items(), key=lambda item: (-item[1][0], item[0])):
        for at, (known, so_far, so_wrong) in enumerate(values):
            if _have_same_value(known, text):
                values[at] = (known, so_far + count, so_wrong or wrong)
                break
        else:
            values.append((text, count, wrong))
    return [(count, wrong) for _, count, wrong in values]


def _have_same_value(one: str, other: str) -> bool:
    """Return True if either answer is equal to the other as a reference."""
    left, right = parse(one), parse(other)
    return same(left, right) is True or same(right, left) is True


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over `prompts` prompts with its interval; None where there are no values."""

    value: float | None
    low: float | None
    high: float | None
    prompts: int


@dataclass(frozen=True)
class Resampling:
    """Bootstrap settings: intervals are percentiles of the mean over resampled prompts."""

    resamples: int = 10_000
    seed: int = 0
    confidence: float = 0.95

    def estimate(self, values: Floats, bounds: Sequence[Bounds | None]) -> list[MeanEstimate]:
        """Return each column's mean over the rows (prompts), ignoring NaN.

        `bounds` are the bounds of a column that is a share or a difference of shares. If all
        prompts have the same value, resampling would give an interval of width zero; the width of
        Wilson's interval for that number of prompts is used instead.
        """
        tail = (1 - self.confidence) / 2
        means = resampled_means(values, self.resamples, self.seed)
        found = []
        for column, limits in enumerate(bounds):
            known = values[:, column]
            known = known[~np.isnan(known)]
            mean = float(known.mean()) if known.size else None
            low: float | None = None
            high: float | None = None
            if mean is not None and known.size > 1:
                low, high = map(float, np.nanquantile(means[:, column], [tail, 1 - tail]))
                if limits is not None and np.ptp(known) == 0:
                    slack = wilson(0, known.size, self._z).high
                    low, high = max(limits[0], mean - slack), min(limits[1], mean + slack)
            found.append(MeanEstimate(mean, low, high, int(known.size)))
        return found

    @property
    def _z(self) -> float:
        return NormalDist().inv_cdf((1 + self.confidence) / 2)


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Return the column means of `resamples` draws of the rows with replacement.

    All columns use the same draws. NaN is ignored in a mean, not counted as 0.
    """
    rows, columns = values.shape
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    draw = np.random.default_rng(seed)
    even = np.full(rows, 1 / rows) if rows else np.empty(0)
    means = np.full((resamples, columns), np.nan)
    step = max(1, CELLS // max(rows, 1))
    for start in range(0, resamples if rows else 0, step):
        times = draw.multinomial(rows, even, size=min(step, resamples - start))
        counts = times @ known
        with np.errstate(invalid="ignore"):
            means[start : start + step] = np.where(counts > 0, times @ filled / counts, np.nan)
    return means
