"""Days of the year: March 14, 14 March 2024, Mar. 14th, 2024-03-14; and ordinals, 1st."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.verify.maths.forms import Words
from filters.verify.maths.reading.tokens import Token

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_ENDINGS = frozenset(("st", "nd", "rd", "th", "of", ",", ".", "the", "\\text"))
_MAX_TOKENS = 8
_ISO = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/([12]\d{3})")
_ORDINAL = re.compile(r"(\d+)(?:\^?\{?)(?:\\text\{)?(st|nd|rd|th)\}{0,2}")


def read_ordinal(tokens: Sequence[Token]) -> Words | None:
    """1st, 22^{nd}; None for anything else. It is no product of 1, s and t."""
    if not 2 <= len(tokens) <= _MAX_TOKENS or tokens[0].kind != "number":
        return None
    found = _ORDINAL.fullmatch("".join(token.text for token in tokens))
    return Words(f"ordinal {found[1]} {found[2]}") if found is not None else None


def ordinal(place: int) -> Words:
    """The form of a place: 21 as 21st."""
    teens = place % 100 in (11, 12, 13)
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return Words(f"ordinal {place} {ending}")


def read_date(tokens: Sequence[Token]) -> Words | None:
    """A month with a day, and a year or none, in one spelling; None for anything else.

    A group around the ending of a day, 14^{th}, is left out. Of 03/04/2021 nobody knows which
    number is the month: it stays as it is written.
    """
    if len(tokens) > _MAX_TOKENS:
        return None
    if len(tokens) == 5 and tokens[0].kind == tokens[4].kind == "number":
        text = "".join(token.text for token in tokens)
        iso, slashed = _ISO.fullmatch(text), _SLASHED.fullmatch(text)
        if iso is not None:
            return Words(f"date {int(iso[2])} {int(iso[3])} {iso[1]}")
        if slashed is not None:
            return Words(f"day {int(slashed[1])}/{int(slashed[2])}/{slashed[3]}")
    month, numbers = 0, []
    for token in tokens:
        text = token.text.lower()
        if token.kind == "number" and token.text.isdigit():
            numbers.append(int(token.text))
        elif token.kind in ("word", "letter") and len(text) > 2 and not month:
            month = next((n for n, name in enumerate(MONTHS, 1) if _is_month(text, name)), 0)
            if not month:
                return None
        elif text not in _ENDINGS | {"^", "{", "}", "t", "h", "s", "n", "d", "r"}:
            return None
    days = [number for number in numbers if 1 <= number <= 31]
    years = [number for number in numbers if 1000 <= number <= 2999]
    if not month or len(days) != 1 or len(days) + len(years) != len(numbers) or len(years) > 1:
        return None
    return Words(" ".join(map(str, ["date", month, *days, *years])))


def _is_month(text: str, name: str) -> bool:
    return text == name or (text in (name[:3], name[:4]) and name != "may")
