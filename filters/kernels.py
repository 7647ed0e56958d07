"""Compiled kernels that process the bytes of a text column in one pass.

Regular expressions and word lists in Python process about 1 MB/s; these loops process hundreds.
A kernel takes a column in Arrow's layout: the bytes of all texts (`data`) and the start of each
text (`offsets`). It is linear in its input, does not raise, and releases the GIL.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])

SPACE, LETTER, DIGIT, SYMBOL = 0, 1, 2, 3
"""Classes of code points. Invisible ones (controls, direction marks, joiners) are SPACE."""

FNV_OFFSET, FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)


def compiled(function: F) -> F:
    """Apply `numba.njit` with a typed signature. Machine code is cached on disk if possible."""
    try:
        jitted: F = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # no directory for the cache, as in a read-only image without a home
        jitted = numba.njit(function, nogil=True)
    return jitted


def step(function: F) -> F:
    """Compile a small function that kernels call about once per word. It must not allocate.

    Numba counts references to each array argument with a locked instruction, which takes longer
    than reading the word. A function that allocates nothing needs no counts.
    """
    jitted: F = numba.njit(function, nogil=True, _nrt=False, forceinline=True)
    return jitted


class Column(NamedTuple):
    """A string column as bytes; a null is an empty text."""

    offsets: Offsets
    data: Bytes


def utf8(series: pl.Series) -> Column:
    """Return the buffers of a string column, without a copy if it has a single chunk."""
    array = series.cast(pl.String).fill_null("").to_arrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.large_string())
    _, offsets, data = (np.frombuffer(memoryview(b or b""), np.uint8) for b in array.buffers())
    starts = offsets.view(np.int64)[array.offset : array.offset + len(array) + 1]
    return Column(starts, data)


@cache
def character_classes() -> Bytes:
    """Return the class of every code point of the first two planes."""
    classes = np.full(0x20000, SYMBOL, np.uint8)
    by_category = {"L": LETTER, "M": LETTER, "N": DIGIT, "Z": SPACE, "C": SPACE}
    for code in range(len(classes)):
        classes[code] = by_category.get(unicodedata.category(chr(code))[0], SYMBOL)
    return classes


@step
def decode(data: Bytes, i: int) -> tuple[int, int]:
    """Return the code point at `i` and the index after it. The data must be valid UTF-8."""
    first = int(data[i])
    if first < 0x80:
        return first, i + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (int(data[i + 1]) & 0x3F), i + 2
    if first < 0xF0:
        middle = (int(data[i + 1]) & 0x3F) << 6
        return (first & 0x0F) << 12 | middle | (int(data[i + 2]) & 0x3F), i + 3
    high = (int(data[i + 1]) & 0x3F) << 12 | (int(data[i + 2]) & 0x3F) << 6
    return (first & 0x07) << 18 | high | (int(data[i + 3]) & 0x3F), i + 4


@compiled
def class_of(classes: Bytes, code: int) -> int:
    """Return a code point's class. Code points beyond the table are rare Han letters."""
    return int(classes[code]) if code < classes.size else LETTER


@compiled
def token_hashes(data: Bytes, classes: Bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a 64-bit FNV-1a hash of each word of a text, and the offset of each word.

    The last offset is the end of the text. A word is a run of letters and digits; the case of ASCII
    letters is ignored. In scripts without spaces (Han, kana, Thai, …) every character is a word.
    """
    size = data.size
    most = size // 2 + 1  # a word and its end have at least two bytes
    hashes, starts = np.empty(most, np.uint64), np.empty(most + 1, np.int64)
    count = i = 0
    value, start = FNV_OFFSET, -1
    while i < size:
        code, after = decode(data, i)
        kind = class_of(classes, code)
        alone = code >= 0x0E00 and _unspaced(code)
        if start >= 0 and (alone or kind in (SPACE, SYMBOL)):
            hashes[count], starts[count] = value, start
            count += 1
            value, start = FNV_OFFSET, -1
        if kind in (LETTER, DIGIT):
            if start < 0:
                start = i
            if 65 <= code <= 90:
                code += 32
            value = (value ^ np.uint64(code)) * FNV_PRIME
            if alone:
                hashes[count], starts[count] = value, start
                count += 1
                value, start = FNV_OFFSET, -1
        i = after
    if start >= 0:
        hashes[count], starts[count] = value, start
        count += 1
    starts[count] = size
    return hashes[:count], starts[: count + 1]


@compiled
def ngram_hashes(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Return a hash of every `n` consecutive words: rolling, then mixed as in SplitMix64."""
    hashes = np.empty(max(0, words.size - n + 1), np.uint64)
    base, oldest, rolling = np.uint64(0x9E3779B97F4A7C15), np.uint64(1), np.uint64(0)
    for _ in range(n):
        oldest *= base
    for k in range(words.size):
        rolling = rolling * base + words[k]
        if k >= n:
            rolling -= words[k - n] * oldest
        if k >= n - 1:
            mixed = rolling
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            hashes[k - n + 1] = mixed ^ (mixed >> np.uint64(31))
    return hashes


@compiled
def shingle_hashes(
    offsets: Offsets, data: Bytes, classes: Bytes, n: int
) -> tuple[NDArray[np.uint64], Offsets]:
    """Return the n-gram hashes of all texts, concatenated, and the offsets of each text's hashes.

    A text of fewer than `n` words is one shingle. A text without words gets a hash of its bytes, so
    that different texts without words are not equal.
    """
    rows = offsets.size - 1
    hashes = np.empty((offsets[rows] - offsets[0]) // 2 + 2 * rows + 1, np.uint64)
    bounds = np.zeros(rows + 1, np.int64)
    count = 0
    for row in range(rows):
        text = data[offsets[row] : offsets[row + 1]]
        words, _ = token_hashes(text, classes)
        if words.size == 0:
            value = FNV_OFFSET
            for byte in text:
                value = (value ^ np.uint64(byte)) * FNV_PRIME
            hashes[count] = value
            count += 1
        else:
            grams = ngram_hashes(words, min(n, words.size))
            hashes[count : count + grams.size] = grams
            count += grams.size
        bounds[row + 1] = count
    return hashes[:count], bounds


@step
def _unspaced(code: int) -> bool:
    """Return whether the script has no spaces: Thai, Lao, Burmese, Khmer, kana, Han."""
    return (
        code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or code >= 0x20000
    )
