"""The words of one suspect text, and which of them are mentioned, not used."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes
from filters.language_id.mentions import CONTEXT, Question, borrowed, mentioned
from filters.language_id.reader import FREQUENT
from filters.language_id.readings import reading
from filters.language_id.scripts import fold
from filters.language_id.tables import Scores
from filters.language_id.targets import named_languages
from filters.language_id.words import BEGINS, CAPITAL, OWN, WORD_UNITS, Words

_PARTICLES = """a al and bin da das de del della den der des di do dos du e el en for ibn in la las
    le les los of on sur ten ter the to und upon van von y zu zur"""
PARTICLES = frozenset(_PARTICLES.split())
NAMED_WORDS = 3  # of a language that is named near them are mentioned: "in Spanish it is el tema"
NAMED_WITHIN = 60  # bytes
TITLE_WORDS = 5  # that begin with a capital within a sentence are a title: "Cien años de soledad"
DIGITS = re.compile(r"[\d_]+")
NEAR = 4  # words around a stretch that a borrowed phrase may reach into it from

Places = npt.NDArray[np.int64]


class Stretch(NamedTuple):
    """Foreign words in a row: their bytes, what they are, and how many (in quarters)."""

    start: int
    end: int
    label: str
    units: int
    by_words: bool  # in the script of the home language


@dataclass
class Verdict:
    """What one text holds, in quarters of words."""

    home: int
    foreign: list[Stretch]

    @property
    def units(self) -> int:
        return self.home + sum(stretch.units for stretch in self.foreign)

    @property
    def consistency(self) -> float:
        """Words of the home language over all words; 1 where there are none."""
        return self.home / self.units if self.units else 1.0


class TextWords:
    """The words of one text being judged."""

    def __init__(
        self,
        home: str,
        masked: Bytes,
        words: Words,
        scores: Scores | None,
        question: Question,
        also: str | None,
    ) -> None:
        self.home, self.question, self.also = home, question, also
        self.reading = reading(home)
        self.words, self.scored = words, scores is not None
        self.scores = np.zeros((0, 0), np.uint8) if scores is None else scores
        self.raw = masked.tobytes()
        self.mentions: dict[
            tuple[int, int, str], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
        ] = {}
        self.exempt = np.zeros(len(self.words.start), bool)
        self.asked = np.zeros(len(self.words.start), bool)  # in what the question asks for
        self.quoted = np.zeros(len(self.words.start), bool)  # of these, by marks alone

    def word(self, place: int) -> str:
        return self.strings(place, place + 1)[0]

    def strings(self, first: int, after: int) -> list[str]:
        starts = self.words.start[first:after].tolist()
        ends = self.words.end[first:after].tolist()
        raw = self.raw
        return [raw[a:b].decode("utf-8", "ignore") for a, b in zip(starts, ends, strict=True)]

    def folded(self, places: Places) -> tuple[str, ...]:
        """Return some words as the lexicon has them."""
        if not len(places):
            return ()
        first = int(places[0])
        strings = self.strings(first, int(places[-1]) + 1)
        return tuple(
            fold("\n".join(strings[place - first] for place in places.tolist())).split("\n")
        )

    def spoken(self, places: Places, languages: Container[str]) -> npt.NDArray[np.bool_]:
        """Mark the words that are used, not mentioned. The others are exempt from all counts.

        `languages` are those that they may be in.
        """
        key = (int(places[0]), int(places[-1]), str(languages))
        if key not in self.mentions:  # a text whose path is found twice asks twice
            self.mentions[key] = self._mentions(places, languages)
        marked, allowed = self.mentions[key]
        self.quoted[places[marked & ~allowed]] = True
        spoken: npt.NDArray[np.bool_] = ~marked & ~allowed
        self.exempt[places[~spoken]] = True
        return spoken

    def _mentions(
        self, places: Places, languages: Container[str]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Mark the words that are quoted or particles, and those that are borrowed or asked."""
        first, last = int(self.words.start[places[0]]), int(self.words.end[places[-1]])
        begin = max(0, first - CONTEXT)
        window = self.raw[begin : last + CONTEXT]
        text = window.decode("utf-8", "ignore")
        mentions = mentioned(text)
        marked = np.zeros(len(places), bool)
        if mentions:
            # Characters to bytes: each begins where a byte is no continuation of another.
            data = np.frombuffer(window, np.uint8)
            offsets = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data)) + begin
            starts = self.words.start[places]
            for start, end in mentions:
                marked |= (starts >= offsets[start]) & (starts < offsets[end])
        if self._is_named(places, languages) or self._is_title(places, languages):
            marked[:] = True
        begins = max(0, int(places[0]) - NEAR)
        strings = [
            word if word.isalpha() else DIGITS.sub("", word)
            for word in self.strings(begins, int(places[-1]) + NEAR + 1)
        ]
        if self.scored:
            marked |= self._particles(places)
        within = int(places[0]) - begins, int(places[-1]) + 1 - begins
        allowed = np.array(borrowed(strings)) | np.array(self.question.quotes(strings, *within))
        return marked, allowed[places - begins]

    def _is_named(self, places: Places, languages: Container[str]) -> bool:
        """Are these a few words of a language that is named near them, or in the question?"""
        if int(self.words.units[places].sum()) > NAMED_WORDS * WORD_UNITS:
            return False
        first, last = int(self.words.start[places[0]]), int(self.words.end[places[-1]])
        near = self.raw[max(0, first - NAMED_WITHIN) : last + NAMED_WITHIN]
        named = named_languages(near.decode("utf-8", "ignore")) | self.question.named
        return any(name in languages for name in named if name != self.home)

    def _is_title(self, places: Places, languages: Container[str]) -> bool:
        """Does a capital within a sentence begin a few words, where nouns have none?"""
        look = int(self.words.look[places[0]])
        return (
            look & (CAPITAL | BEGINS) == CAPITAL
            and 1 < len(places) <= TITLE_WORDS
            and self.home != "de"
            and bool((self.words.kind[places] == OWN).all())
            and "de" not in languages
        )

    def _particles(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Mark the particles of names: "Gare du Nord", "de la Vallée Poussin"."""
        found = np.zeros(len(places), bool)
        look, last = self.words.look, len(self.words.look) - 1
        home = self.scores[:, self.reading.home]
        for place in places.tolist():
            small = fold(self.word(place)) in PARTICLES or home[place] >= FREQUENT
            if not look[place] & CAPITAL and not small:
                return found  # a clause with names in it
        for k in range(len(places) - 1, -1, -1):
            place = int(places[k])
            if look[place] & CAPITAL or fold(self.word(place)) not in PARTICLES:
                continue
            named = bool(look[min(place + 1, last)] & CAPITAL)
            follows = k + 1 < len(places) and bool(found[k + 1]) and places[k + 1] == place + 1
            found[k] = named or follows
        return found
