"""Find the words that a text mentions instead of using: quotations, glosses, the question."""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise

from filters.language_id.function_words import PHRASES
from filters.language_id.scripts import SCRIPTS, UNSPACED, fold, script_table

# Letters with the marks that \w leaves out: accents, Arabic vowels, the vowel signs of India.
_MARKS = r"\u0300-\u036f\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0962\u0963\u0981-\u0d4d"
WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")

# A term or title in quotation marks or emphasis, a gloss in brackets ("Sunzi (孫子)"). A straight
# mark opens after a space, a bracket or a letter of a script without spaces, and closes likewise:
# Korean and Turkish add endings to it.
_QUOTED = re.compile(
    r"(?<![A-Za-z0-9])(\"|'|\*\*|\*)(?=\S)(?P<straight>[^\n\"*]{1,120}?)(?<=\S)\1(?![A-Za-z0-9])"
    r"|(?P<mark>\")(?=\S)(?P<glued>[^\n\"]{1,120}?)(?<=\S)\""
    r"|[“„«»‹「『《〈【](?P<curly>[^\n“”„«»‹›「」『』《》〈〉【】]{1,120})[”“»«›」』》〉】]"
)
_GLOSS = re.compile(r"[(（\[](?P<gloss>[^\n()（）\[\]]{1,40})[)）\]]")
_MARK = re.compile(r"[\"'*“„«»‹「『《〈【(（\[]")  # what either begins with
QUOTED_WORDS, GLOSS_WORDS = 8, 3
THREE = 3  # words in a row that are quoted from a question
CONTEXT = 150  # characters around a stretch: enough for the marks of a quotation it is part of

_PHRASES = {tuple(phrase.split()) for phrase in PHRASES.replace("\n", " ").split("|")}
_FIRST_WORDS = {phrase[0] for phrase in _PHRASES}
_LONGEST_PHRASE = max(map(len, _PHRASES))


def script_of_letter(letter: str) -> str:
    """Return the name of a letter's script."""
    return SCRIPTS[script_table()[ord(letter)]] if ord(letter) < 0x10000 else "Han"


def mentioned(text: str) -> list[tuple[int, int]]:
    """Return the character ranges that stand in quotation marks or brackets."""
    if _MARK.search(text) is None:
        return []
    found = []
    for match in _QUOTED.finditer(text):
        inside = match["straight"] or match["glued"] or match["curly"]
        if count_words(inside) <= QUOTED_WORDS:
            found.append(match.span())
    glosses = (
        match for match in _GLOSS.finditer(text) if count_words(match["gloss"]) <= GLOSS_WORDS
    )
    return [*found, *(match.span() for match in glosses)]


def count_words(text: str) -> float:
    """Return the number of words; a letter of a script without spaces is half of one."""
    words = WORD.findall(text)
    return sum(len(w) / 2 if script_of_letter(w[0]) in UNSPACED else 1.0 for w in words)


def borrowed(words: list[str]) -> list[bool]:
    """Mark the words that are part of a phrase that many languages borrow."""
    low = fold("\n".join(words)).split("\n")
    found = [False] * len(words)
    if _FIRST_WORDS.isdisjoint(low):
        return found
    for start in range(len(low)):
        if low[start] not in _FIRST_WORDS:
            continue
        for size in range(1, _LONGEST_PHRASE + 1):
            if tuple(low[start : start + size]) in _PHRASES:
                found[start : start + size] = [True] * len(low[start : start + size])
    return found


class Question:
    """The question of a text. Words that it quotes in their order are not judged."""

    def __init__(self, text: str) -> None:
        self.folded = " ".join(text.casefold().split())

    @cached_property
    def words(self) -> list[str]:
        """Its words, in order."""
        return WORD.findall(self.folded)

    @cached_property
    def known(self) -> frozenset[str]:
        """Its words, to look up."""
        return frozenset(self.words)

    @cached_property
    def letters(self) -> frozenset[str]:
        """Its letters, to look up."""
        return frozenset(self.folded)

    @cached_property
    def threes(self) -> set[tuple[str, ...]]:
        """Every three words in a row."""
        return set(zip(self.words, self.words[1:], self.words[2:], strict=False))

    def quotes(self, words: list[str], first: int, last: int) -> list[bool]:
        """Mark words quoted from here. `first` and `last` delimit the stretch in its context."""
        low = [word.casefold() for word in words]
        covered = [False] * len(low)
        if not self.folded or (self.known.isdisjoint(low) and self.letters.isdisjoint(low)):
            return covered
        if sum(map(self.known.__contains__, low)) >= THREE:
            for i, three in enumerate(zip(low, low[1:], low[2:], strict=False)):
                if three in self.threes:
                    covered[i : i + 3] = [True] * 3
        letters = [i for i, word in enumerate(low) if len(word) == 1]
        for i, after in pairwise(letters):
            if after == i + 1 and low[i] + low[after] in self.folded:
                covered[i : i + 2] = [True] * 2  # a script without spaces, letter by letter
        if last - first <= 2 and all(word in self.known for word in low[first:last]):
            covered[first:last] = [True] * (last - first)
        if any(covered):
            for i in letters:  # a letter that a number or a mark keeps apart
                near = covered[max(0, i - 1) : i + 2]
                covered[i] |= any(near) and low[i] in self.folded
        return covered
