"""What runs in the pool's workers: one question, decided with numbers where need be."""

from __future__ import annotations

from typing import Literal, TypedDict

TASK = "filters.verify.maths.decide:decide"

Finding = Literal["equal", "different", "undecided"]


class Question(TypedDict):
    """Two normalised answers that can both be read."""

    reference: str
    answer: str


def decide(question: Question) -> Finding:
    """Whether the answer equals the reference. Raises whatever a hostile answer makes it raise."""
    from filters.verify.maths.compare import Comparison
    from filters.verify.maths.parse import parse
    from filters.verify.maths.same_values import Values

    sides = parse(question["reference"]), parse(question["answer"])
    if sides[0] is None or sides[1] is None:
        return "undecided"
    verdict = Comparison(Values(hard=True)).same(sides[0], sides[1])
    return "undecided" if verdict is None else "equal" if verdict else "different"


def warm_up() -> None:
    """Run once before forking: imports what the decisions need."""
    decide({"reference": r"\\sin 1 \\cos x", "answer": r"\\cos x \\sin 1"})
    decide({"reference": "x^2=1", "answer": "x^4=1"})
