"""The form of a normalised answer: all of it, or None."""

from __future__ import annotations

import re
from functools import lru_cache

from filters.verify.maths import nodes
from filters.verify.maths.chemistry import read_formula
from filters.verify.maths.forms import Form, Notation, Value
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.answers import read_whole
from filters.verify.maths.reading.notation import read_notation
from filters.verify.maths.reading.numerals import number_of
from filters.verify.maths.reading.tokens import Token, tokenize

MAX_LENGTH = 2_000

_NUMBER = re.compile(r"-?(?:\d{1,300}(?:\.\d{1,100})?|\.\d{1,100})")


def parse(text: str) -> Form | None:
    """The form a normalised answer spells; None where it is none of those read here."""
    found = read(text)
    return None if isinstance(found, str) else found


@lru_cache(maxsize=65_536)
def read(text: str) -> Form | str:
    """The form a normalised answer spells, or why it could not be read."""
    if _NUMBER.fullmatch(text):
        value = number_of(text.lstrip("-"))
        return Value(nodes.negate(value) if text[0] == "-" else value)
    if not text:
        return "nothing is there"
    if len(text) > MAX_LENGTH:
        return "too long"
    tokens: list[Token] = []
    try:
        tokens = tokenize(text)
        return read_whole(tokens)
    except Unreadable as problem:
        formula = read_formula(text)
        if formula is not None:
            return Notation((formula,))
        return (read_notation(tokens) if tokens else None) or str(problem)
    except RecursionError:
        return "nested too deeply"
