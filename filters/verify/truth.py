"""Three-valued truth: True, False, or None where a comparison could not decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Truth = bool | None
T = TypeVar("T")


def every(verdicts: Sequence[Truth]) -> Truth:
    """Whether all hold: one False decides, else one None leaves it open."""
    return False if False in verdicts else None if None in verdicts else True


def some(verdicts: Sequence[Truth]) -> Truth:
    """Whether one holds: one True decides, else one None leaves it open."""
    return True if True in verdicts else None if None in verdicts else False


def matched(wanted: Sequence[T], given: Sequence[T], same: Callable[[T, T], Truth]) -> Truth:
    """Whether these are the same things in some order."""
    if len(wanted) != len(given):
        return False
    left, doubt = list(given), False
    for item in wanted:
        verdicts = [same(item, other) for other in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            doubt = True
        else:
            return False
    return None if doubt else True
