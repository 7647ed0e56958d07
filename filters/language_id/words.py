"""Find the words of a text: position, script, hash, look.

Steps of the kernels of `filters.language_id.reader`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes, compiled, decode, step
from filters.language_id.masking import CLAUSE, JOINER, LETTER
from filters.language_id.scripts import HAN, LATIN, MARK
from filters.language_id.tables import HASH_PRIME, HASH_START, Hashes, Places, Scores

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint16]

# What a script is to the home language: its own, which others share and words must tell apart; its
# own alone; Latin letters in a language of another script; another script; a script of symbols.
OWN, SURE, LATIN_TERM, FOREIGN, SYMBOL = range(5)
# Kinds of words: the first four are a script's role; no word; a word of two scripts.
SILENT, MIXED = 5, 6

# What a word looks like.
CAPITAL, ALL_CAPITALS, BEGINS, HYPHENED, TERM, LINKS, OPENER = 1, 2, 4, 8, 16, 32, 64

# What a word is by a list: one that terms are made of, notation, a connective of reasoning, or one
# that terms are made of unless a clause begins with it.
SMALL, NOTATION, CONNECTIVE, OPENING = 1, 2, 3, 4

WORD_UNITS = 4  # words are counted in quarters (see `scripts.LETTERS_A_WORD`)
LONGEST = 48  # letters of a word that are looked at
ABBREVIATION = 4  # letters before a full stop that ends no sentence
GREEK_WORD = 3  # fewer Greek letters in a row are a symbol
APOSTROPHE = 0x2019
MOST_UNLISTED = 1 << 16  # words that are scored by their letters, of texts read at once


class Reading(NamedTuple):
    """The tables by which texts of one home language are read."""

    home: int  # the column of the home language in its group, -1 without one
    columns: int  # the languages of its group
    latin: int  # the languages that Latin terms may be in; 0 where Latin is the home's own
    weak: bool  # few words of the home language are known
    classes: Bytes
    script_of: Bytes
    fold: Codes
    roles: Bytes  # of each script
    units: Bytes  # of a letter of each script that is written without spaces, else 0
    keys: Hashes
    rows: Places
    words: Scores
    grams: Scores
    gram_keys: npt.NDArray[np.uint16]
    own: Scores  # of each row of `words`: how likely in the home language
    rival: Scores  # and in the likeliest other one
    lead: Scores  # how far that puts it ahead at most
    term: Bytes  # of each row: 0, SMALL, NOTATION or CONNECTIVE
    costs: Integers  # how far each must be ahead over the text, in eighths of a nat
    caps: Bytes  # of each language: how far a word that is not frequent there puts it ahead


class Words(NamedTuple):
    """The words of a text; `extra` has the scores of those that no list has."""

    start: Places
    end: Places
    row: Places  # of `Lexicon.words`; from -2 on, downwards, of `extra`; -1: none
    kind: Bytes
    look: Bytes
    units: Bytes
    script: Bytes
    extra: Scores

    def of_text(self, places: slice) -> Words:
        """Return some of the words, by slices: a kernel would take longer to be called."""
        return Words(
            self.start[places],
            self.end[places],
            self.row[places],
            self.kind[places],
            self.look[places],
            self.units[places],
            self.script[places],
            self.extra,
        )


@compiled
def room(most_bytes: int) -> Words:
    """Allocate room for the words of so many bytes."""
    most = most_bytes // 2 + 2
    return Words(
        start=np.empty(most, np.int32),
        end=np.empty(most, np.int32),
        row=np.empty(most, np.int32),
        kind=np.empty(most, np.uint8),
        look=np.empty(most, np.uint8),
        units=np.empty(most, np.uint8),
        script=np.empty(most, np.uint8),
        extra=np.empty((min(most, MOST_UNLISTED), 64), np.uint8),
    )


@step
def _beyond(code: int) -> int:
    """Return the script of a code point beyond the basic plane."""
    if code >= 0x20000:
        return HAN
    return LATIN if 0x1D400 <= code < 0x1D6A4 else 0


@step
def _letter(code: int, fold: Codes) -> int:
    """Fold a letter: lower case, of ordinary width and weight."""
    if code < 0x10000:
        return int(fold[code])
    return ord("a") + (code - 0x1D400) % 26 if code < 0x1D6A4 else code & 0xFFFF


@step
def _is_small(code: int) -> bool:
    """Is a fullwidth or mathematical letter a small one? Its folded form is another letter too."""
    if code >= 0x1D400:
        return (code - 0x1D400) % 52 >= 26
    return 0xFF41 <= code <= 0xFF5A


@step
def next_word(
    data: Bytes, i: int, end: int, read: Reading, letters: Integers
) -> tuple[int, int, int, int, int, int, int]:
    """Find the next word. Return its start, end, script, letters, hash, look and kind.

    `letters` gets its first LONGEST letters, folded. No letters: the text ends.
    """
    begins = 0
    joined_before = False
    while i < end:
        byte = data[i]
        if byte < 128:
            kind = read.classes[byte]
            if kind != LETTER:
                if kind == CLAUSE or byte == ord(":"):
                    begins = BEGINS
                joined_before = byte == ord("-") or byte == ord("_") or byte == ord("@")
                if kind == JOINER:
                    # An identifier or a number with a unit: what begins with it is no word.
                    while (
                        i < end
                        and data[i] < 128
                        and (read.classes[data[i]] == JOINER or read.classes[data[i]] == LETTER)
                    ):
                        i += 1
                    joined_before = True
                    continue
                i += 1
                continue
            code, script, j = int(byte), LATIN, i + 1
        else:
            code, j = decode(data, i)
            script = read.script_of[code] if code < 0x10000 else _beyond(code)
            if script <= MARK:
                if script != MARK and code != APOSTROPHE:
                    begins = BEGINS
                    joined_before = False
                i = j
                continue
        at, count, capitals, hashed, mixed, joiners = i, 0, 0, HASH_START, False, 0
        greek = 0
        look = begins
        while True:
            letter = _letter(code, read.fold)
            if count < LONGEST:
                letters[count] = letter
            capital = letter != code and not _is_small(code)
            if capital and count == 0:
                look |= CAPITAL
            capitals += capital
            hashed = (hashed ^ letter) * HASH_PRIME
            count += 1
            i = j
            if read.units[script]:
                break
            # On to the next letter, past marks.
            going = False
            while i < end:
                byte = data[i]
                if byte < 128:
                    kind = read.classes[byte]
                    if kind == LETTER:
                        if script != LATIN and script > LATIN + 2:
                            break
                        mixed |= script != LATIN
                        code, j, going = int(byte), i + 1, True
                    elif kind == JOINER:
                        joiners += 1
                        i += 1
                        continue
                    break
                code, j = decode(data, i)
                here = read.script_of[code] if code < 0x10000 else _beyond(code)
                if here == MARK:
                    i = j
                    continue
                if here == script:
                    going = True
                elif here > MARK and here <= LATIN + 2 and script <= LATIN + 2:
                    mixed = True  # Latin, Greek and Cyrillic letters look alike
                    greek += here == LATIN + 1
                    going = True
                break
            if not going:
                break
        if capitals == count and count > 1:
            look |= ALL_CAPITALS
        after = data[i] if i < end else ord(" ")
        if joined_before or after == ord("-"):
            look |= HYPHENED
        if (
            after == ord(".")
            and i + 1 < end
            and read.classes[data[i + 1] & 127] == LETTER
            and data[i + 1] < 128
        ):
            joiners += data[i + 1] >= ord("a")  # a file, a domain, a method
        if after == ord(".") and count <= ABBREVIATION and i + 2 < end and data[i + 1] == ord(" "):
            following = data[i + 2]
            joiners += ord("a") <= following <= ord("z") or following == ord("(")
        role = read.roles[script]
        kind = int(role)
        if joiners > 0 or after == ord("_") or after == ord("@"):
            kind = SILENT
        elif mixed:
            kind = MIXED
        elif read.units[script] == 0:
            if role == SYMBOL:
                kind = FOREIGN if count >= GREEK_WORD else SILENT
            elif count == 1 and at + 1 == i:
                kind = SILENT  # a variable
        return at, i, int(script), count, hashed, look, kind
    return end, end, 0, 0, 0, 0, SILENT
