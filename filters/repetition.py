"""Drops samples that end in a loop, and measures repeated lines and n-grams.

Repetition rules for web pages (Gopher, arXiv 2112.11446, table A1) reject 37% of good long
reasoning, which often restates a step. A bad sample has a loop at its end, so only this is a reason
by default. Repeated lines and n-grams are measured for ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import polars as pl
import zstandard
from numpy.typing import NDArray
from pydantic import Field

from filters.base import Filter, Rule
from filters.kernels import (
    FNV_OFFSET,
    FNV_PRIME,
    Bytes,
    Offsets,
    character_classes,
    compiled,
    ngram_hashes,
    token_hashes,
    utf8,
)
from filters.limits import Share

TAIL = 4096  # bytes at the end of a section that are checked for a loop
MIN_TAIL = 1024  # shorter lists of numbers compress like a loop; real loops are longer
NGRAM = 10  # words; shorter n-grams ("we have that the") repeat in good derivations
_FOLD_DIGITS = bytes.maketrans(b"123456789", b"000000000")


class Repetition(Filter):
    """Drops samples with a loop at the end of the reasoning or of the answer.

    `repetition_tail_ratio` is the compression ratio of the last 4 kB. Digits are replaced by 0, so
    that a loop that counts ("Step 17: … Step 18: …") is also found.
    """

    # F1 0.92 on looping against good endings; Gopher's rules reach 0.72.
    min_tail_ratio: Share | None = Field(
        0.15,
        description="Minimum compression ratio (compressed over plain size) of a section's end.",
    )
    # No values are published for reasoning, and the loop rule is enough: off by default.
    max_duplicate_lines: Share | None = Field(
        None, description="Maximum share of the text in repeated lines."
    )
    max_duplicate_ngrams: Share | None = Field(
        None, description="Maximum share of repeated 10-grams."
    )

    MEASURED: ClassVar[frozenset[str]] = frozenset()

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        thinking, response = utf8(samples["thinking"]), utf8(samples["response"])
        ratios = np.fmin(tail_ratios(*thinking), tail_ratios(*response))
        lines, ngrams = _repeated_shares(*utf8(samples["text"]), character_classes(), NGRAM)
        return samples.select(
            "sample_id",
            repetition_tail_ratio=pl.Series(ratios, nan_to_null=True),
            repetition_duplicate_lines=pl.Series(lines, nan_to_null=True),
            repetition_duplicate_ngrams=pl.Series(ngrams, nan_to_null=True),
        )

    def rules(self) -> Sequence[Rule]:
        rules = []
        if self.min_tail_ratio is not None:
            rules.append(
                Rule(
                    "loop",
                    pl.col("repetition_tail_ratio") < self.min_tail_ratio,
                    "repetition_tail_ratio",
                    f"at least {self.min_tail_ratio}",
                )
            )
        for reason, limit in (
            ("duplicate_lines", self.max_duplicate_lines),
            ("duplicate_ngrams", self.max_duplicate_ngrams),
        ):
            if limit is not None:
                metric = f"repetition_{reason}"
                rules.append(Rule(reason, pl.col(metric) > limit, metric, f"at most {limit}"))
        return rules


def tail_ratios(offsets: Offsets, data: Bytes) -> NDArray[np.float64]:
    """Return the compression ratio of the end of each text; NaN for a text that is too short."""
    compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress
    ratios = np.full(offsets.size - 1, np.nan)
    for row, (start, end) in enumerate(pairwise(offsets.tolist())):
        if end - start >= MIN_TAIL:
            tail = data[max(start, end - TAIL) : end].tobytes().translate(_FOLD_DIGITS)
            ratios[row] = len(compress(tail)) / len(tail)
    return ratios


@compiled
def _repeated_shares(
    offsets: Offsets, data: Bytes, classes: Bytes, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each text's share of bytes in repeated lines, and its share of repeated n-grams.

    The share is NaN if there are no lines or n-grams. The sets are open-addressing hash tables in
    one scratch array, which grows when needed.
    """
    rows = offsets.size - 1
    line_shares, ngram_shares = np.full(rows, np.nan), np.full(rows, np.nan)
    scratch = np.empty(1024, np.uint64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        words, _ = token_hashes(data[start:end], classes)
        grams = ngram_hashes(words, n)
        lines = 1
        for byte in data[start:end]:
            lines += byte == 10
        slots = 16
        while slots < 2 * max(grams.size, lines):
            slots *= 2
        if slots > scratch.size:
            scratch = np.empty(slots, np.uint64)
        table = scratch[:slots]

        table[:] = 0
        seen_bytes = repeated_bytes = 0
        i = start
        while i < end:
            while i < end and data[i] <= 32:
                i += 1
            first, value = i, FNV_OFFSET
            while i < end and data[i] != 10:
                value = (value ^ np.uint64(data[i])) * FNV_PRIME
                i += 1
            if i > first:
                seen_bytes += i - first
                if not _add(table, value):
                    repeated_bytes += i - first
        if seen_bytes:
            line_shares[row] = repeated_bytes / seen_bytes

        table[:] = 0
        repeated = 0
        for value in grams:
            repeated += not _add(table, value)
        if grams.size:
            ngram_shares[row] = repeated / grams.size
    return line_shares, ngram_shares


@compiled
def _add(table: NDArray[np.uint64], value: np.uint64) -> bool:
    """Add a hash to a table; returns False if it was there. At most half full; 0 is empty."""
    mask = table.size - 1
    value = max(value, np.uint64(1))
    slot = np.int64((value ^ (value >> np.uint64(32))) & np.uint64(mask))
    while table[slot] != 0:
        if table[slot] == value:
            return False
        slot = (slot + 1) & mask
    table[slot] = value
    return True
