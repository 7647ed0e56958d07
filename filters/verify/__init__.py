"""The verifiers, by the `kind` in a prompt's verifier mapping.

Named by path and imported on use, so that judging maths imports no sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.core.plugins import look_up

if TYPE_CHECKING:
    from filters.verify.verification import Verifier

VERIFIERS = {
    "math": "filters.verify.mathematics:MathVerifier",
    "choice": "filters.verify.choice:ChoiceVerifier",
    "text": "filters.verify.text_answer:TextVerifier",
    "json": "filters.verify.json_answer:JsonVerifier",
    "gym": "filters.verify.gym:GymVerifier",
    "arithmetic": "filters.verify.arithmetic:ArithmeticVerifier",
    "code": "filters.verify.code:CodeVerifier",
}


def verifier_class(kind: str) -> type[Verifier]:
    """The class behind a kind. Raises KeyError for a kind not in `VERIFIERS`."""
    found: type[Verifier] = look_up(VERIFIERS[kind])
    return found
