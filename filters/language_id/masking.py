"""Mask what is no prose: mathematics, code, tags and URLs.

These are steps of the kernels `mask` and `filters.language_id.scan.scan`. All are linear in the
bytes, whatever they are: how far a search for a closing delimiter failed is remembered, and
no opening before that place is tried again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes, compiled, step

Integers = npt.NDArray[np.int64]

INLINE_CODE, FENCE, DISPLAY, DOLLARS, PARENTHESES, BRACKETS, ENVIRONMENT, TAG, URL = range(9)
MASK_KINDS = 9
LONGEST_TAG = 64

# A comment has at most so many words for each line of code, or the code is there for the comments.
COMMENT_WORDS = 4
# From so many words on, what stands in a fence, a comment, inline code or a formula is prose; of
# letters beyond Latin and Greek, fewer are.
PROSE_WORDS, COMMENT_SENTENCE, INLINE_WORDS, TEXT_WORDS, FAR_WORDS = 3, 8, 6, 4, 3

# Classes of ASCII bytes.
OTHER, LETTER, JOINER, CLAUSE, SPECIAL = range(5)


def ascii_classes() -> Bytes:
    """The class of each ASCII byte."""
    table = np.zeros(128, dtype=np.uint8)
    for code in range(128):
        char = chr(code)
        if char.isalpha():
            table[code] = LETTER
        elif char.isdigit() or char == "_":
            table[code] = JOINER  # makes an identifier of a word: no function word any more
        elif char in '.,;!?()[]{}"\n|*':
            table[code] = CLAUSE
        elif char in "`$\\<:":
            table[code] = SPECIAL
    return table


@step
def _is(data: Bytes, i: int, end: int, char: str) -> bool:
    return i < end and data[i] == ord(char)


@step
def _paragraph_find(data: Bytes, i: int, end: int, first: str, second: str) -> tuple[int, bool]:
    """After the next `first` and `second` side by side, or where the paragraph ends without."""
    while i + 1 < end:
        if data[i] == ord(first) and data[i + 1] == ord(second):
            return i + 2, True
        if data[i] == ord("\n") and data[i + 1] == ord("\n"):
            return i, False
        i += 1
    return end, False


@step
def _fence_end(data: Bytes, i: int, end: int) -> tuple[int, bool]:
    """The end of the line that closes a code fence, looking from inside it."""
    while i < end:
        while i < end and data[i] != ord("\n"):
            i += 1
        i += 1
        while _is(data, i, end, " "):
            i += 1
        if _is(data, i, end, "`") and _is(data, i + 1, end, "`") and _is(data, i + 2, end, "`"):
            while i < end and data[i] != ord("\n"):
                i += 1
            return i, True
    return end, False


@step
def _environment_end(data: Bytes, i: int, end: int) -> tuple[int, bool]:
    r"""After the `\end{…}` that closes the `\begin{…}` at `i`, nested ones included."""
    depth = 0
    while i + 4 < end:
        if data[i] == ord("\\"):
            if data[i + 1] == ord("b") and data[i + 2] == ord("e") and data[i + 3] == ord("g"):
                depth += 1
            elif data[i + 1] == ord("e") and data[i + 2] == ord("n") and data[i + 3] == ord("d"):
                depth -= 1
                if depth == 0:
                    while i < end and data[i] != ord("}") and data[i] != ord("\n"):
                        i += 1
                    return min(i + 1, end), True
            i += 1
        i += 1
    return end, False


@step
def _dollar_end(data: Bytes, i: int, end: int) -> tuple[int, bool]:
    """After the `$` that closes inline mathematics: pandoc's rule, so that $5 and $6 are money."""
    while i < end:
        byte = data[i]
        if byte == ord("\\"):
            i += 1
        elif byte == ord("\n") and _is(data, i + 1, end, "\n"):
            return i, False
        elif byte == ord("$") and data[i - 1] != ord(" ") and data[i - 1] != ord("\n"):
            after = data[i + 1] if i + 1 < end else ord(" ")
            if after < ord("0") or after > ord("9"):
                return i + 1, True
        i += 1
    return end, False


@step
def _opening(data: Bytes, start: int, i: int, end: int) -> int:
    """What the special byte at `i` may open, or -1."""
    byte = data[i]
    if byte == ord("`"):
        before = i - 1
        while before >= start and data[before] == ord(" "):
            before -= 1
        fenced = _is(data, i + 1, end, "`") and _is(data, i + 2, end, "`")
        return FENCE if fenced and (before < start or data[before] == ord("\n")) else INLINE_CODE
    if i + 1 == end:
        return -1
    after = data[i + 1]
    if byte == ord("$"):
        if after == ord("$"):
            return DISPLAY
        return -1 if after == ord(" ") or after == ord("\n") else DOLLARS
    if byte == ord("\\"):
        if after == ord("("):
            return PARENTHESES
        if after == ord("["):
            return BRACKETS
        if after == ord("b") and _is(data, i + 2, end, "e") and _is(data, i + 3, end, "g"):
            return ENVIRONMENT
        return -1
    if byte == ord("<"):
        return TAG if after == ord("/") or ord("a") <= (after | 32) <= ord("z") else -1
    return URL if after == ord("/") and _is(data, i + 2, end, "/") else -1


@step
def _closing(data: Bytes, i: int, end: int, kind: int) -> tuple[int, bool]:
    """The end of what opens at `i`; or how far it was looked for, and False."""
    if kind == FENCE:
        return _fence_end(data, i, end)
    if kind == DISPLAY:
        return _paragraph_find(data, i + 2, end, "$", "$")
    if kind == DOLLARS:
        return _dollar_end(data, i + 1, end)
    if kind == PARENTHESES:
        return _paragraph_find(data, i + 2, end, "\\", ")")
    if kind == BRACKETS:
        return _paragraph_find(data, i + 2, end, "\\", "]")
    if kind == ENVIRONMENT:
        return _environment_end(data, i, end)
    if kind == INLINE_CODE:
        while _is(data, i, end, "`"):
            i += 1
        while i < end and data[i] != ord("`") and data[i] != ord("\n"):
            i += 1
        closed = i < end and data[i] == ord("`")
        while _is(data, i, end, "`"):
            i += 1
        return i, closed
    if kind == TAG:
        last = min(end, i + LONGEST_TAG)
        i += 1
        while i < last and data[i] != ord(">") and data[i] != ord("<") and data[i] != ord("\n"):
            i += 1
        return i + 1, i < last and data[i] == ord(">")
    i += 3
    # Letters of two bytes may be part of an address; Chinese may follow one without a space.
    while i < end and 32 < data[i] < 0xE0 and data[i] not in (34, 60, 62, 96):  # " < > `
        i += 1
    return i, True


@step
def masked_end(data: Bytes, start: int, i: int, end: int, failed: Integers) -> int:
    """Where the mathematics, code, tag or URL that starts at the special byte `i` ends, or `i`.

    `failed[kind]`: no opening of that kind before there has a closing.
    """
    kind = _opening(data, start, i, end)
    if kind >= 0 and i >= failed[kind]:
        j, closed = _closing(data, i, end, kind)
        if closed:
            return j
        if kind != TAG:
            failed[kind] = j
    if data[i] == ord("\\"):  # the name of a command, or an escaped character
        j = i + 1
        while j < end and ord("a") <= (data[j] | 32) <= ord("z"):
            j += 1
        return j + 1 if j == i + 1 and j < end and data[j] < 128 else j
    return i


@step
def _is_letter(byte: int) -> bool:
    """A letter of ASCII, or a byte of another letter."""
    return byte >= 128 or ord("a") <= (byte | 32) <= ord("z")


@step
def _words(data: Bytes, i: int, end: int) -> int:
    """Count words of two letters or more; letters beyond U+0800 (Han, …) count as half a word."""
    count, letters, wide = 0, 0, 0
    while i < end:
        byte = data[i]
        wide += byte >= 0xE0
        letters = letters + 1 if _is_letter(byte) else 0
        count += letters == 2
        i += 1
    return max(count, wide // 2)


@step
def _is_code_sign(byte: int) -> bool:
    return (
        byte == ord("=") or byte == ord("(") or byte == ord("{") or byte == ord("[")
        or byte == ord(";") or byte == ord("<") or byte == ord("_") or byte == ord("+")
        or byte == ord("/") or byte == ord("\\") or byte == ord("|") or byte == ord("&")
    )  # fmt: skip


@step
def _comment(data: Bytes, i: int, end: int) -> int:
    """Return where the comment of a line of code begins, or the end of the line."""
    first = i
    while first < end and data[first] == ord(" "):
        first += 1
    while i < end:
        byte = data[i]
        if byte == ord("#") or (i == first and (byte == ord("*") or byte == ord("%"))):
            return i
        if i + 1 < end and byte == data[i + 1] and (byte == ord("/") or byte == ord("-")):
            return i
        if byte == ord("/") and _is(data, i + 1, end, "*"):
            return i
        i += 1
    return end


@step
def _show(data: Bytes, masked: Bytes, i: int, end: int) -> None:
    for k in range(i, end):
        masked[k] = data[k]


@step
def _is_prose(data: Bytes, i: int, end: int, least: int) -> bool:
    """Are there so many words, or FAR_WORDS with letters beyond Latin and Greek?"""
    words = _words(data, i, end)
    far = False
    for k in range(i, end):
        far |= 0xD0 <= data[k] < 0xF0 and data[k] != 0xE2  # lead bytes; E2 is punctuation
    return words >= least or (far and words >= FAR_WORDS)


@step
def _string(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return what the next string of a line of code holds: its start and its end."""
    while i < end:
        mark = data[i]
        i += 1
        if mark == ord('"') or mark == ord("'"):
            closed = i
            while closed < end and data[closed] != mark:
                closed += 1
            return i, closed
    return end, end


@step
def _show_prose(data: Bytes, masked: Bytes, i: int, end: int) -> None:
    """Unmask comments, strings and prose lines of a code fence if they outgrow its code.

    A comment that is a sentence is unmasked in any case.
    """
    outgrown = False
    for shown in range(2):
        at, coded, commented = i, 0, 0
        while at < end:
            line = at
            while at < end and data[at] != ord("\n"):
                at += 1
            comment = _comment(data, line, at)
            signs = 0
            for k in range(line, comment):
                signs += _is_code_sign(data[k])
            words = _words(data, line, comment)
            prose = signs == 0 and words >= PROSE_WORDS and data[line] != ord("`")
            commented += _words(data, comment, at)
            if prose:
                commented += words
            elif words > 0 or signs > 0:
                coded += 1
            if shown == 1 and (outgrown or _is_prose(data, comment, at, COMMENT_SENTENCE)):
                _show(data, masked, comment, at)
            if prose and outgrown:
                _show(data, masked, line, comment)
            quoted, closed = line, line - 1
            while not prose and quoted < comment:
                quoted, closed = _string(data, closed + 1, comment)
                if _words(data, quoted, closed) >= PROSE_WORDS:
                    commented += _words(data, quoted, closed)
                    if outgrown:
                        _show(data, masked, quoted, closed)
            at += 1
        if shown == 0:
            outgrown = commented > COMMENT_WORDS * (coded + 1)


@step
def _show_text(data: Bytes, masked: Bytes, i: int, end: int) -> None:
    r"""Of mathematics: what `\text{…}` and the like hold, where it is more than a phrase."""
    while i + 6 < end:
        if data[i] == ord("\\") and (
            data[i + 1] == ord("t") or data[i + 1] == ord("m") or data[i + 1] == ord("i")
        ):
            opened = i + 1
            while opened < end and _is_letter(data[opened]):
                opened += 1
            if _is(data, opened, end, "{"):
                closed = opened
                while closed < end and data[closed] != ord("}"):
                    closed += 1
                if _is_prose(data, opened, closed, TEXT_WORDS):
                    _show(data, masked, opened, closed)
                i = closed
        i += 1


@step
def _show_inline(data: Bytes, masked: Bytes, i: int, end: int, least: int) -> None:
    """Unmask inline code or a tag that is prose and has no sign of code."""
    signs = 0
    for k in range(i, end):
        signs += _is_code_sign(data[k])
    if signs == 0 and _is_prose(data, i, end, least):
        _show(data, masked, i, end)


@step
def _mask_text(
    data: Bytes,
    masked: Bytes,
    start: int,
    end: int,
    classes: Bytes,
    failed: Integers,
) -> None:
    failed[:] = 0
    i = start
    while i < end:
        j = i
        if data[i] < 128 and classes[data[i]] == SPECIAL:
            kind = _opening(data, start, i, end)
            j = masked_end(data, start, i, end, failed)
            masked[i:j] = ord(" ")
            k = i - 1
            while kind == URL and k >= start and _is_letter(masked[k]) and masked[k] < 0x80:
                masked[k] = ord(" ")  # its scheme
                k -= 1
            if kind == FENCE:
                _show_prose(data, masked, i, j)
            elif kind == INLINE_CODE:
                _show_inline(data, masked, i, j, INLINE_WORDS)
            elif kind == TAG:
                _show_inline(data, masked, i + 1, j - 1, TEXT_WORDS)
            elif DISPLAY <= kind <= ENVIRONMENT:
                _show_text(data, masked, i, j)
        i = max(j, i + 1)


@compiled
def mask(data: Bytes, offsets: Integers, classes: Bytes) -> Bytes:
    """Blank mathematics, code, tags and URLs; the length stays.

    What is written in a language within them stays: comments that outgrow their code, lines in a
    fence that are no code, sentences in formulas.
    """
    masked = data.copy()
    failed = np.zeros(MASK_KINDS, dtype=np.int64)
    for text in range(len(offsets) - 1):
        _mask_text(data, masked, offsets[text], offsets[text + 1], classes, failed)
    return masked
