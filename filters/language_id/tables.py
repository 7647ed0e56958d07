"""The tables that the scan reads, built once from the lists of scripts and function words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from filters.language_id import detector
from filters.language_id.function_words import FUNCTION_WORDS, HOMOGRAPHS, NOTATION, TERM_WORDS
from filters.language_id.masking import ascii_classes
from filters.language_id.scan import (
    FOREIGN,
    HOME,
    NEUTRAL,
    RUN,
    SINGLE,
    SPACED,
    SYMBOL,
    TOLERATED,
    WEIGHT_FOREIGN,
    WEIGHT_HOME,
    word_hash,
)
from filters.language_id.scripts import SCRIPT_OF_LANGUAGE, SCRIPTS, UNSPACED, script_table
from filters.language_id.trigrams import TRIGRAM_SLOTS, likelihoods_of, trigram_slots

LANGUAGES = tuple(SCRIPT_OF_LANGUAGE)
NUMBER = {language: number for number, language in enumerate(LANGUAGES)}
SLOTS = 8192  # a power of two, a third full
_WIDESPREAD = {"en", "es", "fr", "de", "pt", "it", "ru", "ar", "hi"}
"""A word that one of these shares with the home language is no evidence for the home language."""


@dataclass(frozen=True)
class Tables:
    """What `filters.language_id.scan.scan` reads; the names are its parameters'."""

    classes: npt.NDArray[np.uint8]
    script_of: npt.NDArray[np.uint8]
    spacing: npt.NDArray[np.uint8]
    roles: npt.NDArray[np.uint8]
    keys: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int8]
    strangeness: npt.NDArray[np.int8]
    likelihoods: npt.NDArray[np.int8]


@cache
def languages_of_word() -> dict[str, frozenset[str]]:
    """Function word → the languages that have it."""
    found: dict[str, set[str]] = {}
    for language, words in FUNCTION_WORDS.items():
        for word in words.split():
            found.setdefault(word, set()).add(language)
    return {word: frozenset(languages) for word, languages in found.items()}


_TERM_WORDS = frozenset(TERM_WORDS.split())


@cache
def _homographs(language: str) -> frozenset[str]:
    return frozenset(f"{HOMOGRAPHS.get(language, '')} {NOTATION}".split())


def weight(word: str, home: str) -> int:
    """What a function word says in a text whose language is `home`."""
    languages = languages_of_word()[word]
    if home in languages:
        others = languages - {home}
        if not others:
            return WEIGHT_HOME
        return 0 if others & _WIDESPREAD else WEIGHT_HOME // 2
    if word in _homographs(home):
        return 0
    script = SCRIPT_OF_LANGUAGE[next(iter(languages))]
    if script == SCRIPT_OF_LANGUAGE[home]:
        # Without a list of its own words to weigh against, only English can be told apart.
        return WEIGHT_FOREIGN if home in FUNCTION_WORDS or "en" in languages else 0
    if script == "Latin":
        english = "en" not in languages and word in _homographs("en")  # "era", "mit": terms too
        return 0 if english or word in _TERM_WORDS else WEIGHT_FOREIGN
    return WEIGHT_FOREIGN if (script, home) == ("Han", "ja") else 0


@cache
def foreign_words(home: str) -> dict[str, tuple[str, ...]]:
    """The function words that speak against `home` → the languages that have them."""
    known = languages_of_word().items()
    return {word: tuple(sorted(having)) for word, having in known if weight(word, home) > 0}


@cache
def home_words(home: str) -> frozenset[str]:
    """The function words that speak for `home`."""
    return frozenset(word for word in languages_of_word() if weight(word, home) < 0)


def role(script: str, home: str) -> int:
    """What a script is to a language."""
    if script == SCRIPT_OF_LANGUAGE[home]:
        return HOME
    if home == "zh" and script == "Simplified":
        return HOME
    if home == "ja" and script == "Han":
        return NEUTRAL
    if script == "Latin":
        return TOLERATED  # terms and names; its sentences are found by their function words
    return SYMBOL if script == "Greek" else FOREIGN


def reading(script: str, home: str) -> int:
    """How the scan takes letters of a script apart."""
    if script not in UNSPACED:
        return SPACED
    return SINGLE if (script, home) == ("Han", "ja") else RUN  # Chinese is known by its letters


RARE_TRIGRAM = 5e-5  # langdetect's own smoothing: alpha 0.5 over 10,000


@cache
def _profile(language: str, size: int) -> dict[str, float]:
    """How often so many letters follow each other, from the detector's own data."""
    text = detector.profile(language)
    if text is None:
        return {}
    profile = json.loads(text)
    shares: dict[str, float] = {}
    for gram, count in profile["freq"].items():
        if len(gram) == len(lowered := gram.lower()) == size:
            shares[lowered] = shares.get(lowered, 0.0) + count / profile["n_words"][size - 1]
    return shares


OWN_LETTER, ALIEN_LETTER = 1e-3, 2e-5  # how often a language's letters are there, and others


@cache
def alien_letters(home: str) -> dict[str, tuple[str, ...]]:
    """Letters that tell a near neighbour by themselves: і in Russian, پ in Arabic, ळ in Hindi.

    None in the Latin script, where names and borrowed words keep their accents.
    """
    if (script := SCRIPT_OF_LANGUAGE[home]) == "Latin" or not _profile(home, 1):
        return {}
    found: dict[str, set[str]] = {}
    for language in LANGUAGES:
        if SCRIPT_OF_LANGUAGE[language] == script:
            for letter, share in _profile(language, 1).items():
                if share > OWN_LETTER and _profile(home, 1).get(letter, 0.0) < ALIEN_LETTER:
                    found.setdefault(letter, set()).add(language)
    return {letter: tuple(sorted(languages)) for letter, languages in found.items()}


def trigram_tables() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """How much likelier three letters are elsewhere, a row a language; how likely, a column each.

    Both in eighths of a nat. "Elsewhere" is the mean of the other languages of the script, or the
    likeliest widespread one, discounted: the mean alone hides a near neighbour, such as
    Portuguese in Spanish.
    """
    strange = np.zeros((len(LANGUAGES), TRIGRAM_SLOTS + 1), dtype=np.int8)
    likely = np.zeros((TRIGRAM_SLOTS + 1, len(LANGUAGES)), dtype=np.int8)
    for script in sorted(set(SCRIPT_OF_LANGUAGE.values()) - set(UNSPACED)):
        kin = [n for n in LANGUAGES if SCRIPT_OF_LANGUAGE[n] == script and _profile(n, 3)]
        grams = sorted({gram for name in kin for gram in _profile(name, 3)})
        slots = trigram_slots("".join(grams))[::3]
        shares = np.array([[_profile(name, 3).get(gram, 0.0) for gram in grams] for name in kin])
        wide = np.array([name in _WIDESPREAD for name in kin])
        for row, name in enumerate(kin if len(kin) > 1 else ()):
            others = np.arange(len(kin)) != row
            elsewhere = shares[others].mean(axis=0)
            if (wide & others).any():
                elsewhere = np.maximum(elsewhere, 0.6 * shares[wide & others].max(axis=0))
            ratio = np.log((elsewhere + RARE_TRIGRAM) / (shares[row] + RARE_TRIGRAM))
            strange[NUMBER[name], slots] = np.clip(np.rint(8 * ratio), -32, 32)
            likely[slots, NUMBER[name]] = np.rint(8 * np.log(shares[row] / RARE_TRIGRAM + 1))
    return strange, likely


@cache
def _others(home: str) -> list[int]:
    """The numbers of the other languages of a language's script."""
    script = SCRIPT_OF_LANGUAGE[home]
    kin = (name for name in LANGUAGES if SCRIPT_OF_LANGUAGE[name] == script)
    return [NUMBER[name] for name in kin if name != home]


def likeliest(words: Iterable[str], home: str) -> tuple[str | None, int]:
    """The other language that words are likeliest in, and how far it is ahead of `home`.

    In eighths of a nat. Names say nothing of the language around them.
    """
    common = " ".join(w for w in words if not (w[0].isascii() and w[0].isupper())).lower()
    codes = np.frombuffer(f" {common} ".encode("utf-16-le"), np.uint16)
    sums = likelihoods_of(codes, tables().likelihoods).tolist()
    best = max(_others(home), key=sums.__getitem__, default=None)
    if best is None:
        return None, 0
    return LANGUAGES[best], sums[best] - sums[NUMBER[home]]


@cache
def tables() -> Tables:
    """Built on first use, in some milliseconds."""
    strange, likely = trigram_tables()
    spacing = [[reading(script, home) for script in SCRIPTS] for home in LANGUAGES]
    roles = [[role(script, home) for script in SCRIPTS] for home in LANGUAGES]
    keys = np.zeros(SLOTS, dtype=np.int64)
    weights = np.zeros((len(LANGUAGES), SLOTS), dtype=np.int8)
    known = languages_of_word()
    for word in sorted(known.keys() | set(NOTATION.split())):
        row = [weight(word, home) if word in known else 0 for home in LANGUAGES]
        # The hash lower-cases ASCII only, so "É" needs an entry beside "é".
        for form in {word, word.capitalize()}:
            value = word_hash(form.encode())
            slot = value & (SLOTS - 1)
            while keys[slot] not in (0, value):
                slot = (slot + 1) & (SLOTS - 1)
            keys[slot] = value
            weights[:, slot] = row
    return Tables(
        classes=ascii_classes(),
        script_of=script_table(),
        spacing=np.array(spacing, dtype=np.uint8),
        roles=np.array(roles, dtype=np.uint8),
        keys=keys,
        weights=weights,
        strangeness=strange,
        likelihoods=likely,
    )
