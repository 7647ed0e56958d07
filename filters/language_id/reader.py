"""Score each word of a text in each language, and select the texts to judge closely.

`survey` reads every text of a column once; `read` writes down the words of one of those that may
hold something foreign. All scores are in eighths of a nat (see `filters.language_id.tables`).
"""

from __future__ import annotations

import numpy as np

from filters.kernels import Bytes, compiled, step
from filters.language_id.scripts import HAN
from filters.language_id.tables import UNLISTED, Places, Scores, find, gram_slot
from filters.language_id.words import (
    ALL_CAPITALS,
    BEGINS,
    CAPITAL,
    CONNECTIVE,
    FOREIGN,
    HYPHENED,
    LATIN_TERM,
    LINKS,
    LONGEST,
    MIXED,
    NOTATION,
    OPENER,
    OPENING,
    OWN,
    SILENT,
    SMALL,
    SURE,
    TERM,
    WORD_UNITS,
    Integers,
    Reading,
    Words,
    next_word,
    room,
)

SHOUTED = 0.8  # from this share of capitals on, they say nothing
FREQUENT = 80  # a word this frequent is a function word, about one in a thousand

# The least score of any word in any language, in eighths of a nat: what may be a name says little.
A_WORD, A_LINK, A_FIRST_WORD, A_NAME, AN_ACRONYM, A_TERM = 8, 36, 56, 96, 90, 70
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
MOST_OWED = 1 << 10  # more than any word and START_COST together
BY_LETTERS = 1  # a shift: half of what the letters say, as they hang together


@step
def score_letters(
    letters: Integers, count: int, read: Reading, columns: int, sums: Places, out: Bytes
) -> None:
    """Score an unlisted word in each language by its letters."""
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
        out[column] = max(0, UNLISTED - ((top - sums[column]) >> BY_LETTERS))


@step
def floor_of(look: int) -> int:
    """Return the least score of a word in any language, by its look."""
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
    """Fill `words` with those of one text. Return their number and that of unlisted ones."""
    n, extras, worded, capitals = 0, 0, 0, 0
    i = start
    while True:
        at, i, script, count, hashed, look, kind = next_word(data, i, end, read, letters)
        if count == 0:
            break
        if n == 0:
            look |= BEGINS
        row = -1
        if kind in (OWN, LATIN_TERM):
            row = find(read.keys, read.rows, hashed)
            if row >= 0:
                what = read.term[row]
                if what == NOTATION:
                    kind = SILENT
                elif what in (SMALL, OPENING):
                    look |= TERM | (OPENER if what == OPENING else 0)
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
def mark_opener(words: Words, first: int, after: int) -> None:
    """A small word that begins a clause of Latin words alone links it ("as expected")."""
    if after - first < 2 or words.look[first] & (OPENER | BEGINS) != OPENER | BEGINS:
        return
    if words.look[first + 1] & TERM == 0:
        words.look[first] = words.look[first] & ~TERM | LINKS


@step
def mark_runs(words: Words, n: int, runs: Places) -> int:
    """How many Latin words, names not counted, stand in a row at each; how many words of the home
    script there are."""
    first, length, at_home = 0, 0, 0
    for k in range(n + 1):
        kind = words.kind[k] if k < n else OWN
        if kind == LATIN_TERM and words.look[k] & BEGINS:
            for j in range(first, k):
                runs[j] = length
            mark_opener(words, first, k)
            first, length = k, 0
        if kind == LATIN_TERM:
            length += not words.look[k] & CAPITAL or words.look[k] & BEGINS > 0
        elif kind != SILENT and kind != MIXED:
            for j in range(first, k):
                runs[j] = length
            if k == n or words.look[k] & BEGINS:
                mark_opener(words, first, k)
            first, length = k + 1, 0
            at_home += k < n and kind != FOREIGN
    return at_home


@step
def as_term(best: int, english: int, look: int, run: int, at_home: int) -> int:
    """Return the score of a Latin word as a term in a language of another script."""
    if run > PHRASE_WORDS or at_home == 0:
        return UNLISTED
    if look & LINKS:
        return A_CONNECTIVE
    if look & TERM:
        return max(A_TERM, best - TERM_COST)
    return A_TERM if english + LIKE_ENGLISH >= best else A_WORD_ABROAD


@step
def has_home(words: Words, n: int, reading: Reading) -> bool:
    """Is a word most likely in the home language? Assumed for languages with few words."""
    if reading.weak:
        return True
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
        out = scores[k]
        if latin > 0 or row == -1 or kind >= FOREIGN:
            for column in range(own + latin):
                out[column] = 0
        if kind == SURE or kind >= FOREIGN or row == -1:
            if kind == SURE:
                out[home] = SURE_SCORE
            continue
        look = words.look[k]
        least = floor_of(look)
        if not capped and look & BEGINS:
            least = min(least, A_LINK)
        of_word = reading.words[row] if row >= 0 else words.extra[-2 - row]
        # The loops have no branches, so that many languages are done at a time.
        if kind == OWN:
            here = max(least, int(of_word[home]))
            floor, frequent = np.uint8(least), np.uint8(FREQUENT)
            if words.script[k] == HAN:
                top, low = np.uint8(min(127, here + HAN_CAP)), np.uint8(here)
                for column in range(own):
                    score = of_word[column]
                    score = min(score, top if score >= frequent else low)
                    out[column] = max(floor, score)
            elif (
                not capped or look & LINKS or (row >= 0 and reading.rival[row] <= reading.own[row])
            ):
                for column in range(own):
                    out[column] = max(floor, of_word[column])
            else:
                english = np.uint8(of_word[0] + LIKE_ENGLISH if latin == 0 else 0)
                borrowed = min(127, here + int(reading.caps[0]))
                for column in range(own):
                    score = of_word[column]
                    top = np.uint8(here) + reading.caps[column]
                    top = min(top, np.uint8(borrowed)) if score < english else top
                    score = min(score, top) if score < frequent or reading.weak else score
                    out[column] = max(floor, score)
        else:
            if at_home == 0 and look & BEGINS:
                least = min(least, AN_ONLY_WORD)
            floor, best = np.uint8(least), 0
            for column in range(latin):
                best = max(best, int(of_word[column]))
                out[own + column] = max(floor, of_word[column])
            term = as_term(best, int(of_word[0]), look, runs[k], at_home)
            for column in range(own):
                out[column] = max(least, term)
        if row >= 0:
            times[row & TIMES] += 1
            if times[row & TIMES] > (CONNECTED if words.look[k] & LINKS else AGAIN):
                base = np.uint8(min(127, out[home] + LINGERING))
                for column in range(own if kind == OWN else own + latin):
                    out[column] = min(out[column], base)


@step
def sum_up(words: Words, scores: Scores, n: int, read: Reading, away: Places, back: Places) -> None:
    """Sum up each language's best lead over the home language, over the whole text.

    The sums end up in `back`; `away` is the same with the last word in that language. A word of
    another script than Latin has no score in the languages of Latin terms, so what it takes from
    them is only remembered (`owed`) until a Latin word follows.
    """
    home, own, states = read.home, read.columns, len(away)
    away[:] = -(1 << 30)
    back[:] = 0
    owed, last = np.int32(0), np.int32(0)
    for k in range(n):
        base = np.int32(scores[k, home])
        counted = own
        if words.kind[k] == LATIN_TERM:
            counted = states
            if owed > 0:
                for state in range(own, states):
                    entered = back[state] - np.int32(START_COST) - last
                    away[state] = max(away[state] - owed, entered)
                owed = np.int32(0)
        else:
            owed, last = min(owed + base, np.int32(MOST_OWED)), base
        for state in range(counted):  # no branches: many states at a time
            here = max(away[state], back[state] - np.int32(START_COST))
            here += np.int32(scores[k, state]) - base
            away[state] = here
            back[state] = max(back[state], here)


@step
def is_name(look: int, row: int, read: Reading) -> bool:
    """Is it capitalized within a sentence and not in the home language's list?"""
    capital = look & CAPITAL and not look & BEGINS
    return bool(capital) and (row < 0 or read.own[row] <= UNLISTED)


@step
def first_look(
    words: Words, n: int, runs: Places, at_home: int, read: Reading
) -> tuple[int, bool, int]:
    """Words in quarters; whether any is in another script; how far the likeliest other language of
    each word puts them ahead where they are, which no one language can exceed.
    """
    units, odd, ahead, total, peak = 0, False, 0, 0, 0
    capped = has_home(words, n, read)
    for k in range(n):
        kind = words.kind[k]
        if kind == SILENT:
            continue
        if kind >= FOREIGN:
            odd = True
            continue
        row, look = words.row[k], words.look[k]
        if kind != LATIN_TERM and not is_name(look, row, read):
            units += words.units[k]
        if kind == SURE or row == -1:
            continue
        least = floor_of(look)
        if not capped and look & BEGINS:
            least = min(least, A_LINK)
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
    return units, odd, total + max(0, peak - START_COST)


@compiled
def cut(words: Words, start: int, end: int, extra: int) -> Words:
    """Return a slice of the words; scores of unlisted ones start at `extra`."""
    return Words(
        words.start[start:end],
        words.end[start:end],
        words.row[start:end],
        words.kind[start:end],
        words.look[start:end],
        words.units[start:end],
        words.script[start:end],
        words.extra[extra:],
    )


@compiled
def survey(
    data: Bytes, offsets: Integers, chosen: Integers, read: Reading
) -> tuple[Integers, Integers, Places, Words, Scores]:
    """The chosen texts of a home language: of each its words, in quarters; and the words, and their
    scores, of those that may hold something foreign, end to end.

    The second array tells where a text's words end; other texts have none there. The third tells
    how far each language is ahead of the home language over the text: where none exceeds its cost,
    only words of another script are suspect. First what the likeliest other language of each word
    would make of the text is summed up, then, where that comes to something, what any one language
    does.
    """
    most, size = 0, 0
    for text in chosen:
        most = max(most, offsets[text + 1] - offsets[text])
        size += offsets[text + 1] - offsets[text]
    states = len(read.costs)
    words = room(size)
    scores = np.empty((len(words.start), states), np.uint8)
    letters, sums = np.zeros(LONGEST, np.int64), np.zeros(64, np.int32)
    away = np.zeros(states, np.int32)
    runs, times = np.zeros(most // 2 + 2, np.int32), np.zeros(TIMES + 1, np.int64)
    units, ends = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    leads = np.zeros((len(chosen), states), np.int32)
    kept, kept_extras = 0, 0
    for place in range(len(chosen)):
        start, end = offsets[chosen[place]], offsets[chosen[place] + 1]
        part = cut(words, kept, len(words.start), kept_extras)
        n, extras = read_text(data, start, end, read, part, letters, sums)
        at_home = mark_runs(part, n, runs) if read.latin > 0 else 1
        units[place], suspect, total = first_look(part, n, runs, at_home, read)
        if total > 0:
            own = scores[kept:]
            fill_scores(part, n, runs, at_home, read, times, own)
            sum_up(part, own, n, read, away, leads[place])
            for state in range(states):
                suspect |= leads[place, state] > read.costs[state]
        if suspect:
            kept += n
            kept_extras += extras
        ends[place] = kept
    return units, ends, leads, cut(words, 0, kept, 0), scores[:kept]


@compiled
def read(data: Bytes, reading: Reading) -> Words:
    """Read the words of one text."""
    words = room(len(data))
    letters, sums = np.zeros(LONGEST, np.int64), np.zeros(64, np.int32)
    n, _ = read_text(data, 0, len(data), reading, words, letters, sums)
    return cut(words, 0, n, 0)
