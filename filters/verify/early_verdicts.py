"""What is decided from the form of an answer before any algebra system sees it.

An algebra system compares values, and so takes {1, 2} for (1, 2), an equation left unsolved for
its solution, a sum left unevaluated for its value. And some answers are bombs: short to write,
endless to evaluate.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from filters.verify.answer_forms import is_name, split_items
from filters.verify.units import split_unit

MAX_SYMBOLIC = 1_000
MAX_DEPTH = 20

Kind = Literal["value", "group", "union", "equation", "inequality", "matrix"]

_UNEVALUATED = ("\\sum", "\\int", "\\prod", "\\lim", "\\iint", "\\oint", "\\det")
_SUBSCRIPTED = re.compile(r"[0-9A-F]_")
_RELATION = re.compile(r"<=|>=|<|>|\\ne(?![a-z])|\\equiv")
_HUGE = (
    (re.compile(r"\d{400,}"), "too many digits"),
    (re.compile(r"\^\s*(?:\{\s*)?\(?-?\d{5,}"), "an exponent too large"),
    (re.compile(r"\^[^+*/=,^]{0,12}\d\s*\}?\s*\)?\s*\^"), "a tower of powers"),
    (
        re.compile(r"(?:\d{4,}|[({][-+*^{}.\d\s]*\d\s*[)}])\s*!|!\s*\)?\s*!"),
        "a factorial too large",
    ),
    (
        re.compile(r"\\binom\s*\{?\s*(?:\d{5,}|\d+\s*\^|[^{}]*\\cdot|\d+\s*\*)"),
        "a binomial too large",
    ),
    (re.compile(r"\)\s*\^\s*\{?\s*\d{3,}"), "a power of a sum too large"),
    (re.compile(r"\\(?:sum|prod)[^+]{0,80}\^\s*\{?[^{}]*(?:\d{5,}|\d\s*\^)"), "a sum too long"),
)


class Shape(NamedTuple):
    """An answer's outer form: its kind, its brackets, how many things it holds."""

    kind: Kind
    ends: str = ""
    size: int = 1


def shape(text: str) -> Shape:
    """The outer form of a normalised answer, whatever it holds."""
    if "\\begin" in text:
        return Shape("matrix")
    if _RELATION.search(text):
        return Shape("inequality")
    sides = text.split("=")
    if len(sides) > 1:
        if not is_name(sides[0].strip()) and sides[0].strip():
            return Shape("equation")
        text = sides[-1].strip()
    if "\\cup" in text:
        return Shape("union")
    items = split_items(text)
    if len(items) > 1:
        return Shape("group", "", len(items))
    if text.startswith("\\{") and text.endswith("\\}"):
        return Shape("group", "{}", len(split_items(text[2:-2])))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        count = len(split_items(text[1:-1]))
        if count > 1:
            return Shape("group", text[0] + text[-1], count)
    return Shape("value")


def mismatch(reference: str, answer: str) -> str | None:
    """Why two normalised answers cannot be the same, told by form alone; None if they may be."""
    for command in _UNEVALUATED:
        if command in answer and command not in reference:
            return f"left unevaluated: {command}"
    for mark in ("'", "?"):
        if mark in answer and mark not in reference:
            return f"{mark} in the answer alone"
    if _SUBSCRIPTED.search(reference) or _SUBSCRIPTED.search(answer):
        return "a number base or subscript"
    wanted, given = shape(reference), shape(answer)
    if given.kind == "equation" and wanted.kind not in ("equation", "matrix"):
        return "an equation left unsolved"
    if (given.kind == "inequality") != (wanted.kind == "inequality"):
        sets = {wanted.kind, given.kind} <= {"inequality", "union", "group"}
        return None if sets else "a relation for a value"
    if {wanted.kind, given.kind} == {"value", "group"}:
        group = wanted if wanted.kind == "group" else given
        return f"{group.size} values against one" if group.size > 1 else None
    if wanted.kind == given.kind == "group":
        if wanted.size != given.size:
            return f"{given.size} values against {wanted.size}"
        if wanted.ends and given.ends and wanted.ends != given.ends:
            return f"{given.ends} for {wanted.ends}"
    measured = split_unit(reference), split_unit(answer)
    units = [side.unit for side in measured if side is not None and side.unit is not None]
    if len(units) == 2 and units[0] != units[1]:
        return "another unit"
    return None


def bomb(text: str) -> str | None:
    """Why evaluating a normalised answer might not end; None if nothing says so."""
    if len(text) > MAX_SYMBOLIC:
        return "too long"
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return "nested too deeply"
    return next((why for pattern, why in _HUGE if pattern.search(text)), None)
