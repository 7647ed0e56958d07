"""Numbers as they are written: decimals, scientific notation, mixed numbers."""

from __future__ import annotations

from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.nodes import Literal, Node, Unreadable

MAX_DIGITS = 400


def number_of(text: str) -> Node:
    """A number token's value and written precision."""
    text = text.replace(",", "")
    if len(text) > MAX_DIGITS:
        raise Unreadable("too many digits")
    if "(" in text:  # 0.1(6): a repeating decimal
        fixed, _, cycle = text.rstrip(")").partition("(")
        whole, _, part = fixed.partition(".")
        tail = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(part))
        head = Fraction(int(whole + part or "0"), 10 ** len(part))
        return nodes.number(head + tail)
    digits, mark, exponent = text.partition("e" if "e" in text else "E")
    whole, _, part = digits.partition(".")
    power = int(exponent) if mark else 0
    if abs(power) > MAX_DIGITS:
        raise Unreadable("an exponent too large")
    value = Fraction(int(whole + part or "0")) * Fraction(10) ** (power - len(part))
    if not part:
        return nodes.number(value)
    return nodes.number(value, Literal(len(part) - power, len((whole + part).lstrip("0"))))


def scientific(factors: list[Node]) -> list[Node]:
    """2.5 × 10^3 is one number; its decimals say how precisely it is known."""
    if len(factors) != 2 or factors[0].head != "number" or factors[1].head != "power":
        return factors
    base, exponent = factors[1].args
    to, digits = exponent.value, factors[0]
    if (
        base.head != "number"
        or base.value != 10
        or base.literal
        or to is None
        or digits.value is None
    ):
        return factors
    if to.denominator != 1 or abs(to) > MAX_DIGITS:
        return factors
    written = digits.literal
    literal = Literal(written.decimals - int(to), written.significant) if written else None
    return [nodes.number(digits.value * Fraction(10) ** int(to), literal)]


def mixed_number(whole: Node, top: Fraction | None, bottom: Fraction | None) -> Node:
    """whole top/bottom, with the sign of the whole. Raises Unreadable."""
    if whole.value is None or top is None or bottom is None or whole.value.denominator != 1:
        raise Unreadable("a mixed number of something else")
    if not 0 < top < bottom or top.denominator != 1 or bottom.denominator != 1:
        raise Unreadable("not a mixed number")
    value = abs(whole.value) + top / bottom
    return nodes.number(-value if whole.value < 0 else value)
