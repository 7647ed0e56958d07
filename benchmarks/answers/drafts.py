"""What a maker of answers returns, and the draws that makers share."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from .tree import Node, add, draw_style, equal, miss, mul, neg, num, rewrite, root, spell, sub


class Answer(NamedTuple):
    """An answer as LaTeX to be wrapped; `whole` where it is a finished sentence with its boxes."""

    text: str
    whole: bool = False


class Draft(NamedTuple):
    """One value: spellings of the reference, of the same value, and of near misses."""

    references: list[str]
    right: list[Answer]
    wrong: list[Answer]


Maker = Callable[[random.Random], Draft]


def draft(references: list[str], right: list[str | Answer], wrong: list[str | Answer]) -> Draft:
    def answers(given: list[str | Answer]) -> list[Answer]:
        return [one if isinstance(one, Answer) else Answer(one) for one in given]

    same = {one.text for one in answers(right)} | set(references)
    return Draft(
        references, answers(right), [one for one in answers(wrong) if one.text not in same]
    )


def of_tree(node: Node, draw: random.Random, also: tuple[Node, ...] = ()) -> Draft:
    """Spellings of a tree and of `also` (equal trees in another form), near misses by `miss`."""
    for other in also:
        if equal(node, other) is not True:
            raise AssertionError(f"not equal: {spell(node)} and {spell(other)}")
    right, wrong = [], []
    for _ in range(8):
        other = rewrite(draw.choice((node, *also)), draw)
        if equal(node, other) is True:
            right.append(Answer(spell(other, draw_style(draw))))
    for _ in range(14):
        other = miss(rewrite(draw.choice((node, *also)), draw), draw)
        if equal(node, other) is False:
            wrong.append(Answer(spell(other, draw_style(draw))))
    return Draft([spell(node), spell(node, draw_style(draw))], right, wrong)


def draw_fraction(draw: random.Random, low: int = -30, high: int = 30) -> Fraction:
    while True:
        value = Fraction(draw.randint(low, high), draw.randint(2, 19))
        if value.denominator > 1:
            return value


def draw_value(draw: random.Random) -> Node:
    """A member of a list or a coordinate: an integer, a fraction, a surd."""
    kind = draw.random()
    if kind < 0.55:
        return num(Fraction(draw.randint(-20, 40)))
    if kind < 0.8:
        return num(draw_fraction(draw))
    surd = root(num(draw.choice((2, 3, 5, 7, 11, 13))))
    if kind < 0.9:
        return mul(num(draw.randint(2, 9)), surd)
    return draw.choice((add, sub))(num(draw.randint(1, 9)), surd)


def draw_values(draw: random.Random, n: int) -> list[Node]:
    """`n` different values."""
    values: list[Node] = []
    while len(values) < n:
        new = draw_value(draw)
        if all(equal(new, old) is False for old in values):
            values.append(new)
    return values


def other_value(value: Node, draw: random.Random, apart: list[Node] | None = None) -> Node:
    """A near miss of a value, different from each of `apart`."""
    while True:
        new = miss(value, draw) if draw.random() < 0.8 else neg(value)
        if all(equal(new, old) is False for old in [value, *(apart or [])]):
            return new
