"""Which language a stretch is in, by three letters in a row: likelihoods, the detector's own data.

The kernel narrows a candidate of the scan to where another language is furthest ahead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes, compiled, decode, step
from filters.language_id.masking import SPECIAL, Integers, masked_end
from filters.language_id.scan_tables import Reading, Weights, Workspace
from filters.language_id.scripts import MARK

# Three letters, 16 bits each, are hashed to a slot.
WINDOW, TRIGRAM_PRIME, TRIGRAM_SLOTS = 2**48 - 1, 0x1E3779B97F4A7C15, 2**16 - 1


@compiled
def likelihoods_of(codes: npt.NDArray[np.uint16], likelihoods: Weights) -> Integers:
    """How likely a text, given as UTF-16, is in each language: the sum over its trigrams."""
    sums, window = np.zeros(likelihoods.shape[1], dtype=np.int64), 0
    for i in range(len(codes)):
        window = (window << 16 | int(codes[i])) & WINDOW
        if i > 1:
            sums += likelihoods[(window * TRIGRAM_PRIME >> 40) & TRIGRAM_SLOTS]
    return sums


def trigram_slots(text: str) -> npt.NDArray[np.int64]:
    """Where the kernels look up every three letters in a row."""
    codes = np.frombuffer(text.encode("utf-16-le", "replace"), np.uint16).astype(np.uint64)
    windows = codes[:-2] << np.uint64(32) | codes[1:-1] << np.uint64(16) | codes[2:]
    slots = windows * np.uint64(TRIGRAM_PRIME) >> np.uint64(40) & np.uint64(TRIGRAM_SLOTS)
    return slots.astype(np.int64)


@step
def narrowed(
    data: Bytes, opened: Integers, closed: Integers, read: Reading, work: Workspace
) -> tuple[int, int]:
    """Narrow a candidate to where one other language is furthest ahead of `home`.

    How far it is, and which one.

    The part of the largest sum, for every language side by side (Kadane's algorithm).
    """
    home, classes, likelihoods = read.home, read.classes, read.likelihoods
    sums, begun = work.sums, work.begun
    lead, best, start = 0, -1, 0
    # Where a sum began: its byte and half words from here, in one number.
    first, last_byte, last_halves = 0, closed[0], closed[1]
    work.looked[:] = 0
    sums[:] = 0
    begun[:] = 0
    window, i, to = ord(" "), opened[0], closed[0]
    halves, in_word = 0, False
    named = False
    while i <= to:
        code, j, script = ord(" "), i + 1, 0
        if i < to:
            if data[i] < 128 and classes[data[i]] == SPECIAL:
                i = max(i, masked_end(data, opened[0], i, to, work.looked) - 1)
                j = i + 1
            elif data[i] < 128:
                code = int(data[i])
            else:
                code, j = decode(data, i)
            script = read.script_of[code] if code < 0x10000 else 0
        if script == MARK:
            i = j
            continue
        if script > MARK:
            if not in_word:
                start = (i - opened[0]) << 32 | halves
                named = code < ord("a")  # names say nothing of the language around them
            in_word = True
            window = (window << 16 | (code | 0x20 if code < 128 else code)) & WINDOW
        elif in_word:
            window = (window << 16 | ord(" ")) & WINDOW
        if not named and window > 0xFFFFFFFF:
            slot = (window * TRIGRAM_PRIME >> 40) & TRIGRAM_SLOTS
            at_home = np.int32(likelihoods[slot, home])
            for language in range(len(sums)):  # no branches: eight languages at a time
                ahead = sums[language]
                begun[language] = start if ahead <= 0 else begun[language]
                sums[language] = max(ahead, np.int32(0)) + (
                    np.int32(likelihoods[slot, language]) - at_home
                )
        if script <= MARK and in_word:
            halves += 2
            in_word = False
            window = ord(" ")
            top = int(sums.argmax())
            if sums[top] > lead:
                lead, best = int(sums[top]), top
                first = begun[top]
                last_byte, last_halves = i, opened[1] + halves
        i = j
    if best >= 0:
        opened[:] = (opened[0] + (first >> 32), opened[1] + (first & 0xFFFFFFFF))
        closed[:] = (last_byte, last_halves)
    return lead, best
