"""Sums, products, integrals, limits and determinants: read whole, compared by structure.

A finite sum or product over numbers, and a determinant of numbers, has a value and gets it.
"""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths import nodes
from filters.verify.maths.nodes import BOUND, Node, Unreadable
from filters.verify.maths.reading.environments import environment_end, read_rows
from filters.verify.maths.reading.grammar import Grammar
from filters.verify.maths.reading.tokens import Token

MAX_SIZE = 6


def read_operator(reader: Grammar, kind: str) -> Node:
    """What follows \\sum, \\prod, \\int or \\lim."""
    if kind == "lim":
        return _limit(reader)
    if kind == "int":
        return _integral(reader)
    variable, low = "", nodes.number(0)
    if reader.peek().text == "_":
        reader.at += 1
        reader.expect("{")
        named = reader.primary()
        if named == nodes.IMAGINARY:
            named = nodes.symbol("i")
        if named.head != "symbol":
            raise Unreadable("the index of a sum")
        variable = named.name
        reader.expect("=")
        low = reader.sum()
        reader.expect("}")
    high = nodes.symbol("?")
    if reader.peek().text == "^":
        reader.at += 1
        high = reader.argument(exponent=True)
    if not variable or high == nodes.symbol("?"):
        raise Unreadable("a sum without its range")
    body = reader.term()
    if variable == "i":  # an index, not the imaginary unit
        body = _replace(body, nodes.IMAGINARY, nodes.symbol("i"))
    return Node("opaque", (nodes.rename(body, variable, BOUND), low, high), kind)


def _replace(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    if not node.args:
        return node
    args = tuple(_replace(arg, old, new) for arg in node.args)
    return Node(node.head, args, node.name, node.value, node.literal)


def _limit(reader: Grammar) -> Node:
    reader.expect("_")
    reader.expect("{")
    variable = reader.primary()
    if variable.head != "symbol" or reader.take().text not in ("\\to", "\\rightarrow"):
        raise Unreadable("a limit")
    start = reader.at
    while reader.take().text != "}" or _depth(reader.tokens[start : reader.at]) >= 0:
        pass
    inside, side = [*reader.tokens[start : reader.at - 1]], ""
    if inside[-1:] and inside[-1].text == "}" and len(inside) > 4 and inside[-4].text == "^":
        inside = [*inside[:-3], inside[-2]]
    if len(inside) > 2 and inside[-2].text == "^" and inside[-1].text in ("+", "-"):
        inside, side = inside[:-2], inside[-1].text
    target = reader.nested(inside)
    body = nodes.rename(reader.term(), variable.name, BOUND)
    return Node("opaque", (body, target), f"lim{side}")


def _depth(tokens: Sequence[Token]) -> int:
    return sum((token.text == "{") - (token.text == "}") for token in tokens)


def _integral(reader: Grammar) -> Node:
    limits: list[Node] = []
    if reader.peek().text == "_":
        reader.at += 1
        limits.append(reader.argument(exponent=True))
        reader.expect("^")
        limits.append(reader.argument(exponent=True))
    reader.integrals += 1
    integrand = nodes.number(1) if reader.at_differential() else reader.sum()
    reader.integrals -= 1
    reader.expect("d")
    variable = nodes.symbol(reader.take().text)
    if limits:
        return Node("opaque", (nodes.rename(integrand, variable.name, BOUND), *limits), "int")
    return Node("opaque", (integrand, variable), "antiderivative")


def read_determinant(reader: Grammar) -> Node:
    """\\begin{vmatrix} … \\end{vmatrix} inside an expression."""
    start = reader.at - 1
    if reader.peek().text != "{":
        raise Unreadable("an environment without a name")
    end, name = environment_end(reader.tokens, start)
    if name != "vmatrix":
        raise Unreadable(f"{name} inside an expression")
    rows = read_rows(reader.tokens, start, end)
    reader.at = end
    if len(rows) > MAX_SIZE or any(len(row) != len(rows) for row in rows):
        raise Unreadable("a determinant that is not square")
    return nodes.call("determinant", *(reader.nested(cell) for row in rows for cell in row))


def is_differential(tokens: Sequence[Token]) -> bool:
    """Whether a fraction's half is {d}, {d^2 y}, {dx}, {∂y}…: a derivative is no quotient."""
    inside = [token for token in tokens if token.text not in ("{", "}")]
    return bool(inside) and inside[0].text in ("d", "\\partial")


def at_value(reader: Grammar) -> bool:
    """Whether (0) or (t) comes next, directly: I(0) is a value of I, no product with nothing."""
    inside, closing = reader.peek(1), reader.peek(2)
    if reader.peek().space or closing.text != ")":
        return False
    head = reader.tokens[reader.at - 1]
    named = inside.kind == "letter" and len(inside.text) == 1 and head.text.isupper()
    return named or (inside.kind == "number" and not inside.text.replace(".", "").strip("0"))
