"""The words of one suspect text, and which of them are mentioned, not used."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes
from filters.language_id.mentions import CONTEXT, Question, borrowed, mentioned
from filters.language_id.reader import FREQUENT
from filters.language_id.readings import reading, states
from filters.language_id.scripts import fold
from filters.language_id.tables import UNLISTED, Scores
from filters.language_id.targets import names_any
from filters.language_id.words import (
    BEGINS,
    CAPITAL,
    LATIN_TERM,
    LINKS,
    OWN,
    SILENT,
    WORD_UNITS,
    Words,
)

_PARTICLES = """a al and bin da das de del della den der des di do dos du e el en for ibn in la las
    le les los of on sur ten ter the to und upon van von y zu zur"""
PARTICLES = frozenset(_PARTICLES.split())
_LINKING = """ai alla alle allo au aux avec con dal dalla das die dell d delle degli em et gli i il
    im l lo mit na no nel o och og os per por sans senza sin sous un una une uno zum à às da das"""
LINKING = PARTICLES | frozenset(_LINKING.split())  # what a noun phrase may hold next to its nouns
_ARTICLES = "al das der die een el gli het i il l la las le les lo los o os the"
ARTICLES = frozenset(_ARTICLES.split())
SENTENCE_ENDS = re.compile(r"[.!?:;\n。！？؟।]")
NAMED_WORDS = 5  # of a language that is named near them are mentioned: "in Spanish it is el tema"
NAMED_WITHIN = 60  # bytes
TITLE_WORDS = 5  # that begin with a capital within a sentence are a title: "Cien años de soledad"
CAPITALS_WORDS = 8  # that all have capitals are one: "Once Upon a Time in Hollywood"
PHRASE_WORDS = 4  # without a verb or pronoun are a term: "quenelles de brochet"
MARK_AND_SPACE = 3  # bytes
A_NAT = 8  # in eighths: no more than this is no difference
SMALL_LETTERS = 4  # of a word that has no capital in a title
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


class Found(NamedTuple):
    """What `reader.survey` found in one text."""

    words: Words
    scores: Scores
    leads: Places  # how far each language is ahead of the home language


class TextWords:
    """The words of one text being judged."""

    def __init__(
        self,
        home: str,
        masked: Bytes,
        found: Found,
        question: Question,
        also: Set[str] = frozenset(),
        answer: bool = False,
    ) -> None:
        self.home, self.question, self.also, self.answer = home, question, also, answer
        self.reading = reading(home)
        self.words, self.scores, self.leads = found
        self.scored = bool((self.leads > self.reading.costs).any())  # else the scores are unset
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
        joined = b"\n".join([raw[a:b] for a, b in zip(starts, ends, strict=True)])
        return joined.decode("utf-8", "ignore").split("\n")

    def folded(self, places: Places) -> tuple[str, ...]:
        """Return some words as the lexicon has them."""
        if not len(places):
            return ()
        first = int(places[0])
        strings = self.strings(first, int(places[-1]) + 1)
        return tuple(
            fold("\n".join(strings[place - first] for place in places.tolist())).split("\n")
        )

    def spoken(self, places: Places, languages: tuple[str, ...]) -> npt.NDArray[np.bool_]:
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
        self, places: Places, languages: tuple[str, ...]
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
        if self._is_named(places, languages):
            marked[:] = True
        marked |= self._names_and_terms(places, languages)
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

    def _is_named(self, places: Places, languages: tuple[str, ...]) -> bool:
        """Are these a few words of a language that is named near them, or in the question?"""
        if int(self.words.units[places].sum()) > NAMED_WORDS * WORD_UNITS:
            return False
        first, last = int(self.words.start[places[0]]), int(self.words.end[places[-1]])
        near = self.raw[max(0, first - NAMED_WITHIN) : last + NAMED_WITHIN]
        others = tuple(language for language in languages if language != self.home)
        texts = near.decode("utf-8", "ignore"), self.question.folded
        return any(names_any(text, others) for text in texts)

    def _names_and_terms(self, places: Places, languages: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Mark titles and terms in sentences of the home language."""
        found = np.zeros(len(places), bool)
        columns = [column for column, name in enumerate(states(self.home)) if name in languages]
        if not self.scored or len(columns) != 1:
            return found
        ends = [k for k in range(1, len(places)) if self._sentence_ends(places[k - 1], places[k])]
        for begin, end in pairwise([0, *ends, len(places)]):
            found[begin:end] = self._is_name_or_term(places[begin:end], columns[0])
        return found

    def _is_name_or_term(self, places: Places, column: int) -> bool:
        """Are some words of one sentence only titles and terms, and the others the home's?"""
        places = self._whole_title(places, column)
        starts = (np.flatnonzero(self.words.look[places[1:]] & BEGINS) + 1).tolist()
        parts = [places[begin:end] for begin, end in pairwise([0, *starts, len(places)])]
        if len(places) < 2 or max(map(len, parts)) > CAPITALS_WORDS:
            return False
        home = self._home_words_around(places, column)
        if not (home or self.answer):
            return False
        terms = 2 * home >= len(places) and any(self._is_within_clause(part) for part in parts)
        return all(
            self._is_title(part, column) or (terms and self._is_phrase(part, column))
            for part in parts
        )

    def _whole_title(self, places: Places, column: int) -> Places:
        """Drop small words before that are the home's as well; add capitals that follow."""
        look, first, last = self.words.look, 0, int(places[-1])
        while first + 1 < len(places) and not look[places[first]] & CAPITAL:
            scores = self.scores[places[first]]
            if int(scores[column]) > int(scores[self.reading.home]) + A_NAT:
                break
            first += 1
        after = last + 1
        while after < len(look) and look[after] & (CAPITAL | BEGINS) == CAPITAL:
            after += 1
        return np.append(places[first:], np.arange(last + 1, after))

    def _is_within_clause(self, places: Places) -> bool:
        """Has the clause of a stretch other words too?"""
        look, kind = self.words.look, self.words.kind
        first, after = int(places[0]), int(places[-1]) + 1
        while kind[first - 1] == SILENT and first > 0 and not look[first] & BEGINS:
            first -= 1
        return not look[first] & BEGINS or (after < len(look) and not look[after] & BEGINS)

    def _home_words_around(self, places: Places, column: int) -> int:
        """Count the words of the home language in the sentence of a stretch."""
        first, last = int(places[0]), int(places[-1])
        while first > 0 and not self._sentence_ends(first - 1, first):
            first -= 1
        while last + 1 < len(self.words.start) and not self._sentence_ends(last, last + 1):
            last += 1
        others = np.ones(last + 1 - first, bool)
        others[places - first] = False
        around = first + np.flatnonzero(others)
        if self.words.kind[places[0]] == LATIN_TERM:
            return int((self.words.kind[around] == OWN).sum())
        around = around[(self.words.kind[around] == OWN) & (self.words.row[around] >= 0)]
        around = around[self.reading.own[self.words.row[around]] > UNLISTED]
        scores = self.scores[around]
        return int((scores[:, self.reading.home] >= scores[:, column]).sum())

    def _sentence_ends(self, place: int, after: int) -> bool:
        """Does a sentence end between two words?"""
        if after == place + 1 and not self.words.look[after] & BEGINS:
            return False
        between = self.raw[int(self.words.end[place]) : int(self.words.start[after])]
        return SENTENCE_ENDS.search(between.decode("utf-8", "ignore")) is not None

    def _follows(self, place: int) -> bool:
        """Does a word follow another within a sentence, with a mark between them at most?"""
        if place == 0 or self._sentence_ends(place - 1, place):
            return False
        return int(self.words.start[place]) - int(self.words.end[place - 1]) <= MARK_AND_SPACE

    def _frequency(self, places: Places, column: int) -> Scores:
        """Return how frequent words are in a language by its list, whatever they look like."""
        rows = self.words.row[places]
        columns = np.where(
            self.words.kind[places] == LATIN_TERM, column - self.reading.columns, column
        )
        found: Scores = np.where(rows >= 0, self.reading.words[rows, columns], 0)
        return found

    def _is_title(self, places: Places, column: int) -> bool:
        """Do capitals show that some words are a title?"""
        first, words = int(places[0]), self.strings(int(places[0]), int(places[-1]) + 1)
        words = [words[place - first] for place in places.tolist()]
        # Not by their looks: where nearly every word has a capital, these say it has none.
        capital = [word[0].isupper() and not word[1:].isupper() for word in words]
        german = states(self.home)[column] == "de"
        if capital[0] and self._follows(first):
            # In German every noun has a capital, but no function word within a sentence.
            shown = self._frequency(places[:1], column)[0] >= FREQUENT if german else True
            if shown and self.home != "de" and 1 < len(words) <= TITLE_WORDS:
                return True
        if self.answer and len(words) == 1 and capital[0]:
            return bool(self._frequency(places, column)[0] < FREQUENT)  # "Inception" in a list
        small = [fold(word) in LINKING or len(word) <= SMALL_LETTERS for word in words]
        return (
            not german
            and len(words) <= CAPITALS_WORDS
            and sum(capital) > 1
            and all(has or is_small for has, is_small in zip(capital, small, strict=True))
        )

    def _is_phrase(self, places: Places, column: int) -> bool:
        """Have a few words no function word but those that link nouns?"""
        if len(places) > PHRASE_WORDS or (self.words.look[places] & LINKS).any():
            return False
        used = (self._frequency(places, column) >= FREQUENT).tolist()
        words = self.folded(places)
        if words[0] in LINKING and words[0] not in ARTICLES:
            return False
        return all(word in LINKING or not often for word, often in zip(words, used, strict=True))

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
