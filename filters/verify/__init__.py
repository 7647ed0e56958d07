"""The verifiers, by the `kind` in a prompt's verifier mapping.

Named by path and imported on use, so that judging maths imports no sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.core.plugins import find_class

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
    "own": "filters.verify.own:OwnVerifiers",
}


GROUP = "factory.verifiers"
"""Installed packages add verifiers as entry points of this group."""


def verifier_class(kind: str) -> type[Verifier]:
    """The class behind a kind: a shipped one or an entry point's name. Raises PluginError.

    Kinds come from rows of data, so that no file can be named here.
    """
    from filters.verify.verification import Verifier

    found: type[Verifier] = find_class(
        VERIFIERS,
        kind,
        Verifier,  # type: ignore[type-abstract]
        GROUP,
        files=False,
    )
    return found
