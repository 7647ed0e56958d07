"""Numbers as they are written: decimals, scientific notation, mixed numbers, English words."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.nodes import Literal, Node, Unreadable

MAX_DIGITS = 400

_UNDER_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_TENS = """
twenty thirty forty fifty sixty seventy eighty ninety
"""
_SMALL = {word: value for value, word in enumerate(_UNDER_TWENTY.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), 2)
}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NUMBER_WORDS = _SMALL.keys() | _LARGE.keys() | {"hundred"}
_ORDINALS = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}


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


def read_number_words(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """The number that English words begin with, and how many of the words spell it.

    >>> read_number_words(["two", "hundred", "and", "six", "apples"])
    (Fraction(206, 1), 4)
    >>> read_number_words(["twenty-one"]), read_number_words(["two", "thirds"])
    ((Fraction(21, 1), 1), (Fraction(2, 3), 2))
    """
    words = [word.lower() for word in words]
    if words[:1] in (["minus"], ["negative"]):
        found = _cardinal(words[1:])
        return None if found is None else (Fraction(-found[0]), found[1] + 1)
    found = (1, 1) if words[0] == "a" else _cardinal(words)
    if found is None and len(words) == 1 and words[0].count("-") == 1:
        words = words[0].split("-")  # two-thirds
        found = _cardinal(words)
        fraction = None if found is None else _fraction(words, *found)
        return None if fraction is None else (fraction[0], 1)
    if found is None:
        return None
    fraction = _fraction(words, *found)
    if fraction is None and words[found[1] : found[1] + 1] == ["and"]:
        rest = words[found[1] + 1 :]
        small = (1, 1) if rest[:1] == ["a"] else _cardinal(rest)
        part = _fraction(rest, *small) if small is not None else None
        if part is not None:  # two and a half
            return found[0] + part[0], found[1] + 1 + part[1]
    if fraction is not None:
        return fraction
    return (Fraction(found[0]), found[1]) if words[0] != "a" else None


def read_ordinal_word(word: str) -> int | None:
    """Which place an English word names: seventh, twenty-first.

    >>> read_ordinal_word("seventh"), read_ordinal_word("twenty-first"), read_ordinal_word("one")
    (7, 21, None)
    """
    head, dash, last = word.lower().rpartition("-")
    spelled = _ORDINALS.get(last)
    if spelled is None and last.endswith("ieth"):
        spelled = last[:-4] + "y"
    elif spelled is None and last.endswith("th"):
        spelled = last[:-2]
    found = _cardinal([f"{head}{dash}{spelled}"]) if spelled is not None else None
    return found[0] if found is not None else None


def _cardinal(words: Sequence[str]) -> tuple[int, int] | None:
    """A whole number in words, and how many of them spell it; None where the first is none."""
    total = group = used = 0
    last = "start"
    scale = 10**15
    for position, word in enumerate(words):
        pieces = word.split("-")
        if word == "and" and last == "hundred" and _starts(words[position + 1 : position + 2]):
            continue
        if not set(pieces) <= _NUMBER_WORDS:
            break
        for piece in pieces:
            if piece == "hundred":
                if not 0 < group < 100 or last not in ("unit", "teen"):
                    return None
                group, last = group * 100, "hundred"
            elif piece in _LARGE:
                if not group or _LARGE[piece] >= scale:
                    return None
                scale = _LARGE[piece]
                total, group, last = total + group * scale, 0, "hundred"
            else:
                value = _SMALL[piece]
                kind = "unit" if value < 10 else "teen" if value < 20 else "ten"
                if last in ("unit", "teen") or (last == "ten" and (kind != "unit" or not value)):
                    return None
                group, last = group + value, kind
        used = position + 1
    return (total + group, used) if used else None


def _starts(words: Sequence[str]) -> bool:
    return bool(words) and words[0].split("-")[0] in _SMALL


def _fraction(words: Sequence[str], top: int, used: int) -> tuple[Fraction, int] | None:
    """The proper fraction whose numerator the first `used` words spell."""
    if used >= len(words):
        return None
    word = words[used]
    bottom = _PARTS.get(word) or read_ordinal_word(word.removesuffix("s"))
    if bottom is None or word in ("second", "seconds") or not 0 < top < bottom:
        return None
    return Fraction(top, bottom), used + 1
