"""n \\equiv 3 \\pmod 7: the integers that leave a remainder."""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths import nodes
from filters.verify.maths.forms import Family, Form, Group, Named, Parameter, Value
from filters.verify.maths.nodes import Node, Unreadable
from filters.verify.maths.reading.numerals import number_of
from filters.verify.maths.reading.pieces import split
from filters.verify.maths.reading.tokens import Token

MAX_MODULUS = 10**9
MAX_REMAINDERS = 64
_MOD = ("\\pmod", "\\bmod", "\\mod")
_MULTIPLE = "multiple"
"""The parameter's name: no letter of an answer has it."""


def read_congruence(tokens: Sequence[Token]) -> Form | None:
    """One letter's remainders as a family of values; None for anything else."""
    texts = [token.text for token in tokens]
    marks = [at for at, text in enumerate(texts) if text in _MOD]
    if len(marks) != 1 or texts[1:2] != ["\\equiv"] or tokens[0].kind != "letter":
        return None
    at = marks[0]
    modulus = [text for text in texts[at + 1 :] if text not in ("{", "}", "(", ")")]
    end = at - 1 if texts[at - 1] == "(" else at
    if len(modulus) != 1 or not modulus[0].isdigit() or not 1 < int(modulus[0]) <= MAX_MODULUS:
        return None
    try:
        pieces, joined = split(tokens[2:end])
        remainders = [_remainder(piece) for piece in pieces]
    except Unreadable:
        return None
    if not remainders or len(remainders) > MAX_REMAINDERS or joined == "and":
        return None
    step = Node("multiply", (nodes.number(int(modulus[0])), nodes.symbol(_MULTIPLE)))
    values = tuple(Value(Node("add", (nodes.number(r), step))) for r in sorted(set(remainders)))
    form: Form = values[0] if len(values) == 1 else Group("", values, "or")
    return Family(Named(texts[0], form), (Parameter(_MULTIPLE, "Z"),))


def _remainder(tokens: Sequence[Token]) -> int:
    negative = tokens[0].text == "-"
    rest = tokens[negative:]
    if len(rest) != 1 or rest[0].kind != "number" or not rest[0].text.isdigit():
        raise Unreadable("a remainder")
    value = number_of(rest[0].text).value
    assert value is not None
    return -int(value) if negative else int(value)
