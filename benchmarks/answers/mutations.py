"""Answers one character away from given references, and which of them the oracle calls equal."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

from .oracle import same

ALPHABET = "0123456789+-*/^=<>xyabt()[],.\\ !|'π∞"
_BRACKETS = "{}$"


class Mutation(NamedTuple):
    """`equal` by the oracle's numbers; None where it cannot read one of the two."""

    source: str
    reference: str
    answer: str
    equal: bool | None


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
        balance = [new.count(char) for char in _BRACKETS] == [bare.count(char) for char in _BRACKETS]
        if new.strip() in ("", bare.strip()) or not balance:
            continue
        made.append(Mutation(source, reference, new, same(bare, new)))
    return made


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
