"""Judge what a text hides where nothing is judged (`hidden`). It counts only if it is prose."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from filters.kernels import Bytes
from filters.language_id.hidden import lift, notation_commands, plain_letters
from filters.language_id.mentions import Question
from filters.language_id.reader import FREQUENT, survey
from filters.language_id.readings import reading, states
from filters.language_id.spans import Text
from filters.language_id.tables import LANGUAGES
from filters.language_id.text_words import Found, Verdict
from filters.language_id.words import FOREIGN, LATIN_TERM, SILENT, TERM, WORD_UNITS

PROSE_WORDS, PROSE_SHARE = 8, 6  # hidden prose has so many words, one in six a function word
MOSTLY = 0.5  # and at most this share of all words is in the home language
IN_LATIN = frozenset([*LANGUAGES["Latin"], "quoted"])


def find_hidden_prose(
    raw: Bytes,
    masked: Bytes,
    home: str,
    question: Question,
    asked: Set[str],
    answer: bool,
    shown: Verdict,
) -> Verdict | None:
    """Judge a text with all signs of formulas and code taken away; None if no prose was hidden.

    What is foreign with the signs in place (`shown`, of `masked`) is so without them, and what is
    at home only without them does not count.
    """
    lifted, origin = lift(raw, plain_letters(), notation_commands())
    whole, every = np.array([0, len(lifted)], np.int64), np.zeros(1, np.int64)
    _, ends, leads, words, scores = survey(lifted, whole, every, reading(home))
    if not ends[0]:
        return None
    text = Text(home, lifted, Found(words, scores, leads[0]), question, asked, answer)
    if not _may_be_prose(text):
        return None
    starts = origin[words.start]
    seen = masked[starts] != ord(" ")
    verdict = text.verdict(
        [
            (
                np.flatnonzero(seen & (starts >= stretch.start) & (starts < stretch.end)),
                stretch.label,
            )
            for stretch in shown.foreign
        ]
    )
    if not _is_prose(text, verdict):
        return None
    places = np.append(origin, len(raw)).tolist()
    foreign = [
        stretch._replace(start=places[stretch.start], end=places[stretch.end])
        for stretch in verdict.foreign
    ]
    return Verdict(min(verdict.home, shown.home), foreign)


def _may_be_prose(text: Text) -> bool:
    """Can half of the text be foreign prose? As `_is_prose`, but quick and of all languages."""
    kinds, units = text.words.kind, text.words.units.astype(np.int64)
    odd, every = int(units[kinds == FOREIGN].sum()), int(units[kinds != SILENT].sum())
    if text.scored:
        used = (text.scores >= FREQUENT) & (text.scores > text.scores[:, [text.reading.home]])
        odd += PROSE_SHARE * WORD_UNITS * int(used.any(axis=1).sum())
    return 2 * odd >= every > 0


def _is_prose(text: Text, verdict: Verdict) -> bool:
    """Is most of the text foreign, in another script or with function words as prose has?"""
    words = text.words
    if verdict.consistency > MOSTLY:
        return False
    if any(not stretch.by_words and stretch.label not in IN_LATIN for stretch in verdict.foreign):
        return True
    columns = {name: column for column, name in enumerate(states(text.home))}
    used, every = 0, 0
    for stretch in verdict.foreign:
        if stretch.label not in columns:
            continue
        first, after = np.searchsorted(words.start, (stretch.start, stretch.end))
        kinds, looks, rows = (
            words.kind[first:after],
            words.look[first:after],
            words.row[first:after],
        )
        every += int((kinds != SILENT).sum())
        rows = rows[(rows >= 0) & (looks & TERM == 0)]
        # The lexicon's own scores: here a word may come often, and with a capital.
        column, own = columns[stretch.label], text.reading.own[rows]
        if (kinds == LATIN_TERM).any():
            column -= text.reading.columns
        likely = text.reading.words[rows, column]
        used += int(((likely >= FREQUENT) & (likely > own)).sum())
    return every >= PROSE_WORDS and used * PROSE_SHARE >= every
