"""pass@k of one prompt, and intervals of means over prompts.

pass@k is the unbiased estimator of Chen et al. (arXiv 2107.03374). Intervals resample prompts, not
samples: a benchmark has few prompts, and samples of one prompt are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from factory.core.intervals import wilson

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
