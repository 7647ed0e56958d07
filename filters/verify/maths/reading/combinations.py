"""Sums and multiples of tuples and matrices: (1,0,3) + t(2,-1,0), \\frac{1}{5}\\begin{pmatrix}…."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.forms import Form, Group, Matrix, Value
from filters.verify.maths.nodes import Node, Unreadable
from filters.verify.maths.reading.expressions import parse_expression
from filters.verify.maths.reading.pieces import CLOSING, OPENING, is_pair
from filters.verify.maths.reading.tokens import FUNCTIONS, Token

Tokens = Sequence[Token]
Rows = tuple[tuple[Value, ...], ...]
BracketReading = Callable[[Tokens], Form | None]

MAX_TERMS = 6
_FUNCTIONS = frozenset("fghFGHCP")
_TRANSPOSED = ("^T", "^{T}", "^\\top", "^{\\top}", "^\\intercal")


def read_combination(tokens: Tokens, read: BracketReading) -> Form | None:
    """The tuple or matrix that it comes to; None where no term is one. Raises Unreadable."""
    texts = [token.text for token in tokens]
    if not ({",", "\\begin", ";"} & set(texts)) or not {"(", "[", "\\begin"} & set(texts):
        return None
    terms = _terms(tokens)
    if not terms or len(terms) > MAX_TERMS:
        return None
    if len(terms) == 1 and terms[0][1][0].text in OPENING and is_pair(terms[0][1]):
        return None
    total: Rows | None = None
    kind: Form | None = None
    if any(_calls(term, alone=len(terms) == 1) for _, term in terms):
        return None
    for sign, term in terms:
        found = _multiple(term, read)
        if found is None:
            return None
        rows = tuple(tuple(_scaled(nodes.number(sign), v) for v in row) for row in found[1])
        if total is None:
            total, kind = rows, found[0]
        elif [len(row) for row in rows] != [len(row) for row in total]:
            raise Unreadable("a sum of unlike tuples")
        else:
            total = tuple(
                tuple(Value(_plus(a.node, b.node)) for a, b in zip(left, right, strict=True))
                for left, right in zip(total, rows, strict=True)
            )
    assert total is not None
    if isinstance(kind, Matrix):
        return Matrix(total)
    return Group("()", tuple(row[0] for row in total))


def _terms(tokens: Tokens) -> list[tuple[int, Tokens]]:
    """(sign, tokens) between the + and - that stand in no bracket."""
    made: list[tuple[int, Tokens]] = []
    depth, start, sign = 0, 0, 1
    for position, token in enumerate(tokens):
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            depth -= 1
        elif not depth and token.text in ("+", "-") and token.kind == "sign":
            if position > start:
                made.append((sign, tokens[start:position]))
            elif made or position:
                return []
            start, sign = position + 1, 1 if token.text == "+" else -1
    if start < len(tokens):
        made.append((sign, tokens[start:]))
    return made


def _calls(tokens: Tokens, *, alone: bool) -> bool:
    """Whether a function stands before the bracket: f(1, 2) and max(1, 2) are no multiples."""
    start = _bracket_start(tokens)
    if not start:
        return False
    last = tokens[start - 1]
    named = last.text in _FUNCTIONS or last.text[1:] in FUNCTIONS
    return named or (alone and start == 1 and last.kind == "letter")


def _multiple(tokens: Tokens, read: BracketReading) -> tuple[Form, Rows] | None:
    """A scalar, or none, before a tuple or matrix."""
    spelled = "".join(token.text for token in tokens)
    transposed = next((mark for mark in _TRANSPOSED if spelled.endswith(mark)), "")
    if transposed:
        tokens = tokens[: -2 if "{" not in transposed else -4]
    start = _bracket_start(tokens)
    if start is None:
        return None
    form = read(tokens[start:])
    rows = _rows(form)
    if form is None or rows is None:
        return None
    if transposed and isinstance(form, Matrix):
        rows = tuple(zip(*rows, strict=True))
    scalar = tokens[:start]
    if scalar and scalar[-1].text == "*":
        scalar = scalar[:-1]
    if not scalar:
        return form, rows
    factor = parse_expression(scalar)
    return form, tuple(tuple(_scaled(factor, value) for value in row) for row in rows)


def _bracket_start(tokens: Tokens) -> int | None:
    """Where the bracket or environment opens that ends with the tokens."""
    for position, token in enumerate(tokens):
        if token.text in ("(", "[", "\\begin") and (
            is_pair(tokens[position:]) or _is_environment(tokens[position:])
        ):
            return position
    return None


def _is_environment(tokens: Tokens) -> bool:
    if tokens[0].text != "\\begin" or tokens[-1].text != "}":
        return False
    depth = 0
    for position, token in enumerate(tokens):
        depth += (token.text == "\\begin") - (token.text == "\\end")
        if not depth and token.text == "\\end":
            return all(t.text != "}" for t in tokens[position + 2 : -1])
    return False


def _rows(form: Form | None) -> Rows | None:
    if isinstance(form, Group) and form.ends == "()":
        rows: tuple[tuple[Form, ...], ...] = tuple((item,) for item in form.items)
    elif isinstance(form, Matrix):
        rows = form.rows
    else:
        return None
    values = tuple(tuple(v for v in row if isinstance(v, Value)) for row in rows)
    plain = all(not (v.unit or v.percent or v.others) for row in values for v in row)
    whole = [len(row) for row in values] == [len(row) for row in rows]
    return values if plain and whole else None


def _scaled(factor: Node, value: Value) -> Value:
    if factor == nodes.number(1):
        return value
    return Value(_times(factor, value.node))


def _times(a: Node, b: Node) -> Node:
    left, right = _rational(a), _rational(b)
    if left is not None and right is not None:
        return nodes.number(left * right)
    if 0 in (left, right):
        return nodes.number(0)
    if left == 1 or right == 1:
        return b if left == 1 else a
    return Node("multiply", (a, b))


def _plus(a: Node, b: Node) -> Node:
    left, right = _rational(a), _rational(b)
    if left is not None and right is not None:
        return nodes.number(left + right)
    if left == 0:
        return b
    return a if right == 0 else Node("add", (a, b))


def _rational(node: Node) -> Fraction | None:
    """A rational number as one, with no decimal whose precision counts."""
    if node.head == "negate":
        inner = _rational(node.args[0])
        return None if inner is None else -inner
    if node.head == "divide":
        top, bottom = map(_rational, node.args)
        return None if top is None or not bottom else top / bottom
    return node.value if node.literal is None else None
