"""Plain numbers in prose: what they are, and whether they are another value than the answer."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_DIGITS = 60

_NUMBER = re.compile(r"(?:[-−]?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+)")
_FRACTION = re.compile(
    r"(-?)(?:\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)\s*(\d))|(?<!\d)(\d+)\s*/\s*(\d+))"
)
_VALUE = re.compile(r"(?<!\d)\d+\s*/\s*\d+|(?:[-−]?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+)\s?%?")


def differ(text: str, other: str) -> bool:
    """Whether both are plain numbers, and not the same.

    >>> differ("12", "13"), differ("12", "12.0"), differ("1/2", "0.5"), differ("x", "13")
    (True, False, False, False)
    """
    values = [number_of(side) for side in (text, other)]
    return None not in values and values[0] != values[1]


def number_of(text: str) -> Fraction | None:
    """The value of a plain number, a fraction of two or a percentage; None of anything else."""
    written = text.strip().strip("$*.。 ()[]").removeprefix("\\(").removesuffix("\\)").strip()
    if len(written) > MAX_DIGITS:
        return None
    if fraction := _FRACTION.fullmatch(written):
        above, below = (int(part) for part in fraction.groups()[1:] if part is not None)
        return Fraction(-above if fraction[1] else above, below) if below else None
    percent = written.endswith("%")
    written = written.rstrip("%\\ ").replace("−", "-")
    if _NUMBER.fullmatch(written) is None:
        return None
    return Fraction(written.replace(",", "")) / (100 if percent else 1)


def gives_another(sentence: str, text: str) -> bool:
    """Whether a sentence without an equation gives numbers, and the answer is none of them."""
    wanted = number_of(text)
    if wanted is None or any(sign in sentence for sign in "=^×·+*≈"):
        return False
    numbers = [number_of(value) for value in values_in(sentence)]
    return bool(numbers) and wanted not in numbers


def values_in(text: str) -> list[str]:
    """The plain numbers of a text as written: integers, decimals, percentages, 3/4."""
    return [found[0] for found in _VALUE.finditer(text)]


def write_fractions(text: str) -> str:
    """A text with each LaTeX fraction of two numbers as 3/4."""
    if "frac" not in text:
        return text
    return _FRACTION.sub(
        lambda found: (
            f" {found[1]}{found[2] or found[4] or found[6]}/{found[3] or found[5] or found[7]} "
        ),
        text,
    )
