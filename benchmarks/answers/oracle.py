"""Whether two written answers are equal, by numbers alone; None where one cannot be read whole.

A reader of its own, small on purpose: numbers, expressions, tuples, lists, sets, intervals and
unions, equations, inequalities. What it does not know it does not read. Expressions are compared
at random points to 80 digits, equations by the quotient of their sides' differences.
"""

from __future__ import annotations

import random
import re
from typing import Any, NamedTuple

import mpmath  # type: ignore[import-untyped]

from .reader import Unread, read_expression, split_top
from .tree import DIGITS, Node, equal, evaluate, num, sites

_WRAPPERS = re.compile(r"\\(?:displaystyle|left|right|[bB]igg?[lrm]?)(?![A-Za-z])")
_SPACES = re.compile(r"\\[,;:!> ]|\\q?quad(?![A-Za-z])|~|\s+")
_RELATIONS = {
    "\\leqslant": "<=", "\\geqslant": ">=", "\\leq": "<=", "\\geq": ">=", "\\le": "<=",
    "\\ge": ">=", "\\lt": "<", "\\gt": ">", "≤": "<=", "≥": ">=", "\\neq": "!=", "\\ne": "!=",
    "≠": "!=", "<": "<", ">": ">", "=": "=",
}  # fmt: skip
_RELATION = re.compile(r"\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt|neq|ne)(?![A-Za-z])|[≤≥≠<>=]")
COUNTED = re.compile(r"([+-]?[\d.,]+)\s*\(([^()\d]+)\)")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_SCIENTIFIC = re.compile(r"-?\d+(\.\d+)?[eE][+-]?\d+")
_AND = re.compile(r"\\text\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")


class Form(NamedTuple):
    """A read answer: `kind` and its parts (trees, or forms again)."""

    kind: str
    parts: tuple[Any, ...]
    marks: tuple[str, ...] = ()


def same(first: str, second: str) -> bool | None:
    """True or False where both are read and decided, else None."""
    counted, again = COUNTED.fullmatch(first.strip()), COUNTED.fullmatch(second.strip())
    if counted and again:
        verdict = same(counted[1], again[1])
        return verdict if verdict is not True or counted[2].strip() == again[2].strip() else None
    try:
        return _same(read(first), read(second))
    except (Unread, RecursionError, ArithmeticError, ValueError):
        return None


def readable(text: str) -> bool:
    """Whether this oracle reads `text` whole."""
    try:
        read(text)
    except (Unread, RecursionError):
        return False
    return True


def read(text: str) -> Form:
    """Raises `Unread`."""
    text = text.strip()
    if text.startswith("$") and text.endswith("$") and text.count("$") == 2:
        text = text[1:-1]
    text = _AND.sub(" , ", text)
    text = _SPACES.sub(" ", _WRAPPERS.sub(" ", text)).strip()
    text = text.removesuffix(".").strip()
    if not text or "$" in text:
        raise Unread(text)
    counted = COUNTED.fullmatch(text)
    if counted:
        raise Unread(text)
    if _THOUSANDS.fullmatch(text) or _SCIENTIFIC.fullmatch(text):
        return Form("value", (num(text.replace(",", "")),))
    return _read(text)


def _read(text: str) -> Form:
    text = text.strip()
    if not text:
        raise Unread("nothing")
    members = split_top(text, ",")
    if len(members) > 1:
        return Form("list", tuple(_read(member) for member in members))
    pieces = [piece.strip() for piece in split_top(text, "\\cup", "∪")]
    if len(pieces) > 1:
        forms = [_read(piece) for piece in pieces]
        if any(form.kind not in ("interval", "tuple", "set") for form in forms):
            raise Unread(text)
        return Form("union", tuple(_as_interval(form) for form in forms))
    named = re.fullmatch(r"([a-z])\s*\\in(?![A-Za-z])(.*)", text, re.S)
    if named:
        return Form("in", (_read(named[2]),), (named[1],))
    found = list(_RELATION.finditer(text))
    if found:
        return _relation(text, found)
    if text.startswith("\\{") and text.endswith("\\}"):
        return Form("set", tuple(_read(part) for part in split_top(text[2:-2], ",")))
    if text[0] in "([" and text[-1] in ")]" and _closed(text[1:-1]):
        inner = split_top(text[1:-1], ",")
        if len(inner) == 2 and (text[0] == "[" or text[-1] == "]"):
            ends = tuple(_bound(part) for part in inner)
            return Form("interval", ends, (text[0], text[-1]))
        if len(inner) > 1 and text[0] == "(" and text[-1] == ")":
            if any("\\infty" in part for part in inner):
                return Form("interval", tuple(_bound(part) for part in inner), ("(", ")"))
            return Form("tuple", tuple(_read(part) for part in inner))
    if text.startswith(("\\pm", "\\mp")):
        tree = read_expression(text[3:])
        return Form("list", (Form("value", (tree,)), Form("value", (Node("neg", (tree,)),))))
    return Form("value", (read_expression(text),))


def _closed(inner: str) -> bool:
    """Whether the brackets around `inner` belong together."""
    try:
        split_top(inner, ",")
    except Unread:
        return False
    return True


def _relation(text: str, found: list[re.Match[str]]) -> Form:
    sides, at = [], 0
    for match in found:
        sides.append(text[at : match.start()])
        at = match.end()
    sides.append(text[at:])
    marks = tuple(_RELATIONS[match[0]] for match in found)
    if (
        len(set(marks)) == 1
        and marks[0] == "="
        and len(sides) == 2
        and sides[0].strip().startswith("(")
    ):
        try:
            left, right = _read(sides[0]), _read(sides[1])
        except Unread:
            pass
        else:
            if left.kind == right.kind == "tuple":
                return Form("named", (left, right))
    return Form("relation", tuple(read_expression(side) for side in sides), marks)


def _bound(text: str) -> Node:
    bare = text.replace(" ", "")
    if bare in ("\\infty", "+\\infty"):
        return Node("infinity", name="+")
    if bare == "-\\infty":
        return Node("infinity", name="-")
    return read_expression(text)


def _as_interval(form: Form) -> Form:
    if form.kind != "tuple":
        return form
    if len(form.parts) != 2 or any(part.kind != "value" for part in form.parts):
        raise Unread(str(form))
    return Form("interval", tuple(part.parts[0] for part in form.parts), ("(", ")"))


def _all(verdicts: list[bool | None]) -> bool | None:
    if any(verdict is False for verdict in verdicts):
        return False
    return None if None in verdicts else True


def _unordered(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool | None:
    """Whether every member of either is in the other: sets, repetition and order aside."""
    unsure = False
    for left, right in ((first, second), (second, first)):
        for one in left:
            verdicts = [_same(one, other) for other in right]
            if True not in verdicts:
                if None not in verdicts:
                    return False
                unsure = True
    return None if unsure else True


def _same(a: Form, b: Form) -> bool | None:
    if {a.kind, b.kind} <= {"list", "set"} and a.kind != b.kind:
        return True if _unordered(a.parts, b.parts) is True else None
    if a.kind != b.kind:
        # x=5 for 5, x in (1,2) for (1,2), a polynomial for an equation: for people to decide
        return False if _plain(a) and _plain(b) else None
    if a.kind == "value":
        return _same_end(a.parts[0], b.parts[0])
    if a.kind in ("list", "set", "union"):
        verdict = _unordered(a.parts, b.parts)
        if a.kind == "union" and verdict is False:
            return None if len(a.parts) != len(b.parts) else False
        if a.kind == "list" and verdict is True and len(a.parts) != len(b.parts):
            return None
        return verdict
    if a.kind in ("tuple", "named", "in"):
        if len(a.parts) != len(b.parts) or a.marks != b.marks:
            return False
        return _all([_same(p, q) for p, q in zip(a.parts, b.parts, strict=True)])
    if a.kind == "interval":
        if a.marks != b.marks:
            return False
        return _all([_same_end(p, q) for p, q in zip(a.parts, b.parts, strict=True)])
    return _same_relation(a, b)


def _plain(form: Form) -> bool:
    """A number, a tuple of numbers or an interval: things that never equal one another."""
    return form.kind in ("value", "tuple", "interval") and not _unknowns(form)


def _unknowns(form: Form) -> bool:
    for part in form.parts:
        if isinstance(part, Form):
            if _unknowns(part):
                return True
        elif any(node.op == "sym" for _, node in sites(part)):
            return True
    return False


def _same_end(p: Node, q: Node) -> bool | None:
    if "infinity" in (p.op, q.op):
        return p == q
    return equal(p, q)


_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def _same_relation(a: Form, b: Form) -> bool | None:
    turned = Form("relation", b.parts[::-1], tuple(_TURNED[mark] for mark in b.marks[::-1]))
    if len(a.parts) != len(b.parts):
        return None
    names, others = _names(a), _names(b)
    if names != others and any("_" in name for name in names ^ others):
        return None  # x_1 = 2 may stand for x = 2
    verdicts = [_pairwise(a, other) for other in (b, turned)]
    return True if True in verdicts else (None if None in verdicts else False)


def _names(form: Form) -> set[str]:
    return {node.name for part in form.parts for _, node in sites(part) if node.op == "sym"}


def _pairwise(a: Form, b: Form) -> bool | None:
    """Whether each neighbouring pair of sides says the same: the quotient of differences."""
    if a.marks != b.marks:
        return False
    verdicts: list[bool | None] = []
    for at, mark in enumerate(a.marks):
        quotients = _quotients(
            Node("add", (a.parts[at], Node("neg", (a.parts[at + 1],)))),
            Node("add", (b.parts[at], Node("neg", (b.parts[at + 1],)))),
        )
        if quotients is None:
            return None
        spread = max(abs(quotient - quotients[0]) for quotient in quotients)
        constant = spread < 1e-50 * abs(quotients[0])
        if constant and (mark in ("=", "!=") or quotients[0].real > 0):
            verdicts.append(True)
        else:
            # not a multiple: may still have the same solutions (factors that are never zero)
            verdicts.append(False if len(a.marks) > 1 or _linear_like(a, b) else None)
    return _all(verdicts)


def _linear_like(a: Form, b: Form) -> bool:
    """Whether one side of both is a lone unknown: y = f(x), which is its own normal form."""
    return all(any(part.op == "sym" for part in form.parts) for form in (a, b))


def _quotients(p: Node, q: Node) -> list[Any] | None:
    draw = random.Random(11)
    names = sorted({node.name for tree in (p, q) for _, node in sites(tree) if node.op == "sym"})
    out = []
    for _ in range(5):
        env = {name: mpmath.mpf(draw.randint(1, 4000)) / 1009 for name in names}
        try:
            top, bottom = evaluate(p, env), evaluate(q, env)
        except (ArithmeticError, ValueError):
            continue
        if not mpmath.isfinite(top) or not mpmath.isfinite(bottom) or not top or not bottom:
            continue
        with mpmath.workdps(DIGITS):
            out.append(mpmath.mpc(top) / bottom)
    return out if len(out) >= 3 else None
