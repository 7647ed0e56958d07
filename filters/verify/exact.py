"""The fast path: does this answer equal that reference? True, False, or None for undecided."""

from __future__ import annotations

from filters.verify.latex import normalise
from filters.verify.maths.compare import Comparison
from filters.verify.maths.forms import Form
from filters.verify.maths.parse import parse
from filters.verify.maths.same_values import Values
from filters.verify.truth import Truth

_EXACT = Comparison(Values())


def compare(reference: str, answer: str) -> Truth:
    """Whether `answer` equals `reference`; None where this path cannot tell."""
    return same(parse(normalise(reference)), parse(normalise(answer)))


def same(reference: Form | None, answer: Form | None) -> Truth:
    """`compare`, of parsed sides; None where one could not be read."""
    if reference is None or answer is None:
        return None
    return _EXACT.same(reference, answer)
