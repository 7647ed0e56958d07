"""JSON answers: the same value, type-strict. true is not 1, "1" is not 1, and a key given twice is
no value at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from filters.verify.base import Immediate
from filters.verify.extract_answer import final_answer
from filters.verify.verification import Verification

MAX_CHARACTERS = 200_000
MAX_DEPTH = 100

_FENCE = re.compile(r"```[ \t]*(?:json|JSON)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_DIGITS = re.compile(r"\d{1000}")


class JsonVerifier(Immediate):
    """Verifier of `{"kind": "json", "answer": <any JSON value>}`."""

    METHOD = "json"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        return None if "answer" in spec else "there is no answer"

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        text = _written(response)
        if text is None:
            return self.say("no_answer", None)
        try:
            given = read(text)
        except ValueError as error:
            return self.say("unparseable", text[:200], str(error)[:120])
        wanted = read(json.dumps(spec["answer"]))
        return self.say("correct" if same(wanted, given) else "wrong", text[:200])


def read(text: str) -> Any:
    """JSON with exact numbers. Raises ValueError for duplicate keys, NaN, or excess."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError("too long")
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if _DIGITS.search(text):
        raise ValueError("too many digits")
    return json.loads(
        text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_unique
    )


def same(wanted: Any, given: Any) -> bool:
    """Equal as JSON values: 1.0 is 1, true is not."""
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given
    if isinstance(wanted, dict) and isinstance(given, dict):
        return wanted.keys() == given.keys() and all(
            same(wanted[key], given[key]) for key in wanted
        )
    if isinstance(wanted, list) and isinstance(given, list):
        return len(wanted) == len(given) and all(map(same, wanted, given))
    numbers = isinstance(wanted, int | Decimal) and isinstance(given, int | Decimal)
    return (numbers or type(wanted) is type(given)) and bool(wanted == given)


def _written(response: str) -> str | None:
    """The JSON a response gives: the last fenced block, the marked answer, or the bare value."""
    inside = response
    start = response.rfind("<answer>")
    if start >= 0:
        end = response.find("</answer>", start)
        if end < 0:
            return None
        inside = response[start + len("<answer>") : end]
    fences = _FENCE.findall(inside)
    if fences:
        return str(fences[-1]).strip() or None
    bare = inside.strip()
    if start >= 0 or bare[:1] in ("{", "[", '"') or bare in ("true", "false", "null"):
        return bare or None
    marked = final_answer(response)
    return None if marked is None else marked.text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made
