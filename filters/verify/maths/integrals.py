"""Definite integrals of polynomials: what a reference that is one amounts to."""

from __future__ import annotations

from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.nodes import BOUND, Node

MAX_DEGREE = 20
MAX_LIMIT = 10**6


def evaluate_integral(node: Node) -> Node | None:
    """The value of an integral between two numbers of a polynomial with numbers as coefficients;
    None for anything else."""
    if node.head != "opaque" or node.name != "int" or len(node.args) != 3:
        return None
    terms = _coefficients(node.args[0], BOUND)
    limits = node.args[1:]
    low, high = (_coefficients(limit, "") for limit in limits)
    if terms is None or low is None or high is None:
        return None
    ends = low.get(0, Fraction(0)), high.get(0, Fraction(0))
    if any(max(abs(end.numerator), end.denominator) > MAX_LIMIT for end in ends):
        return None
    values = [
        sum((c * end ** (power + 1) / (power + 1) for power, c in terms.items()), Fraction(0))
        for end in ends
    ]
    return nodes.number(values[1] - values[0])


def _coefficients(node: Node, name: str) -> dict[int, Fraction] | None:
    """A polynomial in `name` as coefficients by power; None for anything else."""
    if node.head == "number":
        exact = node.value is not None and node.literal is None
        return {0: node.value} if exact and node.value is not None else None
    if node.head == "symbol":
        return {1: Fraction(1)} if name and node.name == name else None
    if node.head not in ("negate", "add", "multiply", "divide", "power"):
        return None
    parts = [_coefficients(arg, name) for arg in node.args]
    if any(part is None for part in parts):
        return None
    read = [part for part in parts if part is not None]
    if node.head == "negate":
        return {power: -value for power, value in read[0].items()}
    if node.head == "add":
        total: dict[int, Fraction] = {}
        for part in read:
            for power, value in part.items():
                total[power] = total.get(power, Fraction(0)) + value
        return total
    if node.head == "multiply":
        product = {0: Fraction(1)}
        for part in read:
            if len(product) * len(part) > MAX_DEGREE or max(product) + max(part) > MAX_DEGREE:
                return None
            multiplied: dict[int, Fraction] = {}
            for power, value in product.items():
                for other, factor in part.items():
                    sum_ = power + other
                    multiplied[sum_] = multiplied.get(sum_, Fraction(0)) + value * factor
            product = multiplied
        return product
    if set(read[1]) != {0}:
        return None
    constant = read[1][0]
    if node.head == "divide":
        return {p: value / constant for p, value in read[0].items()} if constant else None
    whole = constant.denominator == 1 and 0 <= constant <= MAX_DEGREE
    if not whole or set(read[0]) != {1} or read[0][1] != 1:
        return None
    return {int(constant): Fraction(1)}
