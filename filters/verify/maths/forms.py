"""The typed forms of an answer. What is none of these is not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from filters.verify.maths.nodes import Node
from filters.verify.maths.units import Unit


@dataclass(frozen=True, slots=True)
class Value:
    """A number or expression, with what was written after it.

    `others`: further readings of the same spelling. `approximate`: it was written after ≈.
    """

    node: Node
    unit: Unit | None = None
    percent: bool = False
    approximate: bool = False
    compound: bool = False  # 3 ft 4 in
    others: tuple[Form, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """Words alone, casefolded; or the name of nothing (no solution) or of a set without numbers.

    `short`: what is said, where `text` also says of what: "the series converges".
    """

    text: str
    short: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Several things. `ends`: "()", "[]", "[)", "(]", "{}" as written, or "" for a bare list.

    `joined`: "and", "or", ";" or "" (commas alone) between the items of a list.
    """

    ends: str
    items: tuple[Form, ...]
    joined: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers that is a union of pieces: intervals and finite sets. `without`: points
    removed from it."""

    pieces: tuple[Group, ...]
    without: tuple[Form, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """What an answer calls what it gives: x = 5, f(x) = …, x ∈ [0, 1], x > 3 as an interval."""

    name: str
    form: Form


class Parameter(NamedTuple):
    """A letter that stands for many values. `domain`: Z, N, Q, R, C, odd, even, constant, or ""
    where none is given; `region`: the interval or set it lies in."""

    name: str
    domain: str
    region: Form | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A form for each value of its parameters: x = π/4 + kπ, k ∈ Z. A parameter that is the form's
    own name says which of its numbers are meant: the integers n ≥ 4."""

    form: Form
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """sides[0] signs[0] sides[1] …, not solved for a name. Signs: = < <= ne, and ~ for ≈."""

    sides: tuple[Value, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True, slots=True)
class Piecewise:
    """(value, condition) pairs; the condition None for "otherwise"."""

    branches: tuple[tuple[Form, Form | None], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """a : b : c."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words and formulas in turn, as an answer in prose mixes them: the words (and signs that only
    divide) casefolded, the formulas as forms."""

    parts: tuple[str | Form, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """An option's letter, alone or with what it says: (C) 14."""

    letter: str
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Notation:
    """Signs that are not computed with, each in one spelling: \\triangle A B C, 1 + 2 + \\dots."""

    texts: tuple[str, ...]


Form = (
    Value
    | Words
    | Group
    | Region
    | Named
    | Family
    | Relation
    | Matrix
    | Piecewise
    | Ratio
    | Based
    | Phrase
    | Choice
    | Notation
)
