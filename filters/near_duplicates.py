"""Finds exact and near duplicates of texts, for the selection of rows.

Exact duplicates are equal apart from white space. Near duplicates are found by MinHash (Broder
1997) over word 5-grams, with banding and a check of the candidates, as for GPT-3 and later corpora.
`rensa` computes the sketches. Texts are read in batches; a hash and a sketch of 4 bytes per
permutation are kept per text. Rows must be sorted best first: the first row of a cluster is kept.
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

SHINGLE = 5  # words, as in Lee et al. (arXiv 2107.06499) and datatrove
PERMUTATIONS = 128  # a standard error of 0.035 at a similarity of 0.8
RECALL = 0.99  # of pairs at the threshold; it determines the bands
MAX_LEADERS = 8  # rows of a bucket that are compared with later rows: keeps the cost linear
SKETCHED = 8192  # rows per call: results are Python numbers of 40 bytes
SEED = 20_501

Signatures = NDArray[np.uint32]


def content_hashes(texts: pl.Series) -> pl.Series:
    """Return a hash of each text, equal for texts that differ in white space only."""
    return pl.Series("content", _content_hashes(*utf8(texts)))


def sketch(texts: pl.Series) -> Signatures:
    """Return the MinHash signature of each text. Deterministic across machines and runs."""
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


def find_clusters(
    signatures: Signatures, groups: NDArray[np.uint64], threshold: float
) -> NDArray[np.int64]:
    """Return the first row of each row's cluster, by union-find over the bands of the signatures.

    Two rows of a group are linked if their estimated Jaccard similarity is at least `threshold`. A
    cluster is a connected component. 0.8 is the usual value (GPT-3).
    """
    width = rows_per_band(threshold, signatures.shape[1])
    needed = int(np.ceil(threshold * signatures.shape[1]))
    parents = np.arange(len(signatures))
    for first in range(0, signatures.shape[1] - width + 1, width):
        keys = _band_keys(signatures[:, first : first + width], groups)
        order = np.argsort(keys, kind="stable")
        _link(keys[order], order, signatures, groups, parents, needed)
    return _roots(parents)


def rows_per_band(threshold: float, permutations: int = PERMUTATIONS) -> int:
    """Return the widest band for which a share RECALL of the pairs at `threshold` are candidates.

    A pair with similarity s agrees in a band of r rows with probability s^r, and in at least one of
    b bands with probability 1 - (1 - s^r)^b.
    """
    for rows in range(permutations, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= RECALL:
            return rows
    return 1


@compiled
def _content_hashes(offsets: Offsets, data: Bytes) -> NDArray[np.uint64]:
    """Return an FNV-1a hash of each text, stripped and with runs of white space as one space."""
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
    """Link the rows of each bucket (a run of equal keys) that are similar enough to a leader."""
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
    """Return the first row of a row's cluster, with path halving."""
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
