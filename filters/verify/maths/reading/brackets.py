"""Tuples, sets, intervals, unions, set-builders, matrices and piecewise functions from tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from filters.verify.maths import nodes
from filters.verify.maths.forms import (
    Family,
    Form,
    Group,
    Matrix,
    Named,
    Piecewise,
    Region,
    Value,
    Words,
)
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.environments import environment_end, read_rows
from filters.verify.maths.reading.pieces import CLOSING, OPENING, is_pair
from filters.verify.maths.reading.tokens import Token

Tokens = Sequence[Token]
Reading = Callable[[Tokens, int], Form]

_OTHERWISE = frozenset(("otherwise", "else"))
_MATRICES = frozenset(("matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"))
_LISTS = frozenset(("cases", "aligned", "align", "align*", "array", "gathered", "split", "rcases"))
REAL_LINE = Group("()", (Value(nodes.Node("negate", (nodes.INFINITY,))), Value(nodes.INFINITY)))


def read_brackets(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """A form in brackets, or a union of such; None for a value."""
    pieces = _split(tokens, frozenset(("\\cup", "\\bigcup")))
    if len(pieces) > 1:
        return _union([_required(piece, read, depth) for piece in pieces])
    removed = _split(tokens, frozenset(("\\setminus", "-"))) if _may_remove(tokens) else []
    if len(removed) == 2 and removed[0]:
        whole, points = (_required(piece, read, depth) for piece in removed)
        interval = isinstance(whole, Group) and whole.ends != "{}"
        if isinstance(whole, Group) and isinstance(points, Group) and interval:
            if points.ends == "{}":
                return Region((whole,), points.items)
            if whole == REAL_LINE and len(points.items) == 2 and points.ends != "":
                low, high = REAL_LINE.items
                below = "]" if points.ends[0] == "(" else ")"
                above = "[" if points.ends[1] == ")" else "("
                return Region(
                    (
                        Group("(" + below, (low, points.items[0])),
                        Group(above + ")", (points.items[1], high)),
                    )
                )
        raise Unreadable("a set without another")
    opening, closing = tokens[0].text, tokens[-1].text
    if opening == "\\begin":
        return read_environment(tokens, read, depth)
    if opening == "\\{" and closing == "\\}" and is_pair(tokens):
        return _set(tokens[1:-1], read, depth)
    if opening + closing in ("()", "[]") and tokens[1].text == "\\begin":
        end, name = environment_end(tokens, 1)
        if end == len(tokens) - 1 and name in _MATRICES:
            return read_environment(tokens[1:-1], read, depth, bracketed=True)
    if opening in ("(", "[") and closing in (")", "]") and is_pair(tokens):
        return _tuple(opening + closing, tokens[1:-1], read, depth)
    return None


def _may_remove(tokens: Tokens) -> bool:
    texts = {token.text for token in tokens}
    return "\\setminus" in texts or (
        "-" in texts and tokens[-1].text == "\\}" and tokens[0].text in ("(", "[")
    )


def _required(tokens: Tokens, read: Reading, depth: int) -> Form:
    found = read_brackets(tokens, read, depth + 1) if tokens else None
    if found is None:
        raise Unreadable("a set operation on something else")
    return found


def _union(forms: list[Form]) -> Form:
    pieces: list[Group] = []
    without: list[Form] = []
    for form in forms:
        if isinstance(form, Region):
            pieces.extend(form.pieces)
            without.extend(form.without)
        elif isinstance(form, Group) and form.ends:
            pieces.append(form)
        else:
            raise Unreadable("a union of something else")
    if without:
        raise Unreadable("a union of sets with holes")
    return Region(tuple(pieces))


def _split(tokens: Tokens, at: frozenset[str]) -> list[Tokens]:
    pieces: list[Tokens] = []
    level, start = 0, 0
    for position, token in enumerate(tokens):
        if token.text in OPENING:
            level += 1
        elif token.text in CLOSING:
            level -= 1
        elif not level and token.text in at and (position or token.text != "-"):
            pieces.append(tokens[start:position])
            start = position + 1
    pieces.append(tokens[start:])
    return pieces


def _items(tokens: Tokens) -> list[Tokens]:
    """The pieces between commas or semicolons; 1,234 in brackets is two numbers."""
    single: list[Token] = []
    for token in tokens:
        parts = token.text.split(",") if token.kind == "number" else []
        if len(parts) < 2:
            single.append(token)
            continue
        for part in parts:
            single += [Token("number", part, token.space), Token("sign", ",")]
        single.pop()
    separators = frozenset((",", ";"))
    return _split(single, separators)


def _set(inside: Tokens, read: Reading, depth: int) -> Form:
    for mark in ("\\mid", "|", ":"):
        parts = _split(inside, frozenset((mark,)))
        if len(parts) == 2 and all(parts):
            return _builder(parts[0], parts[1], read, depth)
    if not inside:
        return Words("no solution")
    items = _items(inside)
    if not all(items):
        raise Unreadable("an empty item")
    forms = tuple(read(item, depth + 1) for item in items)
    if any(isinstance(form, Group) and not form.ends for form in forms):
        flat: list[Form] = []
        for form in forms:  # \{\pm 3\} and \{1 \text{ and } 2\}
            flat.extend(form.items if isinstance(form, Group) and not form.ends else [form])
        forms = tuple(flat)
    return Group("{}", forms)


def _builder(left: Tokens, right: Tokens, read: Reading, depth: int) -> Form:
    """{x | condition}: the set itself where the condition is solved for x."""
    domain: Form | None = None
    if len(left) > 1:
        joined = (*left, Token("sign", ","), *right)
        family = read(joined, depth + 1)  # {π/4 + kπ : k ∈ Z}
        if isinstance(family, Family):
            return family
    parts = _split(left, frozenset(("\\in",)))
    if len(parts) == 2:
        domain = read(parts[1], depth + 1)
        if domain != REAL_LINE:
            raise Unreadable("a set-builder over another domain")
        left = parts[0]
    if len(left) != 1 or left[0].kind != "letter":
        raise Unreadable("a set-builder of something")
    condition = read(right, depth + 1)
    if isinstance(condition, Named) and condition.name == left[0].text:
        if isinstance(condition.form, Group) and not condition.form.ends:
            return Group("{}", condition.form.items)
        if isinstance(condition.form, Value):
            return Group("{}", (condition.form,))
        if isinstance(condition.form, Group | Region):
            return condition.form
    return Group("{|}", (Words(left[0].text), condition))


def _tuple(ends: str, inside: Tokens, read: Reading, depth: int) -> Form | None:
    items = _items(inside)
    if len(items) < 2:
        if ends != "()" or not inside or not items[0]:
            return None
        # (x = 5), (1,2) in a second pair: brackets that hold a form are dropped, a value's are not.
        form = read(inside, depth + 1)
        return None if isinstance(form, Value) else form
    if not all(items):
        raise Unreadable("an empty item")
    if ends in ("[)", "(]") and len(items) != 2:
        raise Unreadable("an interval of more than two ends")
    return Group(ends, tuple(read(item, depth + 1) for item in items))


def read_environment(
    tokens: Tokens, read: Reading, depth: int, *, bracketed: bool = False
) -> Form | None:
    """A matrix, a piecewise function or a list; None where more than the environment is there.

    An array of one column is a list unless it is `bracketed`.
    """
    end, name = environment_end(tokens, 0)
    if end != len(tokens):
        return None
    if name == "vmatrix":
        return None
    rows = read_rows(tokens, 0, end)
    if name in _MATRICES and (
        bracketed or not (name == "array" and all(len(row) == 1 for row in rows))
    ):
        if len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix with ragged rows")
        return Matrix(tuple(tuple(read(cell, depth + 1) for cell in row) for row in rows))
    if name not in _LISTS and name not in _MATRICES:
        raise Unreadable(f"the environment {name}")
    if name == "cases" and all(_condition(row) is not None for row in rows):
        return Piecewise(tuple(_branch(row, read, depth) for row in rows))
    joined: list[Token] = []
    for row in rows:
        for cell in row:
            joined += cell
        joined.append(Token("sign", ","))
    return read(joined, depth + 1)


def _condition(row: list[Tokens]) -> tuple[Tokens, Tokens] | None:
    """A row's value and condition: two cells, or one divided by "if" or a comma."""
    if len(row) == 2 and row[0] and row[1]:
        return row[0], row[1]
    if len(row) == 1:
        texts = [token.text.lower() for token in row[0]]
        for word in ("if", "for", "when", "otherwise"):
            if word in texts[1:]:
                at = texts.index(word)
                return row[0][:at], row[0][at:]
    return None


def _branch(row: list[Tokens], read: Reading, depth: int) -> tuple[Form, Form | None]:
    split = _condition(row)
    assert split is not None
    value, condition = split
    while value and value[-1].text in (",", ";"):
        value = value[:-1]
    while condition and condition[0].text.lower() in ("if", "for", "when", ",", "where"):
        condition = condition[1:]
    while condition and condition[-1].text in (",", ";", "."):
        condition = condition[:-1]
    made = read(value, depth + 1)
    if not condition:
        raise Unreadable("a branch without a condition")
    if " ".join(token.text.lower() for token in condition) in _OTHERWISE:
        return made, None
    return made, read(condition, depth + 1)
