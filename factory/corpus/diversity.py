"""Orders a prompt's samples so that each is as different as possible from those before it.

Farthest-first traversal (Gonzalez 1985) over MinHash sketches of word 5-grams. A sketch keeps the
low byte of each permutation (b-bit minwise hashing, Li and König 2010): 128 bytes per sample of any
length.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.kernels import compiled
from filters.near_duplicates import PERMUTATIONS, sketch

Sketches = NDArray[np.uint8]


def empty_sketches(rows: int) -> Sketches:
    """Return an array for the sketches of `rows` rows, filled with zeros."""
    return np.zeros((rows, PERMUTATIONS), np.uint8)


def compute_sketches(texts: pl.Series) -> Sketches:
    """Compute one sketch per text."""
    return (sketch(texts) & 0xFF).astype(np.uint8)


def farthest_first(groups: pl.Series, sketches: Sketches) -> pl.Series:
    """Return each row's position within its group, starting with the group's first row.

    Rows of a group must be adjacent. In a tie the earlier row comes first.
    """
    starts = np.flatnonzero(groups.ne_missing(groups.shift(1)).to_numpy())
    bounds = np.append(starts, len(groups)).astype(np.int64)
    return pl.Series(_traverse(bounds, sketches), dtype=pl.UInt32)


@compiled
def _traverse(bounds: NDArray[np.int64], sketches: Sketches) -> NDArray[np.int64]:
    places = np.zeros(sketches.shape[0], np.int64)
    for group in range(bounds.size - 1):
        start, stop = bounds[group], bounds[group + 1]
        similarity = np.full(stop - start, -1, np.int64)  # to the most similar row chosen so far
        chosen = np.zeros(stop - start, np.bool_)
        latest = start
        for place in range(stop - start):
            places[latest], chosen[latest - start] = place, True
            farthest = -1
            for row in range(start, stop):
                if chosen[row - start]:
                    continue
                equal = 0
                for position in range(sketches.shape[1]):
                    equal += sketches[row, position] == sketches[latest, position]
                similarity[row - start] = max(similarity[row - start], equal)
                if farthest < 0 or similarity[row - start] < similarity[farthest - start]:
                    farthest = row
            latest = farthest
    return places
