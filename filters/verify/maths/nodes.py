"""The tree of one mathematical expression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple


class Unreadable(Exception):
    """Not one of the forms read here. The whole answer is unreadable then, never a part of it."""


class Literal(NamedTuple):
    """A decimal as it was written: how many decimals, how many significant digits."""

    decimals: int
    significant: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `head` says which, and which fields count:

    number    `value`, and `literal` where it was written as a decimal
    constant  `name`: pi, e, i, infinity
    symbol    `name`, decorations and subscript included
    add, multiply              any number of `args`
    divide, power              two
    negate, factorial, plusminus   one (plusminus stands for both signs; `name` is + or -)
    call      `name` of the function, `args`
    opaque    `name` of an operator compared by structure alone (sum, integral, limit), `args`
    """

    head: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction | None = None
    literal: Literal | None = None


def number(value: Fraction | int, literal: Literal | None = None) -> Node:
    return Node("number", value=Fraction(value), literal=literal)


def symbol(name: str) -> Node:
    return Node("symbol", name=name)


def call(name: str, *args: Node) -> Node:
    return Node("call", args, name)


def negate(node: Node) -> Node:
    """The negative; of a literal, a literal."""
    if node.head == "number" and node.value is not None:
        return number(-node.value, node.literal)
    return Node("negate", (node,))


def subtract(left: Node, right: Node) -> Node:
    return Node("add", (left, Node("negate", (right,))))


PI, E, IMAGINARY = (Node("constant", name=name) for name in ("pi", "e", "i"))
BOUND = "bound variable"
"""The name that the variable of every sum, product, integral and limit gets."""

INFINITY = Node("constant", name="infinity")


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    pending = [node]
    while pending:
        found = pending.pop()
        yield found
        pending.extend(found.args)


def base(node: Node, first: str) -> Node:
    """What stands under a power and begins with the token `first`.

    (AB) is a symbol of its own there, because AB^2 may be A times B^2.
    """
    run = node.head == "symbol" and len(node.name) > 1 and node.name.isupper()
    return symbol(f"({node.name})") if run and first == "(" else node


def symbols(node: Node) -> frozenset[str]:
    return frozenset(found.name for found in walk(node) if found.head == "symbol")


def has(node: Node, *heads: str) -> bool:
    return any(found.head in heads for found in walk(node))


def has_infinity(node: Node) -> bool:
    """Whether infinity is computed with; as the end of a sum or integral it is not."""
    if node.head == "opaque":
        return False
    return node == INFINITY or any(map(has_infinity, node.args))


def is_numeric(node: Node) -> bool:
    """Whether it has a value: no unknown in it."""
    return not has(node, "symbol", "opaque", "plusminus")


def is_negative(node: Node) -> bool:
    """Whether it is written with a minus sign."""
    return node.head == "negate" or (node.value is not None and node.value < 0)


def is_signed_infinity(node: Node) -> bool:
    return node == INFINITY or (node.head == "negate" and node.args[0] == INFINITY)


def rename(node: Node, old: str, new: str) -> Node:
    """The tree with one symbol for another."""
    if node.head == "symbol":
        return symbol(new) if node.name == old else node
    if not node.args:
        return node
    return Node(
        node.head,
        tuple(rename(arg, old, new) for arg in node.args),
        node.name,
        node.value,
        node.literal,
    )


def with_sign(node: Node, upper: bool) -> Node:
    """The tree with every ± read as its upper or lower sign."""
    if node.head == "plusminus":
        inner = with_sign(node.args[0], upper)
        return inner if (node.name == "+") == upper else negate(inner)
    if not node.args:
        return node
    args = tuple(with_sign(arg, upper) for arg in node.args)
    return Node(node.head, args, node.name, node.value, node.literal)


def key(node: Node) -> str:
    """One spelling for trees that differ only in the order of terms and factors."""
    if node.head == "number":
        return str(node.value)
    if not node.args:
        return f"{node.head}:{node.name}"
    inner = [key(arg) for arg in node.args]
    if node.head in ("add", "multiply"):
        inner.sort()
    return f"{node.head}:{node.name}({','.join(inner)})"
