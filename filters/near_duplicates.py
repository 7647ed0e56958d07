"""Which texts are the same, exactly or nearly: clusters, for the group-level selection to use.

Exact: equal once white space is ignored. Near: MinHash (Broder 1997) over word 5-grams, banded and
then checked, as GPT-3 and later corpora were de-duplicated; sketched by `rensa`. Texts may be read
and forgotten batch by batch: what is kept of one is a hash, and a sketch of 4 bytes a permutation.
Rows come best first: a cluster is its first row, the one to keep.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.kernels import (
    FNV_OFFSET,
    FNV_PRIME,
    Bytes,
    Offsets,
    character_classes,
    compiled,
    shingle_hashes,
    utf8,
)

SHINGLE = 5  # words, as Lee et al. (arXiv 2107.06499) and datatrove take
PERMUTATIONS = 128  # a standard error of 0.035 at a similarity of 0.8
RECALL = 0.99  # of pairs at the threshold; the bands are chosen for it
MAX_LEADERS = 8  # rows of a bucket that a later row is compared with: keeps a bucket linear
SKETCHED = 8192  # rows sketched at a time: they come back as Python's numbers, forty bytes each
SEED = 20_501

Signatures = NDArray[np.uint32]


def contents(texts: pl.Series) -> pl.Series:
    """A hash of each text, the same for texts that are equal once white space is ignored."""
    return pl.Series("content", _contents(*utf8(texts)))


def sketch(texts: pl.Series) -> Signatures:
    """The MinHash signature of each text. Deterministic across machines and runs."""
    from rensa import RMinHash

    signatures = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for start in range(0, len(texts), SKETCHED):
        some = slice(start, start + SKETCHED)
        shingles, offsets = shingle_hashes(*utf8(texts[some]), character_classes(), SHINGLE)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            shingles, offsets.astype(np.uint64), PERMUTATIONS, SEED
        )
        signatures[some] = matrix.to_rows()
    return signatures


def near_roots(
    signatures: Signatures, groups: NDArray[np.uint64], threshold: float
) -> NDArray[np.int64]:
    """The first row of each row's cluster, by union-find over the bands of the signatures.

    Two rows of one group are linked at `threshold` (estimated Jaccard similarity) or above, and
    clusters are what is linked together. 0.8 is GPT-3's and the field's value.
    """
    width = rows_a_band(threshold, signatures.shape[1])
    needed = int(np.ceil(threshold * signatures.shape[1]))
    parents = np.arange(len(signatures))
    for first in range(0, signatures.shape[1] - width + 1, width):
        keys = _band_keys(signatures[:, first : first + width], groups)
        order = np.argsort(keys, kind="stable")
        _link(keys[order], order, signatures, groups, parents, needed)
    return _roots(parents)


def rows_a_band(threshold: float, permutations: int = PERMUTATIONS) -> int:
    """The widest band that still makes RECALL of the pairs at `threshold` candidates.

    A pair of similarity s shares a band of r rows with probability s^r, so one of b with
    1 - (1 - s^r)^b.
    """
    for rows in range(permutations, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= RECALL:
            return rows
    return 1


@compiled
def _contents(offsets: Offsets, data: Bytes) -> NDArray[np.uint64]:
    """A hash of each text (FNV-1a), white space at its ends left out and any within it as one."""
    hashes = np.empty(offsets.size - 1, np.uint64)
    for row in range(hashes.size):
        value, pending = FNV_OFFSET, False
        for byte in data[offsets[row] : offsets[row + 1]]:
            if byte == 32 or 9 <= byte <= 13:
                pending = value != FNV_OFFSET
                continue
            if pending:
                value, pending = (value ^ np.uint64(32)) * FNV_PRIME, False
            value = (value ^ np.uint64(byte)) * FNV_PRIME
        hashes[row] = value
    return hashes


@compiled
def _band_keys(band: Signatures, groups: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keys = groups.copy()
    for row in range(band.shape[0]):
        for value in band[row]:
            keys[row] = (keys[row] ^ np.uint64(value)) * np.uint64(0x9E3779B97F4A7C15)
            keys[row] ^= keys[row] >> np.uint64(32)
    return keys


@compiled
def _link(
    keys: NDArray[np.uint64],
    order: NDArray[np.int64],
    signatures: Signatures,
    groups: NDArray[np.uint64],
    parents: NDArray[np.int64],
    needed: int,
) -> None:
    """Join the rows of each bucket (a run of equal keys) that are similar enough to a leader."""
    leaders = np.empty(MAX_LEADERS, np.int64)
    count = 0
    for k in range(order.size):
        row = order[k]
        if k == 0 or keys[k] != keys[k - 1]:
            count = 0
        joined = False
        for leader in leaders[:count]:
            if _root(parents, leader) == _root(parents, row):
                joined = True
            elif groups[leader] == groups[row] and (
                np.sum(signatures[leader] == signatures[row]) >= needed
            ):
                low, high = _root(parents, leader), _root(parents, row)
                parents[max(low, high)] = min(low, high)
                joined = True
            if joined:
                break
        if not joined and count < MAX_LEADERS:
            leaders[count] = row
            count += 1


@compiled
def _root(parents: NDArray[np.int64], row: int) -> int:
    """The first row of a row's cluster; halves the path on the way."""
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@compiled
def _roots(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    roots = np.empty_like(parents)
    for row in range(parents.size):
        roots[row] = _root(parents, row)
    return roots
