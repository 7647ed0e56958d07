"""The verdict on one suspicious stretch of a text: foreign, or a term, a name, a quotation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from filters.language_id import detector
from filters.language_id.function_words import NOTATION
from filters.language_id.scan import BY_PHRASE, BY_SCRIPT, PHRASE_WORDS
from filters.language_id.scripts import SCRIPT_OF_LANGUAGE, SCRIPTS, UNSPACED, script_table
from filters.language_id.tables import (
    alien_letters,
    foreign_words,
    home_words,
    languages_of_word,
    likeliest,
)

# Letters with the marks that \w leaves out: accents, Arabic vowels, the vowel signs of India.
_MARKS = r"\u0300-\u036f\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0962\u0963\u0981-\u0d4d"
WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")
_COMPOUND = re.compile(r"\w+(?:[-/]\w+)+")  # "same-origin", "and/or": terms
_CLAUSE_END = re.compile(r"[.,;:!?()\[\]{}\"«»“”„…\n|–—।؟،؛。、，！？；：（）「」《》]")
_NOTATION = frozenset(NOTATION.split())
_CODE = re.compile(r"[=(){}\[\];<>_/\\#]")

# What is spoken about and not in: a term or title in quotation marks or emphasis, a gloss in
# brackets ("Sunzi (孫子)"). Straight marks are told apart by the spaces around them.
_QUOTED = re.compile(
    r"(?<!\w)(\"|'|\*\*|\*)(?=\S)(?P<straight>[^\n\"*]{1,80}?)(?<=\S)\1(?!\w)"
    r"|[“„«»‹「『《〈【](?P<curly>[^\n“”„«»‹›「」『』《》〈〉【】]{1,80})[”“»«›」』》〉】]"
)
_GLOSS = re.compile(r"[(（\[](?P<gloss>[^\n()（）\[\]]{1,40})[)）\]]")
_MARK = re.compile(r"[\"'*“„«»‹「『《〈【(（\[]")  # what either begins with
QUOTED_WORDS, GLOSS_WORDS = 8, 3
CONTEXT = 100  # characters around a stretch: enough for the marks of a quotation it is part of

# How many words a clause in the same script has at least, by how many of them are foreign function
# words; fewer are a term ("on the fly").
CLAUSE_WORDS = (6, 4, 4, 3)

# Shorter words by themselves are commands and abbreviations ("su", "po"), unless they are English.
LONE_WORD = 4

# In a text of another script, an English term may have up to five plain words.
TERM_WORDS = 6

KIN = (
    {"es", "pt", "ca"},
    {"da", "no", "sv"},
    {"cs", "sk"},
    {"hi", "mr", "ne"},
    {"id", "tl"},
    {"nl", "af"},
    {"bg", "mk"},
)
"""Languages so near each other that the detector alone cannot tell their clauses apart."""

# Below so many letters the detector's answer is noise; beyond so many characters it changes little.
DETECTABLE_LETTERS = 15
DETECTED_CHARACTERS = 1000
# So far ahead, in eighths of a nat, and with function words to match, the detector always agrees:
# the likelihoods are its own. Twice as far, no function word is needed, not even among kin.
SURE, BEYOND_DOUBT = 160, 320
# Where no function word speaks for it, a clause that is less far ahead is an odd English one.
UNAIDED = 128
# What it must say where function words say little.
CERTAIN = 0.9


@dataclass
class Judge:
    """Judges the stretches of one text; remembers what it has already found there."""

    home: str
    question: Question
    implementation: str | None = None
    confirmed: set[str] = field(default_factory=set)

    def label(
        self,
        kind: int,
        stretch: str,
        before: str = "",
        after: str = "",
        guess: tuple[str | None, int] = (None, 0),
    ) -> str | None:
        """The language or script that makes `stretch` foreign; None where it is legitimate.

        `stretch` is masked; `before` and `after` are the characters around it; `guess` is the
        language that the scan finds likeliest and how far it is ahead of the home language.
        """
        spoken = without_mentions(before, stretch, after)
        if spoken != stretch:
            stretch, guess = spoken, (None, 0)
        words = _spoken_words(stretch)
        if words and self.question.folded:
            unquoted = self.question.unquoted(words, stretch)
            if len(unquoted) < len(words):
                words, guess = unquoted, (None, 0)
        if not words:
            return None
        if kind == BY_SCRIPT:
            return foreign_script(words)
        if kind == BY_PHRASE:
            return self._foreign_phrase(words, stretch, guess[0])
        left, right = self.rest_of_clause(before, after)
        return self._foreign_clause(words, WORD.findall(left) + words + WORD.findall(right), guess)

    def rest_of_clause(self, before: str, after: str) -> tuple[str, str]:
        """What goes with a stretch: up to a punctuation mark or a word of the home language."""
        if SCRIPT_OF_LANGUAGE[self.home] in UNSPACED:
            return "", ""
        left = _CLAUSE_END.split(before)[-1]
        right = _CLAUSE_END.split(after, maxsplit=1)[0]
        home = home_words(self.home)
        ends = (word.end() for word in WORD.finditer(left) if word[0].lower() in home)
        starts = (word.start() for word in WORD.finditer(right) if word[0].lower() in home)
        return left[max(ends, default=0) :], right[: next(starts, len(right))]

    def _foreign_clause(
        self, core: list[str], words: list[str], guess: tuple[str | None, int]
    ) -> str | None:
        """Words that look like another language's of the same script: are they?

        Most is settled by the likelihoods; the detector is asked about what they leave open.
        `core` is where they look most like it, `words` the clause around.
        """
        voted, strength = self._vote(words)
        if script_of_letter(core[0][0]) in UNSPACED:
            return voted if strength > 1 else None
        if len(set(words)) < len(words):  # "no luck" over and over is no more evidence than once
            core, words, guess = _distinct(core), _distinct(words), (None, 0)
        if len(words) < CLAUSE_WORDS[min(strength, 3)]:
            return None
        content = [w for w in words if w.lower() not in languages_of_word()]
        if strength <= 2 and content and all(w[0].isupper() for w in content):
            return None  # "de la Vallée Poussin", "The Art of Computer Programming"
        label, lead = guess if guess[0] else likeliest(core, self.home)
        if lead >= BEYOND_DOUBT:
            return label
        if strength == 0 and lead < UNAIDED:
            return None
        if strength > 1 and (lead >= SURE or (strength > 2 and label in self.confirmed)):
            return label
        if _letters(core) < DETECTABLE_LETTERS:
            if strength > 2:
                return voted
            core = words
        if _letters(core) < DETECTABLE_LETTERS:
            return None
        if strength < 3:
            _, around = likeliest(words, self.home)
            if around < 0:
                return None  # taken as a whole it is the home language
            if strength > 0 and min(lead, around) >= SURE:
                return label
            if strength == 0 and around < SURE and any({label, self.home} <= kin for kin in KIN):
                return None
        return self._confirmed(core, words, strength)

    def _confirmed(self, core: list[str], words: list[str], strength: int) -> str | None:
        """What the detector says of a clause that function words and likelihoods leave open."""
        found = self._detected(core)
        if not found or found.get(self.home, 0.0) >= 0.5:
            return None
        label = max(found, key=found.__getitem__)
        if strength < 2 and found[label] < CERTAIN:
            return None
        if strength < 3 and self._detected(words).get(self.home, 0.0) >= 0.5:
            return None
        self.confirmed.add(label)
        return label

    def _foreign_phrase(self, words: list[str], stretch: str, guess: str | None) -> str | None:
        """Latin words in a text of another script: prose, or a term, a name, code?

        Whichever it is, it is foreign, so its likeliest language will do for a name.
        """
        if len(_CODE.findall(stretch)) * 8 > _letters(words):
            return None
        words = WORD.findall(_COMPOUND.sub(" ", stretch)) if _COMPOUND.search(stretch) else words
        if not words:
            return None
        voted, strength = self._vote(words)
        if strength == 1 and len(words) > 1 and foreign_words(self.home).keys().isdisjoint(words):
            strength = 0  # capitalised: a heading or a name
        if strength == len(words) == 1 and len(words[0]) < LONE_WORD and voted != "en":
            strength = 0
        plain = sum(word.islower() and len(word) > 1 for word in words)
        if strength == 0 and plain < (TERM_WORDS if guess == "en" else PHRASE_WORDS):
            return None
        return guess if _letters(words) >= DETECTABLE_LETTERS else voted or guess

    def _detected(self, words: list[str]) -> Mapping[str, float]:
        text = " ".join(words)[:DETECTED_CHARACTERS]
        return detector.probabilities(text, SCRIPT_OF_LANGUAGE[self.home], self.implementation)

    def _vote(self, words: list[str]) -> tuple[str | None, int]:
        """The language that has most of the foreign function words and letters, and how many."""
        foreign, alien = foreign_words(self.home), alien_letters(self.home)
        if script_of_letter(words[0][0]) in UNSPACED:
            units = [*"".join(words)]
        else:
            units = [word.lower() for word in words if not word.isupper()]
        told = [foreign[unit] for unit in units if unit in foreign]
        told += [
            next(alien[letter] for letter in unit if letter in alien)
            for unit in (units if alien else ())
            if unit not in foreign and not alien.keys().isdisjoint(unit)
        ]
        if not told:
            return None, 0
        return Counter(chain.from_iterable(told)).most_common(1)[0]


def _distinct(words: list[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _letters(words: Collection[str]) -> int:
    return sum(map(len, words))


def without_mentions(before: str, stretch: str, after: str) -> str:
    """`stretch` without what quotation marks or brackets around it, or in it, set apart."""
    window = before + stretch + after
    if _MARK.search(window) is None:
        return stretch
    window = _QUOTED.sub(_blank, window)
    window = _GLOSS.sub(_blank, window)
    return window[len(before) : len(before) + len(stretch)]


def _blank(match: re.Match[str]) -> str:
    inside = match["gloss"] if match.re is _GLOSS else match["straight"] or match["curly"]
    limit = GLOSS_WORDS if match.re is _GLOSS else QUOTED_WORDS
    words = WORD.findall(inside)
    size = sum(len(w) / 2 if script_of_letter(w[0]) in UNSPACED else 1.0 for w in words)
    return " " * len(match[0]) if size <= limit else match[0]


def _spoken_words(text: str) -> list[str]:
    """The words of a text but for variables and names of functions."""
    return [
        word
        for word in WORD.findall(text)
        if not (word.isascii() if len(word) == 1 else word in _NOTATION)
    ]


def foreign_script(words: Collection[str]) -> str | None:
    """The script of letters that the home language is not written in; None for symbols."""
    table = script_table()
    counts = Counter(
        SCRIPTS[table[ord(letter)]] if ord(letter) < 0x10000 else "Han"
        for word in words
        for letter in word
    )
    for name in ("None", "Mark", "Latin"):
        counts.pop(name, None)
    if not counts:
        return None
    if "Kana" in counts:
        return "Kana"
    script = counts.most_common(1)[0][0]
    if script == "Greek" and not _is_greek_prose(words):
        return None
    if counts.total() == 1 and any(word in "אבגדШ" for word in words):
        return None  # the infinite cardinals, the Tate–Shafarevich group
    return "Han" if script == "Simplified" else script


def _is_greek_prose(words: Collection[str]) -> bool:
    """Angles and products are runs of Greek letters too; Greek words carry an accent."""
    return sum(any(letter in "άέήίόύώΐΰ" for letter in word) for word in words) > 0


def script_of_letter(letter: str) -> str:
    """The name of a letter's script."""
    return SCRIPTS[script_table()[ord(letter)]] if ord(letter) < 0x10000 else "Han"


class Question:
    """What a text may quote: any of the question's words together with their neighbours."""

    def __init__(self, text: str) -> None:
        self.folded = " ".join(text.casefold().split())

    @cached_property
    def threes(self) -> set[tuple[str, ...]]:
        """Every three words in a row."""
        words = _spoken_words(self.folded)
        return set(zip(words, words[1:], words[2:], strict=False))

    def unquoted(self, words: list[str], stretch: str) -> list[str]:
        """The words of `stretch` that do not come from here."""
        if " ".join(stretch.casefold().split()) in self.folded:
            return []
        low = [word.casefold() for word in words]
        if script_of_letter(words[0][0]) in UNSPACED or len(words) < 3:
            return [word for word, key in zip(words, low, strict=True) if key not in self.folded]
        if self.threes.isdisjoint(zip(low, low[1:], low[2:], strict=False)):
            return words
        covered = [False] * len(low)
        for i, three in enumerate(zip(low, low[1:], low[2:], strict=False)):
            if three in self.threes:
                covered[i : i + 3] = [True] * 3
        return [word for word, quoted in zip(words, covered, strict=True) if not quoted]
