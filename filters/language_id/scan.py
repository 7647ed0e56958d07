"""The one pass over the bytes of a column: which stretches of each text may be foreign.

A candidate of words is found with a cumulative sum (Page 1954, the classic test for a change in a
stream): function words of another language raise it, those of the home language lower it.
"""

from __future__ import annotations

import numpy as np

from filters.kernels import Bytes, compiled, decode, step
from filters.language_id.masking import (
    CLAUSE,
    JOINER,
    LETTER,
    MASK_KINDS,
    SPECIAL,
    Integers,
    masked_end,
)
from filters.language_id.scan_tables import Reading, Weights, Workspace
from filters.language_id.scripts import HAN, LATIN, MARK
from filters.language_id.trigrams import TRIGRAM_PRIME, TRIGRAM_SLOTS, WINDOW, narrowed

# What a script is to the home language.
HOME, TOLERATED, NEUTRAL, FOREIGN, SYMBOL = range(5)
# Words with spaces between them; letters in a row, counted together; letters looked up one by one.
SPACED, RUN, SINGLE = range(3)
# What a candidate is made of: letters of a foreign script; words in the home script that look like
# another language's; Latin words between words of another script.
BY_SCRIPT, BY_WORDS, BY_PHRASE = range(3)

# Function words of another language raise the sum, those of the home language lower it.
WEIGHT_FOREIGN, WEIGHT_HOME = 10, -10
# The sum is a log-likelihood ratio in eighths of a nat. How far one word can move it, what a
# function word is worth (times its weight), how it fades, and from where it is worth a look.
MOST_A_WORD, A_FUNCTION_WORD, FADING, ALARM = 40, 4, 4, 64
# What a candidate's best other language must be ahead of the home language, over all its letters.
# Measured on software's translated messages in seven languages: 8 nats keep 96% of clauses of
# seven words, and let one in five of the false alarms through to the detector.
AHEAD = 64
# So many plain Latin words in a row may be no term.
PHRASE_WORDS = 4
# Candidates kept a text; the words of further ones are counted, not looked at.
MAX_CANDIDATES = 256
# Fewer Greek letters in a row are a symbol.
GREEK_WORD = 3

APOSTROPHE = 0x2019  # the one punctuation mark beyond ASCII that stands within a clause

_HASH_START, _HASH_PRIME = 0x4BF29CE484222325, 0x100000001B3


def word_hash(word: bytes) -> int:
    """The kernel's hash of a word: FNV-1a in 64 signed bits, ASCII letters lower-cased."""
    value = _HASH_START
    for byte in word:
        value = ((value ^ (byte | 0x20 if byte < 128 else byte)) * _HASH_PRIME) % 2**64
    return value - 2**64 if value >= 2**63 else value


@step
def _beyond(code: int) -> int:
    """The script of a code point beyond the basic plane: rare Han, else emoji and symbols."""
    return HAN if code >= 0x20000 else 0


@step
def _find_word(keys: Integers, value: int) -> int:
    """The slot of a hash in an open-addressed table (a zero is an empty slot), or -1."""
    slots = len(keys) - 1
    slot = value & slots
    while keys[slot] != 0:
        if keys[slot] == value:
            return slot
        slot = (slot + 1) & slots
    return -1


@step
def _next_word(
    data: Bytes, masked: Bytes, start: int, i: int, end: int, failed: Integers, read: Reading
) -> tuple[int, int, int, int, int, int, bool, bool]:
    """The next word outside of masks: its bytes, script, letters, hash, strangeness, plainness.

    The last value tells whether punctuation stands before it.

    A word is plain that is no name (capitals), identifier (digits) or variable (one letter).
    No letters: the text ends.
    """
    classes, script_of, trigrams = read.classes, read.script_of, read.strangeness
    spacing, roles = read.spacing, read.roles
    broken = False
    while i < end:
        byte = data[i]
        if byte < 128:
            kind = classes[byte]
            if kind == SPECIAL:
                j = masked_end(data, start, i, end, failed)
                if j > i:
                    masked[i:j] = ord(" ")
                    i = j
                    continue
            broken |= kind == CLAUSE or byte == ord(":")
            if kind != LETTER and kind != JOINER:
                i += 1
                continue
            script = LATIN
        else:
            code, j = decode(data, i)
            script = script_of[code] if code < 0x10000 else _beyond(code)
            if script <= MARK:
                broken |= script != MARK and code != APOSTROPHE
                i = j
                continue
        at = i
        letters, capitals, joiners = 0, 0, 0
        hashed, strangeness = _HASH_START, 0
        window = ord(" ")
        if spacing[script] == RUN:
            while i < end and data[i] >= 128:
                code, j = decode(data, i)
                here = script_of[code] if code < 0x10000 else _beyond(code)
                if here != MARK:
                    if spacing[here] != RUN or roles[here] != roles[script]:
                        break
                    letters += 1
                i = j
            return at, i, script, letters, hashed, 0, True, broken
        while i < end:
            byte = data[i]
            if byte < 128:
                if script != LATIN:
                    break
                kind = classes[byte]
                if kind == LETTER:
                    letters += 1
                    capitals += byte < ord("a")
                elif kind == JOINER:
                    joiners += 1
                else:
                    break
                code = int(byte) | 0x20
                hashed = (hashed ^ code) * _HASH_PRIME
                i += 1
            else:
                code, j = decode(data, i)
                here = script_of[code] if code < 0x10000 else _beyond(code)
                if here == MARK:
                    i = j
                    continue
                if here != script:
                    break
                letters += 1
                for k in range(i, j):
                    hashed = (hashed ^ data[k]) * _HASH_PRIME
                i = j
                if spacing[script] == SINGLE:
                    break
            window = (window << 16 | code) & WINDOW
            strangeness += trigrams[(window * TRIGRAM_PRIME >> 40) & TRIGRAM_SLOTS]
        if letters:
            window = (window << 16 | ord(" ")) & WINDOW
            strangeness += trigrams[(window * TRIGRAM_PRIME >> 40) & TRIGRAM_SLOTS]
            plain = capitals == 0 and joiners == 0 and letters > 1
            if capitals == letters:
                hashed = 0  # "IT", "OS", "ES": an acronym is no function word
            return at, i, script, letters, hashed, strangeness, plain, broken
    return end, end, 0, 0, 0, 0, False, True


@step
def _scan_text(
    data: Bytes, masked: Bytes, start: int, end: int, read: Reading, work: Workspace
) -> tuple[int, int, int]:
    """The half words of one text, those beyond MAX_CANDIDATES, and how many candidates it has."""
    work.failed[:] = 0
    opened, closed = work.opened, work.closed
    halves, kept, beyond = 0, 0, 0
    in_script, in_phrase = False, False
    phrase_hits, phrase_words = 0, 0
    strange, peak, spaced = 0, 0, True
    i = start
    while True:
        at, i, script, n_letters, hashed, moved, plain, broken = _next_word(
            data, masked, start, i, end, work.failed, read
        )
        final = n_letters == 0
        role = read.roles[script]
        if role == SYMBOL:
            if n_letters < GREEK_WORD and not final:
                continue
            role = FOREIGN
        weight, slot = 0, -1
        if i - at > 1 and role != FOREIGN and read.spacing[script] != RUN:
            slot = _find_word(read.keys, hashed)
            weight = int(read.weights[slot]) if slot >= 0 else 0

        # How it moves the sum.
        if role in (TOLERATED, FOREIGN):
            moved = 0
        elif read.spacing[script]:
            moved = 4 * weight if weight else (-MOST_A_WORD // 2 if role == HOME else 0)
        else:
            moved = min(max(moved, -MOST_A_WORD), MOST_A_WORD) - FADING
            if not plain:
                moved = min(moved, 0)
            elif slot >= 0:  # a word that the home language has too
                moved = min(moved, 2 * FADING)
            if weight > 0:
                moved = max(moved, A_FUNCTION_WORD * weight)
            elif weight < 0:
                moved = min(moved, A_FUNCTION_WORD * weight)
        strange = max(0, strange + moved)

        # What ends before this word, or with the text?
        script_ends = in_script and (final or (role != FOREIGN and role != NEUTRAL))
        words_end = peak > 0 and (final or strange == 0 or strange < peak - ALARM)
        phrase_ends = in_phrase and (final or broken or role != TOLERATED)
        ends = (script_ends, words_end, phrase_ends)
        for kind in range(3 if script_ends or words_end or phrase_ends else 0):
            if not ends[kind]:
                continue
            place, to = opened[kind], closed[kind]
            language, lead = -1, 0
            if kind == BY_SCRIPT:
                worth = True
                in_script = False
            else:
                if kind == BY_PHRASE:
                    worth = phrase_hits > 0 or phrase_words >= PHRASE_WORDS
                    in_phrase = False
                else:
                    worth = peak >= ALARM
                    strange, peak = 0, 0
                if worth and (kind == BY_PHRASE or spaced):
                    lead, language = narrowed(data, place, to, read, work)
                    worth = kind == BY_PHRASE or lead >= AHEAD
            if not worth:
                continue
            if kept < MAX_CANDIDATES:
                row = (kind, place[0], to[0], to[1] - place[1], language, lead)
                for k in range(len(row)):
                    work.found[kept, k] = row[k]
                kept += 1
            else:
                beyond += to[1] - place[1]
        if final:
            break

        before = halves
        halves += n_letters if read.spacing[script] else 2

        # What begins or goes on with it?
        if role == FOREIGN:
            if not in_script:
                in_script = True
                opened[BY_SCRIPT] = (at, before)
            closed[BY_SCRIPT] = (i, halves)
        elif role == TOLERATED:
            if not in_phrase:
                in_phrase = True
                phrase_hits, phrase_words = 0, 0
                opened[BY_PHRASE] = (at, before)
            phrase_hits += weight > 0
            phrase_words += plain
            closed[BY_PHRASE] = (i, halves)
        elif moved > 0:
            if peak == 0:
                opened[BY_WORDS] = (at, before)
                spaced = read.spacing[script] == SPACED
            if strange > peak:
                peak = strange
                closed[BY_WORDS] = (i, halves)
    return halves, beyond, kept


@compiled
def scan(
    data: Bytes,
    offsets: Integers,
    homes: Integers,
    classes: Bytes,
    script_of: Bytes,
    spacing: Bytes,
    roles: Bytes,
    keys: Integers,
    weights: Weights,
    strangeness: Weights,
    likelihoods: Weights,
) -> tuple[Integers, Integers, Bytes]:
    """Totals of every text, the stretches of it to look at, and all of it masked.

    `homes` numbers each text's language (a negative one is skipped). `spacing`, `roles`, `weights`
    and `strangeness` have a row a language: how each script is read and what it is to it, what
    each word of the hash table `keys` is, how much likelier each three letters are elsewhere.
    `likelihoods` has a column a language: how likely each three letters are there.

    Totals: half words, and those in candidates beyond MAX_CANDIDATES.
    Candidates: text, what (BY_SCRIPT, …), first byte, last byte + 1, half words, the likeliest
    language and how far it is ahead of the home language.
    Masked: `data` with mathematics, code, tags and URLs blanked, as by `language_id.masking.mask`.
    """
    texts = len(offsets) - 1
    masked = data.copy()
    totals = np.zeros((texts, 2), dtype=np.int64)
    found = np.empty((texts + MAX_CANDIDATES, 7), dtype=np.int64)
    count = 0
    languages = likelihoods.shape[1]
    work = Workspace(
        failed=np.empty(MASK_KINDS, dtype=np.int64),
        opened=np.zeros((3, 2), dtype=np.int64),
        closed=np.zeros((3, 2), dtype=np.int64),
        found=np.empty((MAX_CANDIDATES, 6), dtype=np.int64),
        looked=np.empty(MASK_KINDS, dtype=np.int64),
        sums=np.empty(languages, dtype=np.int32),
        begun=np.empty(languages, dtype=np.int64),
    )
    for text in range(texts):
        home = homes[text]
        if home < 0:
            continue
        read = Reading(
            home,
            classes,
            script_of,
            spacing[home],
            roles[home],
            keys,
            weights[home],
            strangeness[home],
            likelihoods,
        )
        halves, beyond, kept = _scan_text(
            data, masked, offsets[text], offsets[text + 1], read, work
        )
        totals[text] = halves, beyond
        if count + kept > len(found):
            grown = np.empty((2 * len(found), found.shape[1]), dtype=np.int64)
            grown[:count] = found[:count]
            found = grown
        found[count : count + kept, 0] = text
        found[count : count + kept, 1:] = work.found[:kept]
        count += kept
    return totals, found[:count], masked
