"""Samples that ended in a loop, and how often a text says the same thing twice.

The repetition rules made for web pages (Gopher, arXiv 2112.11446, table A1) reject 37% of good long
reasoning: restating a step is what reasoning does. What marks a bad sample is the loop at its end,
so only that is a reason here; duplicated lines and n-grams are measured for ranking.
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

TAIL = 4096  # bytes at the end of a section that are looked at for a loop
MIN_TAIL = 1024  # below it a list of numbers compresses like a loop, and a real loop runs on
NGRAM = 10  # words; shorter ones ("we have that the") repeat in any good derivation
_FOLD_DIGITS = bytes.maketrans(b"123456789", b"000000000")


class Repetition(Filter):
    """A loop at the end of the reasoning or of the answer; repeated lines and n-grams.

    `repetition_tail_ratio` is the size of the last 4 kB, compressed, over their size, digits folded
    to 0 so that a loop that counts ("Step 17: … Step 18: …") is one too.
    """

    # F1 0.92 on looping against good endings, where Gopher's rules reach 0.72.
    min_tail_ratio: Share | None = Field(
        0.15, description="Compressed size of a section's last 4 kB over their size, at least."
    )
    # Not published for reasoning, and not needed beside the loop: off unless asked for.
    max_duplicate_lines: Share | None = Field(
        None, description="Share of the text in lines it has said before, at most."
    )
    max_duplicate_ngrams: Share | None = Field(
        None, description="Share of its 10-grams that it has said before, at most."
    )

    MEASURED: ClassVar[frozenset[str]] = frozenset()

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        thinking, response = utf8(samples["thinking"]), utf8(samples["response"])
        ratios = np.fmin(tail_ratios(*thinking), tail_ratios(*response))
        lines, ngrams = _repeated(*utf8(samples["text"]), character_classes(), NGRAM)
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
    """How far the end of each text compresses; NaN for a text too short to tell."""
    compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress
    ratios = np.full(offsets.size - 1, np.nan)
    for row, (start, end) in enumerate(pairwise(offsets.tolist())):
        if end - start >= MIN_TAIL:
            tail = data[max(start, end - TAIL) : end].tobytes().translate(_FOLD_DIGITS)
            ratios[row] = len(compress(tail)) / len(tail)
    return ratios


@compiled
def _repeated(
    offsets: Offsets, data: Bytes, classes: Bytes, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of each text's bytes that lie in lines it has said before, and the share of its
    word n-grams that it has said before; NaN where there are none.

    Each set is an open-addressing table of hashes, in one scratch array that only ever grows.
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
    """Put a hash into a table at most half full; False if it was there. 0 is an empty slot."""
    mask = table.size - 1
    value = max(value, np.uint64(1))
    slot = np.int64((value ^ (value >> np.uint64(32))) & np.uint64(mask))
    while table[slot] != 0:
        if table[slot] == value:
            return False
        slot = (slot + 1) & mask
    table[slot] = value
    return True
