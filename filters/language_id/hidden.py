"""Find texts that are hidden where nothing is judged: in formulas, code, URLs, identifiers.

Each such place may hold what it likes, since words of code and notation are no language's. So all
of them are read as words once more where a text holds more letters there than the words of its own
language account for. What comes out is believed only if it is prose: most of it in another
language, with that language's function words. Identifiers and commands have none.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

from filters.kernels import Bytes, compiled, decode, step
from filters.language_id.masking import Integers
from filters.language_id.tables import Places

LETTERS, HANGUL_LETTERS, HAN_LETTERS = 5, 3, 2  # a word
SHARES = 30  # to a word
OWN_WORDS, SPARE = 2, 8  # what a text's own words may hide: twice their number, and so many
_COMMANDS = """le ge ne in to pi mu nu ni xi or and not cap cup sum int lim log sin cos tan max min
    sup inf det dim ker gcd mod div top bot neg leq geq neq iff phi psi chi rho tau eta exp deg arg
    hat bar vec dot bf rm it tt sf big Big mid par the a l o i j"""


@cache
def plain_letters() -> Bytes:
    """Return the ASCII letter that each letterlike sign shows: circled, squared, raised, small."""
    table = np.zeros(0x20000, np.uint8)
    for code in (*range(0x1D00, 0x1DC0), *range(0x250, 0x2B0), *range(0x2B0, 0x300)):
        name = unicodedata.name(chr(code), "")
        if name.startswith(SMALL_CAPITAL) and len(name) == len(SMALL_CAPITAL) + 1:
            table[code] = ord(name[-1].lower())
    for code in (*range(0x1D00, 0x1DC0), *range(0x2B0, 0x300), *range(0x24B6, 0x24EA)):
        shown = unicodedata.normalize("NFKC", chr(code))
        if len(shown) == 1 and shown.isascii() and shown.isalpha():
            table[code] = ord(shown.lower())
    for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170):
        table[first : first + 26] = np.arange(ord("a"), ord("z") + 1)
    return table


SMALL_CAPITAL = "LATIN LETTER SMALL CAPITAL "


@cache
def notation_commands() -> Integers:
    """Return the short commands of TeX that are notation, as `_command` numbers them."""
    numbers = [sum(ord(c) << 8 * k for k, c in enumerate(name)) for name in _COMMANDS.split()]
    return np.array(sorted(numbers), np.int64)


@cache
def _letter_sizes() -> Integers:
    """Return what share of a word the letter is that each byte begins, in SHARES."""
    sizes = np.zeros(256, np.int64)
    for byte in (*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)):
        sizes[byte] = SHARES // LETTERS
    sizes[0xC3:0xE3] = SHARES // LETTERS  # of E2, only circled letters are
    sizes[0xE3:0xEA] = SHARES // HAN_LETTERS
    sizes[0xEA:0xEE] = SHARES // HANGUL_LETTERS
    sizes[0xF0] = SHARES // LETTERS
    return sizes


def written(data: Bytes, offsets: Integers) -> Integers:
    """Return about how many words the letters of each text make, wherever they stand."""
    return _written(data, offsets, _letter_sizes())


@compiled
def _written(data: Bytes, offsets: Integers, sizes: Integers) -> Integers:
    found = np.zeros(len(offsets) - 1, np.int64)
    for text in range(len(offsets) - 1):
        shares = 0
        for i in range(offsets[text], offsets[text + 1]):
            byte = data[i]
            size = sizes[byte]
            if (byte == 0xE2 and data[i + 1] != 0x92 and data[i + 1] != 0x93) or (
                byte == 0xE3 and data[i + 1] == 0x80
            ):
                size = 0  # punctuation
            shares += size
        found[text] = shares // SHARES
    return found


@step
def _is_ascii_letter(byte: int) -> bool:
    return ord("a") <= (byte | 32) <= ord("z")


@step
def _command(data: Bytes, i: int) -> tuple[int, int]:
    """Return the number of a command of up to three letters, else 0, and where it ends."""
    number, j = 0, i
    while j < len(data) and _is_ascii_letter(data[j]):
        if j - i < 3:
            number |= int(data[j]) << 8 * (j - i)
        j += 1
    return (number if j - i <= 3 else 0), j


@compiled
def lift(data: Bytes, plain: Bytes, commands: Integers) -> tuple[Bytes, Places]:
    """Return a text with every sign that could hide a word replaced by a space.

    The second array tells where each byte comes from: an identifier in camel case grows, letters
    that stand apart are put together, letterlike signs become letters.
    """
    out, origin = np.empty(2 * len(data), np.uint8), np.empty(2 * len(data), np.int32)
    n, i, small = 0, 0, False
    while i < len(data):
        byte, size = data[i], 1
        letter = _is_ascii_letter(byte)
        upper = letter and byte < ord("a")
        if upper and small:
            out[n], origin[n] = ord(" "), i
            n += 1
        small = byte >= 0x80 or (letter and not upper)
        if byte >= 0xC0:
            code, after = decode(data, i)
            if code < len(plain) and plain[code] > 0:
                byte, size = plain[code], after - i
            elif 0x200B <= code <= 0x200D:
                byte, size = np.uint8(ord(" ")), after - i
        elif byte >= 0x80:
            pass
        elif byte == ord("\\"):
            number, after = _command(data, i + 1)
            if after < len(data) and data[after] == ord("{"):
                size = after - i  # it has an argument: \text{…}
            elif (
                number > 0 and commands[np.searchsorted(commands, number) % len(commands)] == number
            ):
                size = after - i
            byte = np.uint8(ord(" "))
        elif not letter and byte != ord("\n"):
            ends = byte == ord(".") or byte == ord(",") or byte == ord("!") or byte == ord("?")
            if byte == ord(":") and i + 2 < len(data) and data[i + 1] == data[i + 2] == ord("/"):
                k = n - 1
                while k >= 0 and _is_ascii_letter(out[k]):
                    out[k] = ord(" ")  # the scheme of a URL
                    k -= 1
            if not ends or (i + 1 < len(data) and data[i + 1] > ord(" ")):
                byte = np.uint8(ord(" "))
        out[n], origin[n] = byte, i
        n, i = n + 1, i + size
    return _together(out[:n], origin[:n])


@step
def _stands_apart(data: Bytes, i: int) -> bool:
    """Is there a single ASCII letter at `i`?"""
    if i >= len(data) or not _is_ascii_letter(data[i]):
        return False
    before = i > 0 and (_is_ascii_letter(data[i - 1]) or data[i - 1] >= 0x80)
    after = i + 1 < len(data) and (_is_ascii_letter(data[i + 1]) or data[i + 1] >= 0x80)
    return not before and not after


@compiled
def _together(data: Bytes, origin: Places) -> tuple[Bytes, Places]:
    """Put letters together that stand apart by one byte each."""
    n = 0
    out, places = np.empty(len(data), np.uint8), np.empty(len(data), np.int32)
    for i in range(len(data)):
        if (
            i > 0
            and data[i] == ord(" ")
            and _stands_apart(data, i - 1)
            and _stands_apart(data, i + 1)
        ):
            continue
        out[n], places[n] = data[i], origin[i]
        n += 1
    return out[:n], places[:n]
