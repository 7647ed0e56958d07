"""The verifiers, by the `kind` in a prompt's verifier mapping.

Named by path and imported on use, so that judging maths imports no sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.core.plugins import PluginError, look_up

if TYPE_CHECKING:
    from filters.verify.verification import Verifier

VERIFIERS = {
    "math": "filters.verify.mathematics:MathVerifier",
    "choice": "filters.verify.choice:ChoiceVerifier",
    "text": "filters.verify.text_answer:TextVerifier",
    "json": "filters.verify.json_answer:JsonVerifier",
    "gym": "filters.verify.gym.verifier:GymVerifier",
    "arithmetic": "filters.verify.arithmetic:ArithmeticVerifier",
    "tool_call": "filters.verify.tool_call:ToolCallVerifier",
    "json_schema": "filters.verify.json_schema:JsonSchemaVerifier",
    "instructions": "filters.verify.instructions.verifier:InstructionsVerifier",
    "rubric": "filters.verify.rubric:RubricVerifier",
    "code": "filters.verify.code.verifier:CodeVerifier",
    "state": "filters.verify.state:StateVerifier",
    "own": "filters.verify.own:OwnVerifiers",
    "repository": "filters.verify.repository.verifier:RepositoryVerifier",
}

GROUP = "factory.verifiers"
"""Installed packages bring verifiers (`filters.verify.own`) as entry points of this group."""


def verifier_class(kind: str) -> type[Verifier]:
    """The class behind a kind. Kinds come from rows of data, so that only shipped ones are known;
    a verifier of the user's own is named by a recipe. Raises PluginError."""
    if kind not in VERIFIERS:
        known = ", ".join(VERIFIERS)
        raise PluginError(f"{kind!r} is unknown; it must be one of {known}")
    found: type[Verifier] = look_up(VERIFIERS[kind])
    return found
