"""The symbolic path: math-verify, run inside `pool`'s workers only.

Its own timeouts are alarms, which need a main thread, cancel the caller's alarm and cannot stop C
code; they are switched off here, and the pool's deadline takes their place.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypedDict

from filters.verify import answer_forms, exact

TASK = "filters.verify.symbolic:judge"

_DEGREES = re.compile(r"(\d+(?:\.\d+)?) ?\\degree")

Finding = Literal["equal", "different", "bad_reference", "unparseable", "readable"]


class Question(TypedDict):
    """Two normalised answers; `answer` None asks only whether the reference can be read."""

    reference: str
    answer: str | None


def judge(question: Question) -> Finding:
    """Whether an answer equals its reference, as math-verify sees it and our policy allows."""
    from math_verify import verify

    references = _parse(question["reference"])
    if not references:
        return "bad_reference"
    if question["answer"] is None:
        return "readable"
    answers = _parse(question["answer"])
    if not answers:
        return "unparseable"
    if not verify(
        list(references), list(answers), timeout_seconds=None, allow_set_relation_comp=True
    ):
        return "equal" if _rounded(question, references[0], answers[0]) else "different"
    near = _near(question, references[0], answers[0])
    return "different" if near is False else "equal"


def warm_up() -> None:
    """Run once before forking: builds the parser's tables and compiles its expressions."""
    logging.disable(logging.WARNING)
    judge({"reference": r"\frac{\sqrt{2}}{2}", "answer": r"\sin(\pi/4)"})


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Any, ...]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    found = parse(
        "$" + _DEGREES.sub(r"(\1\\cdot\\pi/180)", text) + "$",
        extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return tuple(found)


def _near(question: Question, reference: Any, answer: Any) -> bool | None:
    """Whether two numbers called equal really are: math-verify rounds to six decimals, which makes
    all tiny numbers equal. None where they are not numbers."""
    wanted, given = _number(reference), _number(answer)
    if wanted is None or given is None:
        return None
    if abs(wanted - given) <= abs(wanted) * Fraction(1, 10**12):
        return True
    return _agrees(question, wanted, given)


def _rounded(question: Question, reference: Any, answer: Any) -> bool:
    """Whether the rounding policy accepts what math-verify does not (12.57 for 4π)."""
    wanted, given = _number(reference), _number(answer)
    return wanted is not None and given is not None and _agrees(question, wanted, given)


def _agrees(question: Question, wanted: Fraction, given: Fraction) -> bool:
    sides = answer_forms.parse(question["reference"]), answer_forms.parse(question["answer"] or "")
    literals = [
        side.value.literal if isinstance(side, answer_forms.Quantity) else None for side in sides
    ]
    if literals == [None, None]:
        return False
    return exact.agrees(wanted, literals[0], given, literals[1])


def _number(expression: Any) -> Fraction | None:
    """A real constant's value to forty digits; None for anything else."""
    if not getattr(expression, "is_number", False) or not expression.is_real:
        return None
    value = expression.doit().evalf(40)
    return Fraction(str(value)) if value.is_Float or value.is_Rational else None
