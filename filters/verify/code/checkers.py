"""Comparing what a program gave with what it should have given. Happens outside the sandbox.

A comparison answers None for a match, else what differs, in a few words.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

Comparison = Callable[[str, str], str | None]
"""(output, expected) → what differs."""

ABSOLUTE, RELATIVE = 1e-6, 1e-9
"""How far a float may be off. The first is what contest statements usually grant, of values from 1;
below it shrinks with the value, but not below half a unit of the last digit that the expected value
shows: 0 is not 0.0000001. The second only keeps large values from asking for more digits than a
double has."""

_LONGEST_NUMBER = 64
_MOST_DIGITS = 4000
_FLOAT = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def tokens(output: str, expected: str) -> str | None:
    """Words equal one by one; close numbers pass only where the expected word is a float."""
    return _sequence(output.split(), expected.split(), "token")


def case_insensitive(output: str, expected: str) -> str | None:
    """`tokens`, where YES is yes."""
    return tokens(output.casefold(), expected.casefold())


def lines(output: str, expected: str) -> str | None:
    """Lines equal to the letter, but for space at their ends and empty lines at the end."""
    return _first_difference(_lines(output), _lines(expected), "line")


def exact(output: str, expected: str) -> str | None:
    """Equal to the letter, but for one last newline."""
    same = output.removesuffix("\n") == expected.removesuffix("\n")
    return None if same else "the output differs"


def unordered_lines(output: str, expected: str) -> str | None:
    """The same lines in any order."""
    got, wanted = Counter(_lines(output)), Counter(_lines(expected))
    for line in wanted - got:
        return f"the line {_short(line)} is missing"
    for line in got - wanted:
        return f"the line {_short(line)} is too much"
    return None


def result(output: str, expected: str) -> str | None:
    """JSON values equal in type and value: true is not 1, "1" is not 1, a list is no object.

    A float may be off where a float is expected, and an integral float may stand for an integer.
    """
    return _loaded(output, expected, _value)


def unordered_result(output: str, expected: str) -> str | None:
    """`result`, with the items of the outermost list in any order."""
    return _loaded(output, expected, _any_order)


STDIN_CHECKERS: dict[str, Comparison] = {
    "tokens": tokens,
    "case_insensitive": case_insensitive,
    "lines": lines,
    "exact": exact,
    "unordered_lines": unordered_lines,
}
CALL_CHECKERS: dict[str, Comparison] = {"result": result, "unordered": unordered_result}


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _sequence(got: Sequence[str], wanted: Sequence[str], noun: str) -> str | None:
    if got == wanted:
        return None
    if len(got) != len(wanted):
        return f"{len(got)} {noun}s, expected {len(wanted)}"
    for place, (one, other) in enumerate(zip(got, wanted, strict=True), 1):
        if one != other and not _close_tokens(one, other):
            return f"{noun} {place} is {_short(one)}, expected {_short(other)}"
    return None


def _first_difference(got: Sequence[str], wanted: Sequence[str], noun: str) -> str | None:
    for place, (one, other) in enumerate(zip(got, wanted, strict=False), 1):
        if one != other:
            return f"{noun} {place} is {_short(one)}, expected {_short(other)}"
    return None if len(got) == len(wanted) else f"{len(got)} {noun}s, expected {len(wanted)}"


def _close_tokens(got: str, wanted: str) -> bool:
    if max(len(got), len(wanted)) > _LONGEST_NUMBER or not _FLOAT.fullmatch(wanted):
        return False
    return bool(_NUMBER.fullmatch(got)) and _close(float(got), wanted)


def _close(got: float, wanted: str) -> bool:
    """Whether a number is close enough to an expected float as it is written."""
    value = float(wanted)
    if got == value or math.isinf(value):
        return got == value
    exponent = Decimal(wanted).as_tuple().exponent
    shown = 0.5 * 10.0 ** min(int(exponent), 0)
    granted = ABSOLUTE if value == 0 else max(ABSOLUTE * min(1.0, abs(value)), shown)
    return math.isclose(got, value, rel_tol=RELATIVE, abs_tol=min(ABSOLUTE, granted))


def _loaded(output: str, expected: str, compare: Callable[[Any, Any], str | None]) -> str | None:
    try:
        return compare(_read(output), _read(expected))
    except ValueError:
        return "the result is not JSON"
    except RecursionError:
        return "the result is nested too deeply"


def _read(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | Decimal:
    """Python reads no integer of more than 4,300 digits, in time that grows with their square."""
    return int(digits) if len(digits) <= _MOST_DIGITS else Decimal(digits)


def _value(got: Any, wanted: Any, where: str = "the result") -> str | None:
    if isinstance(wanted, list) and isinstance(got, list):
        if len(got) != len(wanted):
            return f"{where} has {len(got)} items, expected {len(wanted)}"
        pairs = enumerate(zip(got, wanted, strict=True))
        differences = (_value(one, other, f"item {place}") for place, (one, other) in pairs)
        return next((difference for difference in differences if difference), None)
    if isinstance(wanted, dict) and isinstance(got, dict):
        if got.keys() != wanted.keys():
            return f"{where} has other keys"
        differences = (_value(got[key], wanted[key], f"key {_short(key)}") for key in wanted)
        return next((difference for difference in differences if difference), None)
    if _same_scalar(got, wanted):
        return None
    return f"{where} is {_short(_dump(got))}, expected {_short(_dump(wanted))}"


def _dump(value: Any) -> str:
    return json.dumps(value, default=str)


def _same_scalar(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(got, bool):
        return got is wanted
    if isinstance(wanted, float):
        return isinstance(got, int | float) and _close(_as_float(got), repr(wanted))
    if isinstance(wanted, int) and isinstance(got, float):
        return abs(got) <= 2**53 and got == wanted
    return type(got) is type(wanted) and bool(got == wanted)


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer beyond any float
        return math.inf


def _any_order(got: Any, wanted: Any) -> str | None:
    if not isinstance(got, list) or not isinstance(wanted, list):
        return _value(got, wanted)
    return _value(sorted(got, key=_dump), sorted(wanted, key=_dump))


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
