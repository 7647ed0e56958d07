"""Which of several answers are the same, and how much weight each has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from filters.verify.exact import same
from filters.verify.latex import normalise
from filters.verify.maths.forms import Choice, Phrase, Words
from filters.verify.maths.parse import parse


class Vote(NamedTuple):
    """A sample's answer, and whether it is right; None where the verdict is undecided."""

    answer: str | None
    right: bool | None = None
    weight: float = 1.0


class Tally(NamedTuple):
    """An answer as most of its voters wrote it, and its weight.

    `right` is True if a voter was found right, else False if one was found wrong, else None.
    """

    answer: str
    weight: float
    right: bool | None = None


def tally(votes: Sequence[Vote]) -> list[Tally]:
    """Return the answers with their weights, the heaviest first.

    Answers are merged where either is equal to the other as a reference. Samples without an answer
    do not vote.
    """
    spelled: dict[str, Tally] = {}
    for vote in votes:
        if not vote.answer:
            continue
        text = normalise(vote.answer)
        own = Tally(text, vote.weight, vote.right)
        spelled[text] = _merge(spelled[text], own) if text in spelled else own
    values: list[Tally] = []
    for one in sorted(spelled.values(), key=_by_weight):
        for at, known in enumerate(values):
            if _have_same_value(known.answer, one.answer):
                values[at] = _merge(known, one)
                break
        else:
            values.append(one)
    return sorted(values, key=_by_weight)


def measure_margin(found: Sequence[Tally], votes: int) -> float:
    """Return how far the first answer leads the second, as a share of `votes`; 0 without votes.

    >>> measure_margin([Tally("7", 3.0), Tally("8", 1.0)], 4)
    0.5
    """
    if not found or not votes:
        return 0.0
    second = found[1].weight if len(found) > 1 else 0.0
    return (found[0].weight - second) / votes


def is_mathematics(answer: str) -> bool:
    """Return whether an answer may stand in for a reference: it is read, and not as words alone.

    >>> is_mathematics("x = 3"), is_mathematics("I can't say"), is_mathematics("yes")
    (True, False, False)
    """
    form = parse(answer)
    return form is not None and not isinstance(form, Words | Phrase | Choice)


def _merge(one: Tally, other: Tally) -> Tally:
    known = [right for right in (one.right, other.right) if right is not None]
    return Tally(one.answer, one.weight + other.weight, any(known) if known else None)


def _by_weight(one: Tally) -> tuple[float, str]:
    return -one.weight, one.answer


def _have_same_value(one: str, other: str) -> bool:
    """Return True if either answer is equal to the other as a reference."""
    left, right = parse(one), parse(other)
    return same(left, right) is True or same(right, left) is True
