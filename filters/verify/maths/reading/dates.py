"""Days of the year in words: March 14, 14 March 2024, Mar. 14th."""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths.forms import Words
from filters.verify.maths.reading.tokens import Token

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_ENDINGS = frozenset(("st", "nd", "rd", "th", "of", ",", ".", "the", "\\text"))
_MAX_TOKENS = 8


def read_date(tokens: Sequence[Token]) -> Words | None:
    """A month with a day, and a year or none, in one spelling; None for anything else.

    A group around the ending of a day, 14^{th}, is left out.
    """
    if len(tokens) > _MAX_TOKENS:
        return None
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
