"""Answers in words, and the letters of options."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.verify.maths import nodes
from filters.verify.maths.forms import Choice, Form, Value, Words
from filters.verify.maths.reading.dates import ordinal, read_date, read_ordinal
from filters.verify.maths.reading.numerals import read_number_words, read_ordinal_word
from filters.verify.maths.reading.tokens import AND, OR, Token
from filters.verify.maths.units import read_unit

MAX_WORDS = 12

NOTHING = "no solution"
_SYNONYMS = {
    "no solutions": NOTHING,
    "none": NOTHING,
    "empty set": NOTHING,
    "the empty set": NOTHING,
    "无解": NOTHING,
    "does not exist": "undefined",
    "dne": "undefined",
    "no real solutions": "no real solution",
    "convergent": "converges",
    "is convergent": "converges",
    "divergent": "diverges",
    "is divergent": "diverges",
    "has no solution": NOTHING,
    "has no solutions": NOTHING,
    "does not exists": "undefined",
    "undefined": "undefined",
    "is undefined": "undefined",
    "no such": "no such",
    "true": "true",
    "all real number": "all real numbers",
    "both": "both",
}
_CLOCK = re.compile(r"(1[0-2]|0?[1-9]):([0-5]\d)([ap])\.?m\.?", re.IGNORECASE)
_LETTERS = frozenset("ABCDEFGHIJ")
_OPENING = re.compile(
    r"(?:(?:there (?:is|are|exists?)|it is|it's|this is|they are) )?(?:(?:an?|the) )?(?=\w)"
)
_SUBJECT = re.compile(
    r"(?:series|sequence|limit|integral|statement|system|equation|claim)"
    r" (?=(?:is|has|does|converges|diverges)(?: |$))"
)
_KIND = "odd|even|positive|negative|nonnegative|non-negative|real|rational|nonzero|non-zero|prime"
_ALL = re.compile(
    rf"(?:all )(?P<adjectives>(?:(?:{_KIND}) )*)(?P<noun>integer|number|prime)s(?: [a-z])?"
)
_JOINTS = frozenset((",", "-", "'", "’", "."))


REALS = frozenset(("all real numbers", "all reals", "real numbers", "the real numbers"))


def read_words(tokens: Sequence[Token]) -> Form | None:
    """Words alone: their text, or the number they name. None where anything else is there."""
    if tokens[0].text == "\\emptyset" and len(tokens) == 1:
        return Words(NOTHING)
    if [token.text for token in tokens] == ["\\{", "\\}"]:
        return Words(NOTHING)
    date = read_date(tokens) or read_ordinal(tokens)
    if date is not None:
        return date
    clock = _CLOCK.fullmatch("".join(token.text for token in tokens[:9]))
    if clock is not None and tokens[2].text == clock[2]:
        return Words(f"{int(clock[1])}:{clock[2]} {clock[3].lower()}m")
    texts = []
    for position, token in enumerate(tokens):
        inner = 0 < position < len(tokens) - 1
        lone = token.kind == "letter" and position and len(token.text) == 1 and token.space
        joint = inner and token.text in _JOINTS and len(tokens) > 2
        if not (lone or joint or token.kind == "word"):
            return _bare_run(tokens)
        texts.append(token.text)
    if texts[0].lower() in AND | OR and len(texts) == 1:
        return None
    if len(texts) == 1 and len(texts[0]) == 1 and texts[0].isascii():
        if texts[0] in _LETTERS:
            return Choice(texts[0])
        return Value(nodes.symbol(texts[0]))
    if any(text.lower() in OR for text in texts):
        return None
    text = " ".join(texts).casefold().replace(" - ", "-").replace(" ' ", "'").replace(" ,", ",")
    counted = _counted(texts)
    if counted is not None:
        return counted
    if text in REALS:
        text = "all real numbers"
    return _words(text) if len(texts) <= MAX_WORDS else None


def _counted(texts: Sequence[str]) -> Form | None:
    """A number in words, alone or with what it counts; a place in words. None for other words."""
    words = [text for text in texts if text != "-"]
    found = read_number_words(words)
    if found is None:
        place = read_ordinal_word("-".join(words)) if len(words) < 3 else None
        return None if place is None else ordinal(place)
    value, used = found
    if used == len(words):
        return Value(nodes.number(value))
    unit = read_unit([(word, 1, 1) for word in words[used:]])
    scale, percent, measured = unit if unit is not None else (0, False, None)
    if scale != 1 or measured is None or not measured.known:
        return None
    return Value(nodes.number(value), measured, percent)


def _words(text: str) -> Words:
    """Words without what opens a sentence, and with what they say of a subject they name."""
    text = _SYNONYMS.get(text, text)
    opening = _OPENING.match(text)
    if opening is not None:
        text = text[opening.end() :]
    text = _described(_SYNONYMS.get(text, text))
    subject = _SUBJECT.match(text)
    if subject is None:
        return Words(text)
    said = text[subject.end() :]
    return Words(text, _SYNONYMS.get(said, said.removeprefix("is ")))


def _described(text: str) -> str:
    """all positive odd integers: the adjectives in one order, a letter after them left out."""
    found = _ALL.fullmatch(text)
    if found is None:
        return text
    adjectives = sorted(found["adjectives"].split())
    return " ".join(["all", *adjectives, found["noun"] + "s"])


def _bare_run(tokens: Sequence[Token]) -> Form | None:
    """A run of three letters and no space: a word for another such run, else a product."""
    letters = all(
        token.kind == "letter" and len(token.text) == 1 and (not position or not token.space)
        for position, token in enumerate(tokens)
    )
    if not letters or len(tokens) < 3:
        return None
    product = nodes.Node("multiply", tuple(_letter(token.text) for token in tokens))
    return Value(product, others=(Words("".join(token.text for token in tokens)),))


def _letter(name: str) -> nodes.Node:
    return {"e": nodes.E, "i": nodes.IMAGINARY}.get(name) or nodes.symbol(name)


def option_letter(tokens: Sequence[Token]) -> tuple[str, Sequence[Token]] | None:
    """An option's letter and what follows it: (C), C., C:, (C) 14, Option C."""
    texts = [token.text for token in tokens[:4]]
    if texts and texts[0].lower() in ("option", "choice", "answer") and len(texts) > 1:
        return option_letter(tokens[1:]) or None
    if len(texts) >= 3 and texts[0] == "(" and texts[1] in _LETTERS and texts[2] == ")":
        rest = tokens[3:]
        if rest and (rest[0].text in ("^", "_", "!", "'", "+", "-", "*", "/", "=", "(")):
            return None
        # A product in brackets, (A)5, is not what anybody writes; a letter with its value is.
        if not rest or rest[0].space or tokens[1].upright or rest[0].upright:
            return texts[1], rest
        return None
    if texts and texts[0] in _LETTERS and tokens[0].kind in ("letter", "word"):
        if len(texts) == 1:
            return texts[0], []
        if texts[1] in (".", ")") or (texts[1] == ":" and len(texts) > 2):
            return texts[0], tokens[2:]
    return None
