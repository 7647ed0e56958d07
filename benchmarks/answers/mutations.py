"""Answers one character away from given references, and which of them the oracle calls equal."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from .oracle import COUNTED, readable, same

ALPHABET = "0123456789+-*/^=<>xyabt()[],.\\ !|'π∞"
_BRACKETS = "{}$"
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_SYMMETRIC = re.compile(r"binom|mod|circ|angle|\b[CP]\(|floor|ceil")
"""Where another number may be the same value."""


KINDS = {
    "different": "another value, by the oracle's numbers",
    "equal": "the same value still",
    "word": "the same number, another word in brackets behind it: for people to decide",
    "broken": "the oracle reads the reference, not the mutation: no verdict",
    "not read": "the oracle reads neither: no verdict",
}


class Mutation(NamedTuple):
    """What became of a reference: see `KINDS`."""

    source: str
    reference: str
    answer: str
    kind: str


def read_references(path: Path) -> list[tuple[str, str]]:
    """(set, reference) of JSON lines."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [(str(row["set"]), str(row["reference"])) for row in rows]


def mutate(references: list[tuple[str, str]], seed: int, n: int) -> list[Mutation]:
    """`n` mutations: a character changed, dropped, doubled, inserted, or two exchanged.

    Braces and dollars stay, which bound the box and the formula rather than the answer.
    """
    draw = random.Random(seed)
    made: list[Mutation] = []
    while len(made) < n:
        source, reference = draw.choice(references)
        bare = _bare(reference)
        new = _mutate(bare, draw)
        balance = [new.count(char) for char in _BRACKETS] == [
            bare.count(char) for char in _BRACKETS
        ]
        if new.strip() in ("", bare.strip()) or not balance:
            continue
        made.append(Mutation(source, reference, new, _kind(bare, new)))
    return made


def _kind(reference: str, new: str) -> str:
    verdict = same(reference, new)
    if verdict is None:
        verdict = _same_text(reference, new)
    if verdict is not None:
        return "equal" if verdict else "different"
    words = [COUNTED.fullmatch(text.strip()) for text in (reference, new)]
    if words[0] and words[1] and words[0][1] == words[1][1]:
        return "word"
    return "broken" if readable(reference) or words[0] else "not read"


def _same_text(first: str, second: str) -> bool | None:
    """What the characters alone decide of one change: only blanks differ, or only a number does."""
    if first.split() == second.split():
        return True
    if _SYMMETRIC.search(first + second):
        return None
    # A blank between two digits keeps two numbers apart.
    texts = [re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text) for text in (first, second)]
    if _NUMBER.sub("0", texts[0]) != _NUMBER.sub("0", texts[1]):
        return None
    numbers = [[Decimal(number) for number in _NUMBER.findall(text)] for text in texts]
    return None if numbers[0] == numbers[1] else False


def _bare(reference: str) -> str:
    text = reference.strip()
    if text.startswith("$") and text.endswith("$") and text.count("$") == 2:
        return text[1:-1].strip()
    return text


def _mutate(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    kind = draw.randrange(5)
    if kind == 0:
        return text[:at] + draw.choice(ALPHABET) + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    if kind == 3:
        return text[:at] + draw.choice(ALPHABET) + text[at:]
    return text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]
