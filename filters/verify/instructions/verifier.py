"""Judges responses by a list of instructions that a program can check. All must be followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from filters.verify.base import Immediate
from filters.verify.instructions import content, form
from filters.verify.instructions.base import Check, Finding
from filters.verify.verification import Verification

Instruction = Annotated[
    content.Keywords
    | content.Forbidden
    | content.KeywordCount
    | content.LetterCount
    | content.ForbiddenCharacters
    | content.Language
    | content.Case
    | content.Capitals
    | content.StartsWith
    | content.EndsWith
    | content.Quoted
    | content.Choose
    | content.Repeat
    | form.WordCount
    | form.SentenceCount
    | form.LineCount
    | form.ParagraphCount
    | form.ParagraphStart
    | form.Bullets
    | form.Numbered
    | form.Headings
    | form.Title
    | form.Highlights
    | form.Sections
    | form.Placeholders
    | form.Postscript
    | form.Json
    | form.Responses,
    Field(discriminator="check"),
]
"""An instruction, by its `check`."""

MAX_INSTRUCTIONS = 50
_ADAPTER: TypeAdapter[Check] = TypeAdapter(Instruction)


class InstructionsVerifier(Immediate):
    """Verifier of `{"kind": "instructions", "instructions": [{"check": "words", "at_least": 50}]}`.

    `wrong` if one was not followed, `unparseable` if none was broken but one cannot be decided. The
    detail names each of these, as `check: what was seen`.
    """

    METHOD = "instructions"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        try:
            read_instructions(spec.get("instructions"))
        except ValueError as error:
            return str(error)
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        checks = read_instructions(spec["instructions"])
        findings = [(check, check.judge(response)) for check in checks]
        broken = [item for item in findings if item[1].followed is False]
        unclear = [item for item in findings if item[1].followed is None]
        count = f"{len(findings) - len(broken) - len(unclear)} of {len(findings)} followed"
        if broken:
            return self.say("wrong", count, describe_findings(broken))
        if unclear:
            return self.say("unparseable", count, describe_findings(unclear))
        return self.say("correct", count)


def read_instructions(given: Any) -> list[Check]:
    """The checks of a list of instructions. Raises ValueError, naming the place."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError("instructions is no list, or an empty one")
    if len(given) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(given)} instructions; at most {MAX_INSTRUCTIONS} are checked")
    return [read_instruction(item, f"instructions.{place}") for place, item in enumerate(given)]


def read_instruction(given: Any, place: str) -> Check:
    """The check of one instruction. Raises ValueError, naming the place."""
    try:
        return _ADAPTER.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *(str(part) for part in first["loc"][1:])])
        raise ValueError(f"{where}: {first['msg']}"[:300]) from None


def describe_findings(findings: Sequence[tuple[Check, Finding]]) -> str:
    """`check: what was seen` of each, joined by semicolons."""
    return "; ".join(
        f"{check.check}: {finding.seen or 'not followed'}" for check, finding in findings
    )[:600]
