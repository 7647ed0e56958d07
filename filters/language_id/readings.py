"""Build the tables by which texts of a home language are read."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes
from filters.language_id import function_words
from filters.language_id.masking import ascii_classes
from filters.language_id.reader import A_WORD, FREQUENT
from filters.language_id.romanised import ROMANISED
from filters.language_id.scripts import (
    GROUPS,
    KIN,
    LETTERS_A_WORD,
    SCRIPT_OF_LANGUAGE,
    SCRIPTS,
    fold_table,
    script_table,
)
from filters.language_id.tables import LANGUAGES, Scores, lexicon
from filters.language_id.words import (
    CONNECTIVE,
    FOREIGN,
    LATIN_TERM,
    NOTATION,
    OPENING,
    OWN,
    SMALL,
    SURE,
    SYMBOL,
    WORD_UNITS,
    Reading,
)

CAP, CAP_ENGLISH, CAP_WEAK = 56, 16, 12
"""In eighths of a nat: English words are borrowed everywhere, and a language without a list of its
own lacks many words that its neighbours share."""


@cache
def group_and_column(home: str) -> tuple[str | None, int]:
    """Return the group of a language and its column there; -1 if it has no words."""
    script = SCRIPT_OF_LANGUAGE[home]
    for group, scripts in GROUPS.items():
        if script in scripts:
            languages = LANGUAGES[group]
            return group, languages.index(home) if home in languages else -1
    return None, -1


@cache
def states(home: str) -> tuple[str, ...]:
    """Return the languages of the columns of the scores."""
    group, column = group_and_column(home)
    own = LANGUAGES[group] if group is not None and column >= 0 else (home,)
    return own if group == "Latin" else own + LANGUAGES["Latin"]


def role(script: str, home: str) -> int:
    """Return the role of a script in texts of a language."""
    group, column = group_and_column(home)
    if group is not None and script in GROUPS[group]:
        return OWN if column >= 0 else SURE
    if script == SCRIPT_OF_LANGUAGE[home]:
        return SURE
    if script == "Latin":
        return LATIN_TERM
    return SYMBOL if script == "Greek" else FOREIGN


@cache
def reading(home: str) -> Reading:
    """Build the tables of a home language, in about 50 ms."""
    tables = lexicon()
    group, column = group_and_column(home)
    own = np.zeros(len(tables.words), np.uint8)
    rival = np.zeros(len(tables.words), np.uint8)
    lead = np.zeros(len(tables.words), np.uint8)
    alone = group is None or column < 0
    caps = _caps(home, LANGUAGES[group] if group is not None and not alone else (home,))
    for number, (name, languages) in enumerate(LANGUAGES.items()):
        part = slice(tables.begins[number], tables.begins[number + 1])
        words = tables.words[part, : len(languages)]
        if name == group and column >= 0:
            own[part] = words[:, column]
            rival[part] = np.delete(words, column, axis=1).max(axis=1, initial=0)
            lead[part] = _lead(words, column, caps, _terms(latin=True)[part] == CONNECTIVE)
        elif name == "Latin":
            rival[part] = words.max(axis=1)
    roles = [role(script, home) for script in SCRIPTS]
    return Reading(
        home=max(column, 0),
        columns=1 if alone else len(LANGUAGES[group or ""]),
        latin=0 if group == "Latin" else len(LANGUAGES["Latin"]),
        weak=home in function_words.FUNCTION_WORDS,
        classes=ascii_classes(),
        script_of=script_table(),
        fold=fold_table(),
        roles=np.array(roles, np.uint8),
        units=np.array(
            [WORD_UNITS // LETTERS_A_WORD.get(name, WORD_UNITS + 1) for name in SCRIPTS], np.uint8
        ),
        keys=tables.keys,
        rows=tables.rows,
        words=tables.words,
        grams=tables.grams,
        gram_keys=tables.gram_keys,
        own=own,
        rival=rival,
        term=_terms(latin=group == "Latin"),
        costs=np.array([_cost(name, home) for name in states(home)], np.int64),
        lead=lead,
        caps=caps,
    )


COMMON = frozenset(["en", "es", "fr", "de", "pt", "it", "ru", "zh", "ja", "ar", "hi"])
AHEAD_COMMON, AHEAD, AHEAD_ROMANISED, AHEAD_TERMS = 28, 48, 60, 0
AHEAD_OF_WEAK = 120
"""How far a language must be ahead over the whole text, in eighths of a nat. Latin words among
others have to outweigh terms already."""


def _cost(language: str, home: str) -> int:
    if language in ROMANISED:
        return AHEAD_ROMANISED
    if language in LANGUAGES["Latin"] and SCRIPT_OF_LANGUAGE[home] != "Latin":
        return AHEAD_TERMS
    if home in function_words.FUNCTION_WORDS:
        return AHEAD_OF_WEAK
    near = any({language, home} <= kin for kin in KIN)
    return AHEAD_COMMON if language in COMMON and not near else AHEAD


def _caps(home: str, languages: tuple[str, ...]) -> Bytes:
    if home in function_words.FUNCTION_WORDS:
        return np.full(len(languages), CAP_WEAK, np.uint8)
    return np.array([CAP_ENGLISH if name == "en" else CAP for name in languages], np.uint8)


def _lead(words: Scores, column: int, caps: Bytes, links: npt.NDArray[np.bool_]) -> Scores:
    """Bound the lead of the most likely other language; same rules as `reader.fill_scores`."""
    own = np.maximum(words[:, column : column + 1].astype(np.int16), A_WORD)
    ahead = words.astype(np.int16) - own
    rare = (words < FREQUENT) & ~links[:, None]
    ahead = np.where(rare, np.minimum(ahead, caps), ahead)
    found: Bytes = np.maximum(ahead, 0).max(axis=1).astype(np.uint8)
    return found


@cache
def _terms(*, latin: bool) -> Bytes:
    """Return what each word is by a list; in a text in Latin letters no word is one of a term."""
    tables = lexicon()
    found = np.zeros(len(tables.words), np.uint8)
    connectives = " ".join(function_words.CONNECTIVES.values())
    for words, value in (
        (connectives, CONNECTIVE),
        (f"{function_words.TERM_WORDS} {function_words.KEYWORDS}", SMALL),
        (function_words.OPENERS, OPENING),
        (connectives if latin else "", CONNECTIVE),
        (function_words.NOTATION, NOTATION),
    ):
        rows = [tables.row(word) for word in words.split()]
        found[[row for row in rows if row >= 0]] = value
    return found
