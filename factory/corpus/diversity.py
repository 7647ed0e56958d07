"""The order of a prompt's samples in which each is as unlike those before it as can be.

Farthest-first traversal (Gonzalez 1985) over MinHash sketches of word 5-grams. A sketch keeps the
low byte of each permutation (b-bit minwise hashing, Li and König 2010): 128 bytes a sample,
whatever its length.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.kernels import compiled
from filters.near_duplicates import PERMUTATIONS, sketch

Sketches = NDArray[np.uint8]


def no_sketches(rows: int) -> Sketches:
    """Room for the sketches of so many rows."""
    return np.zeros((rows, PERMUTATIONS), np.uint8)


def small_sketches(texts: pl.Series) -> Sketches:
    """One sketch a text."""
    return (sketch(texts) & 0xFF).astype(np.uint8)


def farthest_first(groups: pl.Series, sketches: Sketches) -> pl.Series:
    """Each row's place within its group; rows of a group stand together, its first row leads.

    A tie goes to the earlier row.
    """
    starts = np.flatnonzero(groups.ne_missing(groups.shift(1)).to_numpy())
    bounds = np.append(starts, len(groups)).astype(np.int64)
    return pl.Series(_traverse(bounds, sketches), dtype=pl.UInt32)


@compiled
def _traverse(bounds: NDArray[np.int64], sketches: Sketches) -> NDArray[np.int64]:
    places = np.zeros(sketches.shape[0], np.int64)
    for group in range(bounds.size - 1):
        start, stop = bounds[group], bounds[group + 1]
        likeness = np.full(stop - start, -1, np.int64)  # to the most similar row taken so far
        taken = np.zeros(stop - start, np.bool_)
        latest = start
        for place in range(stop - start):
            places[latest], taken[latest - start] = place, True
            farthest = -1
            for row in range(start, stop):
                if taken[row - start]:
                    continue
                equal = 0
                for position in range(sketches.shape[1]):
                    equal += sketches[row, position] == sketches[latest, position]
                likeness[row - start] = max(likeness[row - start], equal)
                if farthest < 0 or likeness[row - start] < likeness[farthest - start]:
                    farthest = row
            latest = farthest
    return places
