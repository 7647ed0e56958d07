"""What k samples a prompt say about a model: pass@k, cons@k, and how sure a mean over prompts is.

pass@k is the unbiased estimator of Chen et al. (arXiv 2107.03374); cons@k the majority vote of Wang
et al. (arXiv 2203.11171), as R1 reports it. Intervals resample prompts, not samples: the prompts
are what a benchmark has few of, and samples of one prompt are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.core.intervals import wilson
from filters.verify.answer_forms import parse
from filters.verify.exact import same
from filters.verify.latex import normalise

Floats = NDArray[np.float64]

Span = tuple[float, float]

CELLS = 4_000_000
"""Numbers drawn at once while resampling: 32 MB."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of n samples, drawn without replacement, hold a right one.

    Not a number where fewer than k were drawn: nothing unbiased can be said then.

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 4)
    (0.25, 1.0)
    """
    if n < k:
        return float("nan")
    missed = 1.0  # C(n - correct, k) / C(n, k), as a product: the factorials would overflow
    for drawn in range(k):
        missed *= max(0, n - correct - drawn) / (n - drawn)
    return 1.0 - missed


class Vote(NamedTuple):
    """A sample's answer, and whether it is right: None where that was not decided."""

    answer: str | None
    right: bool | None


def cons_at_k(votes: Sequence[Vote], k: int) -> float:
    """How often the majority of k samples is right: the mean over disjoint groups of k.

    Samples beyond the last whole group have no part. Not a number where there is no whole group,
    or where a group's winner is an answer that was never decided.
    """
    groups = len(votes) // k
    if not groups:
        return float("nan")
    return float(np.mean([majority(votes[k * at : k * (at + 1)]) for at in range(groups)]))


def majority(votes: Sequence[Vote]) -> float:
    """Whether the commonest answer is right.

    All right answers are one answer; of the others, equal values in other spellings are. A tie
    counts as the chance that a fair draw among the tied is right. Samples without an answer do not
    vote; where nobody does, nothing was right.
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
    """Votes by value: how many, and whether any of them was found wrong."""
    spelled: dict[str, tuple[int, bool]] = {}
    for vote in votes:
        text = normalise(vote.answer or "")
        count, wrong = spelled.get(text, (0, False))
        spelled[text] = (count + 1, wrong or vote.right is False)
    values: list[tuple[str, int, bool]] = []
    for text, (count, wrong) in sorted(spelled.items(), key=lambda item: (-item[1][0], item[0])):
        for at, (known, so_far, so_wrong) in enumerate(values):
            if _equal(known, text):
                values[at] = (known, so_far + count, so_wrong or wrong)
                break
        else:
            values.append((text, count, wrong))
    return [(count, wrong) for _, count, wrong in values]


def _equal(one: str, other: str) -> bool:
    """Whether two spellings are one value, whichever of them is taken as the reference."""
    left, right = parse(one), parse(other)
    return same(left, right) is True or same(right, left) is True


@dataclass(frozen=True)
class Estimate:
    """A mean over `prompts`, and its interval; None where there is nothing to take it of."""

    value: float | None
    low: float | None
    high: float | None
    prompts: int


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: percentiles of the mean over resampled prompts."""

    resamples: int = 10_000
    seed: int = 0
    confidence: float = 0.95

    def estimates(self, values: Floats, spans: Sequence[Span | None]) -> list[Estimate]:
        """Each column's mean over the rows (prompts), leaving out what is not a number.

        `spans` says between what a column's values lie, where it is a share or a difference of
        shares. Where every prompt has the same one, resampling them would claim certainty: as much
        as Wilson's interval leaves open over so many prompts stands in for it.
        """
        tail = (1 - self.confidence) / 2
        means = resampled_means(values, self.resamples, self.seed)
        found = []
        for column, span in enumerate(spans):
            known = values[:, column]
            known = known[~np.isnan(known)]
            mean = float(known.mean()) if known.size else None
            low: float | None = None
            high: float | None = None
            if mean is not None and known.size > 1:
                low, high = map(float, np.nanquantile(means[:, column], [tail, 1 - tail]))
                if span is not None and np.ptp(known) == 0:
                    slack = wilson(0, known.size, self._z).high
                    low, high = max(span[0], mean - slack), min(span[1], mean + slack)
            found.append(Estimate(mean, low, high, int(known.size)))
        return found

    @property
    def _z(self) -> float:
        return NormalDist().inv_cdf((1 + self.confidence) / 2)


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """The columns' means over `resamples` draws of the rows with replacement.

    Every column sees the same draws. What is not a number is left out of a mean, not counted as 0.
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
