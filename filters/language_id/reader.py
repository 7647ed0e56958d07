"""The words of a text, in order, each with where it stands and how likely each language is.

Two kernels share these steps: `survey`, which reads every text of a column once and tells which may
hold something foreign, and `read`, which writes down the words of one of those.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes, compiled, decode, step
from filters.language_id.tables import (
    HASH_PRIME,
    HASH_START,
    UNLISTED,
    Hashes,
    Places,
    Scores,
    find,
    gram_slot,
)
from filters.language_id.masking import CLAUSE, JOINER, LETTER
from filters.language_id.scripts import HAN, LATIN, MARK

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint16]

# What a script is to the home language: its own, which others share and words must tell apart; its
# own alone; Latin letters in a language of another script; another script; a script of symbols.
OWN, SURE, LATIN_TERM, FOREIGN, SYMBOL = range(5)
# Kinds of words: the first four are a script's role; no word; a word of two scripts.
SILENT, MIXED = 5, 6

# What a word looks like.
CAPITAL, ALL_CAPITALS, BEGINS, HYPHENED, TERM, LINKS = 1, 2, 4, 8, 16, 32
SHOUTED = 0.6  # from this share of capitals on, they say nothing

# What a word is by a list: one that terms are made of, notation, a connective of reasoning.
SMALL, NOTATION, CONNECTIVE = 1, 2, 3
FREQUENT = 80  # a word this frequent is a function word, about one in a thousand

# A word is a quarter of a Thai letter… the other way round: letters of Thai count as a quarter of
# a word, of Chinese and Japanese as half, about what segmenters find.
WORD_UNITS = 4
LONGEST = 48  # letters of a word that are looked at
ABBREVIATION = 4  # letters before a full stop that ends no sentence
GREEK_WORD = 3  # fewer Greek letters in a row are a symbol
APOSTROPHE = 0x2019

# The least score of any word in any language, in eighths of a nat: what may be a name says little.
A_WORD, A_LINK, A_FIRST_WORD, A_NAME, AN_ACRONYM, A_TERM = 8, 36, 56, 90, 90, 70
# So often a word speaks for another language, a connective more often; then that hardly.
AGAIN, CONNECTED, LINGERING = 2, 6, 2
TIMES = 4095  # words are counted by their row, up to so many apart
HOME_LEAD = 12  # what makes a word one of the home language's
LIKE_ENGLISH = 24  # a word no more frequent elsewhere than this is an English one there
HAN_CAP = 24  # how far a frequent letter that Chinese and Japanese share puts one ahead
AN_ONLY_WORD = 50  # that begins a clause, where no word is in the home language's script
A_CONNECTIVE, A_WORD_ABROAD = 40, 48  # as terms; the second is in another language than English
PHRASE_WORDS = 5  # so many Latin words in a row may be a term in a text of another script
TERM_COST = 8  # what a small word that terms are made of says, against the term
SURE_SCORE = 60  # of a word in a script that the home language has for itself
START_COST = 20  # to leave the home language for another and to come back
LETTERS_WEIGHT = 1
MOST_UNLISTED = 4096  # words of a text that are scored by their letters


class Reading(NamedTuple):
    """What texts of one home language are read by. Tables: `Lexicon`, `scripts`."""

    home: int  # the column of the home language in its group, -1 without one
    columns: int  # the languages of its group
    latin: int  # the languages that Latin terms may be in; 0 where Latin is the home's own
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


@compiled
def room(most_bytes: int) -> Words:
    """Empty, for texts of so many bytes."""
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
    """The script of a code point beyond the basic plane: rare Han, letters of formulas, symbols."""
    if code >= 0x20000:
        return HAN
    return LATIN if 0x1D400 <= code < 0x1D6A4 else 0


@step
def _letter(code: int, fold: Codes) -> int:
    """A letter as words are looked up: small, of ordinary width and weight."""
    if code < 0x10000:
        return int(fold[code])
    return ord("a") + (code - 0x1D400) % 26 if code < 0x1D6A4 else code & 0xFFFF


@step
def next_word(
    data: Bytes, i: int, end: int, read: Reading, letters: Integers
) -> tuple[int, int, int, int, int, int, int]:
    """The next word: where it starts and ends, its script, letters, hash, look, kind.

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
            if letter != code and count == 0:
                look |= CAPITAL
            capitals += letter != code
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


@step
def score_letters(
    letters: Integers, count: int, read: Reading, columns: int, sums: Places, out: Bytes
) -> None:
    """How likely an unlisted word is in each language, by its letters."""
    sums[:] = 0
    window = ord(" ")
    for k in range(count + 1):
        code = letters[k] if k < count else ord(" ")
        window = (window << 16 | code) & 0xFFFFFFFFFFFF
        if window > 0xFFFFFFFF:
            slot, key = gram_slot(window)
            if read.gram_keys[slot] == key:
                for column in range(columns):
                    sums[column] += read.grams[slot, column]
    top = 0
    for column in range(columns):
        top = max(top, sums[column])
    for column in range(columns):
        out[column] = max(0, UNLISTED - ((top - sums[column]) >> LETTERS_WEIGHT))


@step
def floor_of(look: int) -> int:
    """The least score of a word in any language, by how it looks."""
    least = A_WORD
    if look & ALL_CAPITALS:
        least = AN_ACRONYM
    elif look & HYPHENED:
        least = A_NAME
    elif look & CAPITAL:
        least = A_NAME if not look & BEGINS else (A_LINK if look & LINKS else A_FIRST_WORD)
    return least


@step
def read_text(
    data: Bytes, start: int, end: int, read: Reading, words: Words, letters: Integers, sums: Places
) -> tuple[int, int]:
    """Write down the words of one text. How many, and how many of them no list has."""
    n, extras, worded, capitals = 0, 0, 0, 0
    i = start
    while True:
        at, i, script, count, hashed, look, kind = next_word(data, i, end, read, letters)
        if count == 0:
            break
        row = -1
        if kind == OWN or kind == LATIN_TERM:
            row = find(read.keys, read.rows, hashed)
            if row >= 0:
                what = read.term[row]
                if what == NOTATION:
                    kind = SILENT
                elif what == SMALL:
                    look |= TERM
                elif what == CONNECTIVE:
                    look |= LINKS
            elif (
                extras < len(words.extra)
                and not (look & CAPITAL and not look & BEGINS)
                and read.units[script] == 0
            ):
                columns = read.columns if kind == OWN else read.latin
                score_letters(
                    letters, min(count, LONGEST), read, columns, sums, words.extra[extras]
                )
                row = -2 - extras
                extras += 1
        words.start[n] = at - start
        words.end[n] = i - start
        words.row[n] = row
        words.kind[n] = kind
        words.look[n] = look
        words.script[n] = script
        words.units[n] = read.units[script] if read.units[script] else WORD_UNITS
        worded += kind == OWN
        capitals += kind == OWN and look & CAPITAL > 0
        n += 1
    if capitals > SHOUTED * worded and worded > PHRASE_WORDS:
        for k in range(n):
            words.look[k] &= ~(CAPITAL | ALL_CAPITALS)
    return n, extras


@step
def mark_runs(words: Words, n: int, runs: Places) -> int:
    """How many Latin words stand in a row at each; how many words of the home script there are."""
    first, length, at_home = 0, 0, 0
    for k in range(n + 1):
        kind = words.kind[k] if k < n else OWN
        if kind == LATIN_TERM and length > 0 and words.look[k] & BEGINS:
            for j in range(first, k):
                runs[j] = length
            first, length = k, 0
        if kind == LATIN_TERM:
            length += 1
        elif kind != SILENT and kind != MIXED:
            for j in range(first, k):
                runs[j] = length
            first, length = k + 1, 0
            at_home += k < n and kind != FOREIGN
    return at_home


@step
def as_term(best: int, english: int, look: int, run: int, at_home: int) -> int:
    """How likely a Latin word is as a term of a language of another script: English ones are."""
    if run > PHRASE_WORDS or at_home == 0:
        return UNLISTED
    if look & LINKS:
        return A_CONNECTIVE
    if look & TERM:
        return max(A_TERM, best - TERM_COST)
    return A_TERM if english + LIKE_ENGLISH >= best else A_WORD_ABROAD


@step
def has_home(words: Words, n: int, reading: Reading) -> bool:
    """Is there a word that is likelier at home than anywhere else?"""
    for k in range(n):
        kind, row = words.kind[k], words.row[k]
        if kind == SURE:
            return True
        if kind == OWN and row >= 0 and reading.own[row] >= reading.rival[row] + HOME_LEAD:
            return True
    return False


@step
def fill_scores(
    words: Words,
    n: int,
    runs: Places,
    at_home: int,
    reading: Reading,
    times: Integers,
    scores: Scores,
) -> None:
    """How likely each word is in each language: first those of the home language's group, then
    those of the Latin words where these are not its own.

    A word that is not frequent in another language says little for it, unless nothing at all speaks
    for the home language: then there is nothing to borrow words into.
    """
    own, latin, home = reading.columns, reading.latin, reading.home
    capped = has_home(words, n, reading)
    times[:] = 0
    for k in range(n):
        kind, row = words.kind[k], words.row[k]
        for column in range(own + latin):
            scores[k, column] = 0
        if kind == SURE:
            scores[k, home] = SURE_SCORE
        if kind == SURE or kind >= FOREIGN or row == -1:
            continue
        least = floor_of(words.look[k])
        of_word = reading.words[row] if row >= 0 else words.extra[-2 - row]
        if kind == OWN:
            here = max(least, int(of_word[home]))
            links = words.look[k] & LINKS
            plain = row >= 0 and reading.rival[row] <= reading.own[row]
            for column in range(own if plain else 0):  # no branches: many columns at a time
                scores[k, column] = max(np.uint8(least), of_word[column])
            for column in range(0 if plain else own):
                score = int(of_word[column])
                if words.script[k] == HAN:
                    score = min(score, here + (HAN_CAP if score >= FREQUENT else 0))
                elif capped and score < FREQUENT and not links:
                    cap = int(reading.caps[column])
                    if latin == 0 and score < of_word[0] + LIKE_ENGLISH:
                        cap = min(cap, int(reading.caps[0]))
                    score = min(score, here + cap)
                scores[k, column] = max(least, score)
        else:
            if at_home == 0 and words.look[k] & BEGINS:
                least = min(least, AN_ONLY_WORD)
            best = 0
            for column in range(latin):
                best = max(best, int(of_word[column]))
                scores[k, own + column] = max(least, int(of_word[column]))
            as_one = max(least, as_term(best, int(of_word[0]), words.look[k], runs[k], at_home))
            for column in range(own):
                scores[k, column] = as_one
        if row >= 0:
            times[row & TIMES] += 1
            if times[row & TIMES] > (CONNECTED if words.look[k] & LINKS else AGAIN):
                base = min(127, scores[k, home] + LINGERING)
                for column in range(own + latin):
                    scores[k, column] = min(scores[k, column], base)


@step
def sum_up(scores: Scores, n: int, home: int, away: Places, back: Places) -> None:
    """How far each language, entering wherever that pays, is ahead of the home language alone.

    The sums end up in `back`; `away` is the same with the last word in that language.
    """
    away[:] = -(1 << 30)
    back[:] = 0
    for k in range(n):
        base = np.int32(scores[k, home])
        for state in range(len(away)):  # no branches: many states at a time
            here = max(away[state], back[state] - np.int32(START_COST))
            here += np.int32(scores[k, state]) - base
            away[state] = here
            back[state] = max(back[state], here)


@compiled
def survey(
    data: Bytes, offsets: Integers, chosen: Integers, read: Reading
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Of each chosen text of a home language: its words, in quarters, and whether any of them may
    be foreign.

    First what the likeliest other language of each word would make of the text is summed up, then,
    where that comes to something, what any one language does.
    """
    most = 0
    for text in chosen:
        most = max(most, offsets[text + 1] - offsets[text])
    words = room(most)
    letters, sums = np.zeros(LONGEST, np.int64), np.zeros(64, np.int32)
    away, back = np.zeros(len(read.costs), np.int32), np.zeros(len(read.costs), np.int32)
    runs = np.zeros(most // 2 + 2, np.int32)
    times = np.zeros(TIMES + 1, np.int64)
    scores = np.zeros((0, 0), np.uint8)
    units = np.zeros(len(chosen), np.int64)
    suspect = np.zeros(len(chosen), np.bool_)
    for place in range(len(chosen)):
        text = chosen[place]
        n, _ = read_text(data, offsets[text], offsets[text + 1], read, words, letters, sums)
        at_home = mark_runs(words, n, runs) if read.latin > 0 else 1
        ahead, total, peak = 0, 0, 0
        capped = has_home(words, n, read)
        for k in range(n):
            kind = words.kind[k]
            if kind == SILENT:
                continue
            if kind >= FOREIGN:
                suspect[place] = True
                continue
            row, look = words.row[k], words.look[k]
            if kind != LATIN_TERM and not is_name(look, row, read):
                units[place] += words.units[k]
            if kind == SURE or row == -1:
                continue
            least = floor_of(look)
            if row >= 0:
                own, rival = int(read.own[row]), int(read.rival[row])
            else:
                own, rival = 0, UNLISTED
                if kind == OWN:
                    own = int(words.extra[-2 - row, read.home])
            if kind == LATIN_TERM:
                of_word = read.words[row] if row >= 0 else words.extra[-2 - row]
                own = as_term(rival, int(of_word[0]), look, runs[k], at_home)
                least = min(least, AN_ONLY_WORD) if at_home == 0 else least
            lead = max(rival, least) - max(own, least)
            if lead > 0 and capped and kind == OWN and row >= 0:
                lead = int(read.lead[row])
            ahead = max(0, ahead + lead)
            peak = max(peak, ahead)
            if ahead == 0 or ahead < peak - START_COST:
                total += max(0, peak - START_COST)
                peak, ahead = 0, 0
        total += max(0, peak - START_COST)
        if total > 0 and not suspect[place]:
            if n > len(scores):
                scores = np.zeros((2 * n, len(read.costs)), np.uint8)
            fill_scores(words, n, runs, at_home, read, times, scores)
            sum_up(scores, n, read.home, away, back)
            for state in range(len(back)):
                suspect[place] |= state != read.home and back[state] > read.costs[state]
    return units, suspect


@step
def is_name(look: int, row: int, read: Reading) -> bool:
    """A capital within a sentence, and not in the home language's list."""
    capital = look & CAPITAL and not look & BEGINS
    return bool(capital) and (row < 0 or read.own[row] <= UNLISTED)


@compiled
def read(data: Bytes, reading: Reading) -> tuple[Words, Scores]:
    """The words of one text, and how likely each is in each language (see `fill_scores`)."""
    words = room(len(data))
    letters, sums = np.zeros(LONGEST, np.int64), np.zeros(64, np.int32)
    n, extras = read_text(data, 0, len(data), reading, words, letters, sums)
    runs = np.zeros(n + 1, np.int32)
    at_home = mark_runs(words, n, runs) if reading.latin > 0 else 1
    scores = np.zeros((n, len(reading.costs)), np.uint8)
    fill_scores(words, n, runs, at_home, reading, np.zeros(TIMES + 1, np.int64), scores)
    return (
        Words(
            words.start[:n],
            words.end[:n],
            words.row[:n],
            words.kind[:n],
            words.look[:n],
            words.units[:n],
            words.script[:n],
            words.extra[:extras],
        ),
        scores,
    )
