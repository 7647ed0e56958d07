"""Confidence intervals of measured rates."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

Z_95 = 1.959963984540054


class Estimate(NamedTuple):
    """A rate, its 95% interval, and the counts: `hits` of `n`."""

    rate: float
    low: float
    high: float
    hits: int
    n: int


def wilson(hits: int, n: int, z: float = Z_95) -> Estimate:
    """Compute Wilson's score interval, which is valid for small counts and rates near 0 or 1.

    >>> wilson(0, 100).high < 0.04
    True
    """
    if not n:
        return Estimate(float("nan"), 0.0, 1.0, 0, 0)
    rate, square = hits / n, z * z
    middle = (rate + square / (2 * n)) / (1 + square / n)
    half = z * sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(rate, low if hits else 0.0, high if hits < n else 1.0, hits, n)
