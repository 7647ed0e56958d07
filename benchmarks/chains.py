"""Labelled chains of thought in fifteen languages, composed from a seed: terse ones above all.

The lines are those of `sentences/`. A chain is clean (terse, prose, with names, terms, units and
quotations that belong there, with formulas) or foreign: wholly, from the middle on, or in one
sentence or clause of so many words. Every chain knows how many of its words are foreign.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from texts import UNSPACED, bank, joined, sentence, with_formula

LANGUAGES = (
    "en",
    "de",
    "es",
    "fr",
    "it",
    "pt",
    "pl",
    "ru",
    "zh",
    "ja",
    "ko",
    "ar",
    "hi",
    "tr",
    "vi",
)
CLAUSES = (2, 3, 4, 8)
PER_CLEAN, PER_FOREIGN = 6, 2
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_MARKS = re.compile(r"[\u0900-\u0903\u093a-\u094f\u0962\u0963]")  # vowel signs of Hindi
_LETTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True)
class Chain:
    """A chain of thought and what is true of it."""

    text: str
    language: str
    question: str
    kind: str
    foreign: str | None = None  # the language mixed in
    foreign_words: float = 0.0
    words: float = 0.0

    @property
    def mixed(self) -> bool:
        return self.foreign is not None

    @property
    def consistency(self) -> float:
        return 1.0 - self.foreign_words / self.words if self.words else 1.0


def count_words(text: str) -> float:
    """Words of two letters and more; a Han or kana letter is half of one."""
    unspaced = len(_LETTER.findall(text))
    words = _WORD.findall(_MARKS.sub("", _LETTER.sub(" ", text)))
    return unspaced / 2 + sum(len(word) > 1 or not word.isascii() for word in words)


def chains(seed: int) -> list[Chain]:
    """About 1,500 chains, somewhat more than half of them clean, in an order that tells nothing."""
    rng = random.Random(seed)
    found = [chain for language in LANGUAGES for chain in _of_language(rng, language)]
    rng.shuffle(found)
    return found


def _of_language(rng: random.Random, language: str) -> Iterator[Chain]:
    for _ in range(PER_CLEAN):
        for kind in ("terse", "prose", "kept", "kept terse", "formulas", "quoted", "short"):
            yield _clean(rng, language, kind)
    others = [other for other in LANGUAGES if other != language]
    for kind in ("terse whole", "prose whole", "half", "sentence", "terse lines", *CLAUSES):
        for other in rng.sample(others, PER_FOREIGN + 2 * (kind == "terse whole")):
            yield _foreign(rng, language, other, kind)


def _lines(rng: random.Random, language: str, section: str, most: int) -> list[str]:
    lines = rng.sample(bank(language)[section], min(most, len(bank(language)[section])))
    numbers = {name: rng.randint(2, 99) for name in "abc"}
    return [line.format(**numbers) for line in lines]


def _clean(rng: random.Random, language: str, kind: str) -> Chain:
    question = sentence(rng, language, "questions")
    if kind == "terse":
        text = "\n".join(_lines(rng, language, "terse", rng.randint(2, 8)))
    elif kind == "short":
        text = "\n".join(_lines(rng, language, "terse", 1))
    elif kind == "kept terse":
        parts = _lines(rng, language, "terse", 3) + _lines(rng, language, "kept", 2)
        text = "\n".join(rng.sample(parts, len(parts)))
    else:
        parts = _lines(rng, language, "sentences", rng.randint(4, 12))
        if kind == "kept":
            parts += _lines(rng, language, "kept", 3)
            rng.shuffle(parts)
        elif kind == "formulas":
            parts = [with_formula(rng, part) for part in parts]
        elif kind == "quoted":
            donor = rng.choice([other for other in LANGUAGES if other != language])
            quotation = sentence(rng, donor)
            question = f"{question}\n{quotation}"
            parts.insert(rng.randrange(len(parts)), quotation)
        text = joined(rng, language, parts)
    return Chain(text, language, question, kind, words=count_words(text))


def _foreign(rng: random.Random, language: str, other: str, kind: str | int) -> Chain:
    question = sentence(rng, language, "questions")
    section = "terse" if kind == "terse lines" else "sentences"
    home = _lines(rng, language, section, rng.randint(4, 10))
    if isinstance(kind, int):
        unit = _clause(rng, other, kind)
        place = rng.randrange(len(home))
        comma = {"zh": "，", "ja": "、", "ar": "، "}.get(language, ", ")
        host, mark = home[place][:-1], home[place][-1]
        home[place] = f"{host}{comma}{unit}{mark}"
        text, foreign = joined(rng, language, home), [unit]
    elif kind == "terse whole":
        foreign = _lines(rng, other, "terse", rng.randint(2, 8))
        text = "\n".join(foreign)
    elif kind == "prose whole":
        foreign = _lines(rng, other, "sentences", rng.randint(2, 8))
        text = joined(rng, other, foreign)
    elif kind == "half":
        foreign = _lines(rng, other, "sentences", len(home))
        text = joined(rng, language, home) + joined(rng, other, foreign)
    elif kind == "sentence":
        foreign = _lines(rng, other, "sentences", 1)
        home.insert(rng.randrange(len(home) + 1), foreign[0])
        text = joined(rng, language, home)
    else:
        foreign = _lines(rng, other, "terse", 3)
        place = rng.randrange(len(home) + 1)
        text = "\n".join([*home[:place], *foreign, *home[place:]])
    named = f"clause of {kind} words" if isinstance(kind, int) else kind
    many = sum(map(count_words, foreign))
    return Chain(text, language, question, named, other, many, count_words(text))


def _clause(rng: random.Random, language: str, size: int) -> str:
    """So many words in a row: a clause, or the beginning of a sentence."""
    whole = [line for line in bank(language)["clauses"] if round(count_words(line)) == size]
    if whole and size < 8:
        return rng.choice(whole)
    line = sentence(rng, language)
    if language in UNSPACED:
        return re.sub(r"[0-9，。、]", "", line)[: 2 * size]
    words = line.split()
    start = words[0][0].lower() + words[0][1:]
    return " ".join([start, *words[1:size]]).rstrip(".,:;?!।")
