"""Exact arithmetic on what competition answers are made of.

An expression is a quotient of two polynomials whose coefficients are fractions and whose monomials
are products of square roots of squarefree integers, π, e and variables. Those are linearly
independent over the rationals, so equality is decided by cross-multiplication, with no rounding
and no search. Whatever else there is (logarithms, symbolic exponents) enters as an opaque atom:
two such expressions may be found equal, never found different.

Everything is bounded: digits, powers, terms. Past a bound the answer is `Undecided`, not slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb, factorial, gcd, isqrt
from typing import NamedTuple

from filters.verify.maths.nodes import Node, is_numeric, key

MAX_BITS = 2**13
MAX_TERMS = 64
MAX_DEGREE = 64
MAX_FACTORIAL = 150
MAX_POWER = 24
MAX_RADICAND = 10**6

_SCALE = 10**60
_PI = Fraction(3141592653589793238462643383279502884197169399375105820974944592, 10**63)
_E = Fraction(2718281828459045235360287471352662497757247093699959574966967627, 10**63)
_VALUES = {"pi": _PI, "e": _E}

OPAQUE = "@"
"""First character of an opaque atom's name."""


class Undecided(Exception):
    """The exact path cannot read this; another may."""


class Monomial(NamedTuple):
    """√radicand times atoms to their powers. The atom i is the imaginary unit: i² is -1."""

    radicand: int
    atoms: tuple[tuple[str, int], ...]


ONE = Monomial(1, ())
Polynomial = dict[Monomial, Fraction]


@dataclass(frozen=True, slots=True)
class Expression:
    """numerator / denominator."""

    numerator: Polynomial
    denominator: Polynomial

    @property
    def rational(self) -> Fraction | None:
        """Its value where that is a rational number."""
        top, bottom = _constant(self.numerator), _constant(self.denominator)
        return None if top is None or bottom is None else top / bottom

    @property
    def atoms(self) -> frozenset[str]:
        both = (*self.numerator, *self.denominator)
        return frozenset(name for monomial in both for name, _ in monomial.atoms)

    @property
    def opaque(self) -> bool:
        """Whether inequality of form says nothing about inequality of value."""
        atoms = self.atoms
        # Whether e and π are algebraically independent is an open question.
        return any(name[0] == OPAQUE for name in atoms) or {"e", "pi"} <= atoms

    @property
    def numeric(self) -> bool:
        return self.atoms <= _VALUES.keys()


@lru_cache(maxsize=16_384)
def expression_of(node: Node) -> Expression:
    """The quotient of polynomials that a tree is. Raises Undecided past a bound, at a division by
    zero, and wherever a part may have no value (0·ln 0, ∞ - ∞)."""
    head = node.head
    if head == "number":
        assert node.value is not None
        return number(node.value)
    if head == "symbol":
        return atom(node.name)
    if head == "constant":
        return _constant_of(node.name)
    if head == "negate":
        return negate(expression_of(node.args[0]))
    if head == "add":
        made = expression_of(node.args[0])
        for arg in node.args[1:]:
            made = add(made, expression_of(arg))
        return made
    if head == "multiply":
        made = expression_of(node.args[0])
        for arg in node.args[1:]:
            made = multiply(made, expression_of(arg))
        return made
    if head == "divide":
        return divide(expression_of(node.args[0]), expression_of(node.args[1]))
    if head == "power":
        return power(expression_of(node.args[0]), expression_of(node.args[1]), node)
    if head == "factorial":
        n = expression_of(node.args[0]).rational
        if n is not None and n.denominator == 1 and 0 <= n <= MAX_FACTORIAL:
            return number(factorial(int(n)))
    if head == "call":
        return _called(node)
    if is_numeric(node):
        raise Undecided(head)  # it may have no value
    return atom(OPAQUE + key(node))


def _constant_of(name: str) -> Expression:
    if name in ("pi", "e", "i"):
        return atom(name)
    if name == "degree":
        return divide(atom("pi"), number(180))
    raise Undecided(name)


def _called(node: Node) -> Expression:
    args = [expression_of(arg) for arg in node.args]
    values = [arg.rational for arg in args]
    degree = values[-1]
    if node.name == "root" and degree is not None and degree.denominator == 1 and 2 <= degree <= 24:
        return root(args[0], int(degree), node)
    if node.name == "abs" and values[0] is not None:
        return number(abs(values[0]))
    if node.name in ("floor", "ceil") and values[0] is not None:
        down = values[0].numerator // values[0].denominator
        up = -(-values[0].numerator // values[0].denominator)
        return number(down if node.name == "floor" else up)
    if node.name == "binomial" and None not in values:
        n, k = values[0], values[1]
        assert n is not None
        assert k is not None
        if n.denominator == k.denominator == 1 and 0 <= n <= 300 and 0 <= k <= 300:
            return number(comb(int(n), int(k)))
    if is_numeric(node):
        positive = values[0] is not None and values[0] > 0
        defined = node.name in ("sin", "cos") or (node.name in ("ln", "log") and positive)
        if not defined or any(arg.opaque for arg in args):
            raise Undecided(node.name)
    return atom(OPAQUE + key(node))


def number(value: Fraction | int) -> Expression:
    value = Fraction(value)
    return Expression({ONE: value} if value else {}, {ONE: Fraction(1)})


def atom(name: str) -> Expression:
    return Expression({Monomial(1, ((name, 1),)): Fraction(1)}, {ONE: Fraction(1)})


def add(a: Expression, b: Expression) -> Expression:
    if a.denominator == b.denominator:
        return Expression(_sum(a.numerator, b.numerator), a.denominator)
    top = _sum(product(a.numerator, b.denominator), product(b.numerator, a.denominator))
    return Expression(top, product(a.denominator, b.denominator))


def multiply(a: Expression, b: Expression) -> Expression:
    top = product(a.numerator, b.numerator)
    return Expression(top, product(a.denominator, b.denominator))


def divide(a: Expression, b: Expression) -> Expression:
    if not b.numerator:
        raise Undecided("division by zero")
    return Expression(product(a.numerator, b.denominator), product(a.denominator, b.numerator))


def negate(a: Expression) -> Expression:
    return Expression({monomial: -c for monomial, c in a.numerator.items()}, a.denominator)


def power(a: Expression, exponent: Expression, node: Node) -> Expression:
    """`node` is the power's own tree, which names it where it stays opaque."""
    to = exponent.rational
    if to is not None and to.denominator == 2 and abs(to) <= MAX_POWER and a.rational is not None:
        half = root(a, 2, node)
        return power(half, number(to.numerator), node) if OPAQUE not in str(half.atoms) else half
    if to is None or to.denominator != 1:
        if is_numeric(node):
            raise Undecided("a power")
        return atom(OPAQUE + key(node))
    base, times = a.rational, abs(int(to))
    if base is not None:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if size * times > MAX_BITS or (not base and to <= 0):
            raise Undecided("a power too large")
        return number(base ** int(to))
    if times > MAX_POWER:
        raise Undecided("a power too large")
    if not a.numerator and to <= 0:
        raise Undecided("zero to no positive power")
    made = number(1)
    for _ in range(times):
        made = multiply(made, a)
    return made if to >= 0 else Expression(made.denominator, made.numerator)


def root(a: Expression, degree: int, node: Node) -> Expression:
    value = a.rational
    if value is None:
        if is_numeric(node):
            raise Undecided("a root of a root")
        return atom(OPAQUE + key(node))
    if value < 0:
        if degree == 2:
            return multiply(root(negate(a), 2, node), atom("i"))
        raise Undecided("a root of a negative number")
    top, bottom = value.numerator, value.denominator
    if degree != 2:
        exact = [_integer_root(part, degree) for part in (top, bottom)]
        if None in exact:
            raise Undecided("a higher root")
        return Expression(
            {ONE: Fraction(exact[0] or 0)} if top else {}, {ONE: Fraction(exact[1] or 1)}
        )
    outside, radicand = _squarefree(top * bottom)
    if not outside:
        return number(0)
    return Expression({Monomial(radicand, ()): Fraction(outside, bottom)}, {ONE: Fraction(1)})


def equal(a: Expression, b: Expression) -> bool:
    """Whether the two have the same value; certain unless one of them is opaque."""
    return product(a.numerator, b.denominator) == product(b.numerator, a.denominator)


def approximate(a: Expression) -> Fraction:
    """The value of a numeric expression to about sixty digits."""
    bottom = _evaluate(a.denominator)
    if not bottom:
        raise Undecided("a denominator of zero")
    return _evaluate(a.numerator) / bottom


def _constant(polynomial: Polynomial) -> Fraction | None:
    if not polynomial:
        return Fraction(0)
    return polynomial.get(ONE) if len(polynomial) == 1 else None


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    made = dict(a)
    for monomial, coefficient in b.items():
        total = made.get(monomial, 0) + coefficient
        if total:
            made[monomial] = Fraction(total)
        else:
            made.pop(monomial, None)
    return _bounded(made)


def product(a: Polynomial, b: Polynomial) -> Polynomial:
    if len(b) == 1 and b.get(ONE) == 1:
        return a
    if len(a) * len(b) > MAX_TERMS**2:
        raise Undecided("too many terms")
    made: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            factor, monomial = _join(left, right)
            total = made.get(monomial, 0) + x * y * factor
            if total:
                made[monomial] = Fraction(total)
            else:
                made.pop(monomial, None)
    return _bounded(made)


def _join(a: Monomial, b: Monomial) -> tuple[int, Monomial]:
    if not a.atoms and not b.atoms and a.radicand == b.radicand == 1:
        return 1, ONE
    common = gcd(a.radicand, b.radicand)
    factor = common
    powers = dict(a.atoms)
    for name, exponent in b.atoms:
        powers[name] = powers.get(name, 0) + exponent
    if powers.get("i", 0) > 1:
        del powers["i"]
        factor = -common
    if sum(powers.values()) > MAX_DEGREE:
        raise Undecided("a power too large")
    radicand = a.radicand * b.radicand // common**2
    return factor, Monomial(radicand, tuple(sorted(powers.items())))


def _bounded(polynomial: Polynomial) -> Polynomial:
    if len(polynomial) > MAX_TERMS or any(
        max(c.numerator.bit_length(), c.denominator.bit_length()) > 2 * MAX_BITS
        for c in polynomial.values()
    ):
        raise Undecided("too large")
    return polynomial


def _evaluate(polynomial: Polynomial) -> Fraction:
    total = Fraction(0)
    for monomial, coefficient in polynomial.items():
        term = coefficient
        if monomial.radicand != 1:
            term *= Fraction(isqrt(monomial.radicand * _SCALE**2), _SCALE)
        for name, exponent in monomial.atoms:
            term *= _VALUES[name] ** exponent
        total += term
    return total


def _squarefree(n: int) -> tuple[int, int]:
    """n as outside² · radicand with radicand squarefree."""
    exact = isqrt(n)
    if exact * exact == n:
        return exact, 1
    if n > MAX_RADICAND:
        raise Undecided("a radicand too large")
    outside, radicand, divisor = 1, n, 2
    while divisor * divisor <= radicand:
        if radicand % (divisor * divisor) == 0:
            radicand //= divisor * divisor
            outside *= divisor
        else:
            divisor += 1
    return outside, radicand


def _integer_root(n: int, degree: int) -> int | None:
    """The exact root of n, or None. n is at most MAX_BITS long."""
    low, high = 0, 1 << (n.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**degree < n:
            low = middle + 1
        else:
            high = middle
    return low if low**degree == n else None
