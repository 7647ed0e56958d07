"""Values at random points, by mpmath: the second opinion on what exact arithmetic leaves open.

The rule. Two expressions of the elementary class read here are equal if they agree at every point
tried where both are real or neither is, and at no fewer than `POINTS` of them: positive and
negative numbers for the unknowns, to 45 digits after the point. Where neither is real a difference
is no proof, unless i or an unknown z or w is there: x^(3/2) and the root of x^3 have other branches
below 0, where school gives them no value. Two numbers are equal if they agree to 105. Both are
computed with as many digits more as the largest and the smallest number on the way has, so that
neither 200! + 1 nor a difference of large powers hides behind rounding. An equality that holds so
far by accident is not known for expressions of this size; a difference at one point is proof. What
has no value, and what is too large to evaluate, is undecided. Runs in killable workers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from filters.verify.maths.nodes import BOUND, Node, symbols, walk
from filters.verify.truth import Truth

POINTS = 6
TRIES = 24
DIGITS = 60
CONSTANT_DIGITS = 120
SLACK = 15
MAX_DIGITS = 6_000
MAX_EXPONENT = 10**6
MAX_FACTORIAL = 3_000
MAX_RANGE = 20_000
MAX_NODES = 600


_COMPLEX = frozenset(("i", "cis", "arg", "Re", "Im"))
"""Names in a formula that is meant for complex numbers."""


class NoValue(Exception):
    """It has no value there, or is too large to evaluate."""


def equal(a: Node, b: Node) -> Truth:
    """Whether two expressions have the same value; None where that cannot be seen."""
    return _compare(a, b, _agree)


def proportional(a: Node, b: Node, *, positive: bool = False) -> Truth:
    """Whether a = c·b for a constant c that is not zero (with `positive`, above zero)."""
    ratios: list[Any] = []

    def constant(x: Any, y: Any, noise: Any) -> bool:
        from mpmath import mp

        if abs(x) <= noise or abs(y) <= noise:
            return bool(abs(x) <= noise and abs(y) <= noise)
        ratio = x / y
        ratios.append(ratio)
        if positive and not (mp.im(ratio) == 0 and mp.re(ratio) > 0):
            return False
        return bool(abs(ratio - ratios[0]) <= abs(ratio) * mp.mpf(10) ** (-DIGITS // 2))

    verdict = _compare(a, b, constant)
    return None if verdict and not ratios else verdict


def value(node: Node) -> Fraction | None:
    """A number's value to about sixty digits; None where it has none or is not real."""
    from mpmath import mp

    try:
        found, _, noise = _pair(node, node, {}, DIGITS + SLACK)
        with mp.workdps(MAX_DIGITS):
            return None if abs(mp.im(found)) > noise else _fraction(mp.re(found))
    except NoValue:
        return None


def _fraction(number: Any) -> Fraction:
    sign, mantissa, exponent, _ = number._mpf_
    if abs(exponent) > 4 * MAX_FACTORIAL:
        raise NoValue
    made: Fraction = Fraction(-mantissa if sign else mantissa) * Fraction(2) ** exponent
    return made


class Point(dict[str, Any]):
    """Values of the unknowns, and the binary exponents of the largest and smallest number met."""

    high = 0
    low = 0

    def note(self, found: Any) -> None:
        from mpmath import mp

        if found != 0:
            size = int(mp.mag(found))
            self.high, self.low = max(self.high, size), min(self.low, size)


def _pair(a: Node, b: Node, values: Mapping[str, Any], digits: int) -> tuple[Any, Any, Any]:
    """Both values at a point, and how far rounding may have moved them. Raises NoValue."""
    from mpmath import mp

    with mp.workdps(digits):
        point = Point(values)
        _evaluate(a, point)
        _evaluate(b, point)
    more = int((point.high - point.low) * 0.302)
    if more > MAX_DIGITS:
        raise NoValue
    high = int(point.high * 0.302)
    with mp.workdps(digits + more):
        point = Point(values)
        x, y = _evaluate(a, point), _evaluate(b, point)
        ordinary = max(abs(x), abs(y)) > mp.mpf(10) ** (-digits // 2)
        noise = mp.mpf(10) ** ((SLACK - digits) if ordinary else (high - digits - more + SLACK))
        return x, y, noise


def _agree(x: Any, y: Any, noise: Any) -> bool:
    return bool(abs(x - y) <= noise)


def _compare(a: Node, b: Node, agree: Callable[[Any, Any, Any], bool]) -> Truth:
    from mpmath import mp

    if sum(1 for side in (a, b) for _ in walk(side)) > MAX_NODES:
        return None
    unknown = symbols(a) | symbols(b) | _operators(a) | _operators(b)
    names = sorted(unknown - {BOUND})
    if not names:
        try:
            found = _pair(a, b, {}, CONSTANT_DIGITS)
        except NoValue:
            return None
        with mp.workdps(MAX_DIGITS):
            return agree(*found)
    agreed = agreed_real = 0
    unlike = _opaque(a) != _opaque(b)
    parted = False
    school = not {"z", "w"} & set(names) and not any(
        _is_complex(found) for side in (a, b) for found in walk(side)
    )
    barred = any(found.name == "abs" for side in (a, b) for found in walk(side))
    if barred and _differ_off_the_line(a, b, names):
        return None  # |z|^2 is z^2 for real z alone
    chance = random.Random(20_231)
    for attempt in range(TRIES):
        values = {name: _draw(chance, attempt) for name in names}
        try:
            x, y, noise = _pair(a, b, values, DIGITS)
        except NoValue:
            continue
        if _is_real(x) != _is_real(y):
            if barred:
                return None  # ln x against ln |x|
            continue
        with mp.workdps(4 * DIGITS):
            if not agree(x, y, noise):
                if unlike:
                    return None  # of an infinite sum, a product or a limit nothing is known
                if school and not _is_real(x):
                    parted = True  # another branch of a root, where school has no value
                    continue
                return False
        agreed += 1
        agreed_real += _is_real(x)
        enough = agreed_real if parted else agreed
        if enough >= POINTS and attempt >= POINTS + 2:
            return True
    return True if (agreed_real if parted else agreed) >= POINTS else None


def _is_complex(node: Node) -> bool:
    """Whether a part is meant for complex numbers, or has no real value between integers."""
    alternating = node.head == "power" and node.args[0].head == "negate" and symbols(node.args[1])
    return node.name in _COMPLEX or bool(alternating)


def _differ_off_the_line(a: Node, b: Node, names: list[str]) -> bool:
    """Whether two sides differ where z, or w, is a complex number."""
    from mpmath import mp

    if not {"z", "w"} & set(names):
        return False
    values = {name: mp.mpf(7 + at) / 9 for at, name in enumerate(names)}
    values |= {name: mp.mpc(1, 2) / 3 for name in ("z", "w") if name in values}
    try:
        x, y, noise = _pair(a, b, values, DIGITS)
    except NoValue:
        return False
    with mp.workdps(4 * DIGITS):
        return not _agree(x, y, noise)


def _operators(node: Node) -> frozenset[str]:
    """What is compared by structure: its value is an unknown of that name."""
    return frozenset(
        _unknown(found)
        for found in walk(node)
        if (found.head == "opaque" and not _is_finite(found))
        or (found.head == "call" and found.name.startswith("function "))
        or found.head == "plusminus"
    )


def _opaque(node: Node) -> frozenset[str]:
    return frozenset(
        _unknown(found)
        for found in walk(node)
        if found.head == "opaque"
        and found.name[:3] in ("sum", "pro", "lim")
        and not _is_finite(found)
    )


def _unknown(node: Node) -> str:
    from filters.verify.maths.nodes import key

    return "@" + key(node)


def _draw(chance: random.Random, attempt: int) -> Any:
    from mpmath import mp

    drawn = mp.mpf(chance.randrange(10**17, 29 * 10**17)) / 10**18
    scale = (1, 1, 4, 25)[attempt // 3 % 4]
    # Positive points first: there all the ordinary functions are real.
    return -drawn * scale if attempt % 3 == 2 and chance.random() < 0.7 else drawn * scale


def _is_real(x: Any) -> bool:
    from mpmath import mp

    return bool(mp.im(x) == 0 or abs(mp.im(x)) < mp.mpf(10) ** (-DIGITS * 3 // 4) * (1 + abs(x)))


def _evaluate(node: Node, point: Point) -> Any:
    from mpmath import mp

    try:
        found = _value(node, point)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError, ArithmeticError) as error:
        raise NoValue from error
    if not mp.isfinite(found):
        raise NoValue
    point.note(found)
    return found


def _value(node: Node, point: Point) -> Any:
    from mpmath import mp

    head = node.head
    if head == "number":
        assert node.value is not None
        return mp.mpf(node.value.numerator) / node.value.denominator
    if head == "symbol":
        return point[node.name]
    if head == "constant":
        return _constant(node.name)
    if head == "opaque" and _is_finite(node):
        return _finite(node, point)
    if head in ("opaque", "plusminus") or (head == "call" and node.name.startswith("function ")):
        return point[_unknown(node)]
    args = [_evaluate(arg, point) for arg in node.args]
    if head == "add":
        return mp.fsum(args)
    if head == "multiply":
        return mp.fprod(args)
    if head == "negate":
        return -args[0]
    if head == "divide":
        if abs(args[1]) < mp.mpf(10) ** (-mp.dps * 3 // 4):
            raise NoValue
        return args[0] / args[1]
    if head == "power":
        return _power(args[0], args[1], node.args[1].value)
    if head == "factorial":
        if abs(args[0]) > MAX_FACTORIAL or (mp.im(args[0]) == 0 and args[0] < 0):
            raise NoValue
        return mp.factorial(args[0])
    if head == "call":
        return _call(node.name, args)
    raise NoValue


def _constant(name: str) -> Any:
    from mpmath import mp

    if name == "pi":
        return +mp.pi
    if name == "e":
        return +mp.e
    if name == "i":
        return mp.mpc(0, 1)
    if name == "degree":
        return mp.pi / 180
    raise NoValue  # infinity


def _power(base: Any, exponent: Any, written: Fraction | None) -> Any:
    from mpmath import mp

    if abs(exponent) > MAX_EXPONENT or abs(mp.im(exponent)) > 10**3:
        raise NoValue
    if base == 0 and not (mp.im(exponent) == 0 and exponent > 0):
        raise NoValue
    if abs(base) > 1 and exponent != 0 and mp.log(abs(base) + 1) * abs(exponent) > MAX_EXPONENT:
        raise NoValue
    real = mp.im(base) == 0 and mp.re(base) < 0
    if real and written is not None and written.denominator % 2 and written.denominator > 1:
        size = mp.power(-mp.re(base), exponent)
        return size if written.numerator % 2 == 0 else -size
    return mp.power(base, exponent)


def _call(name: str, args: list[Any]) -> Any:
    from mpmath import mp

    x = args[0]
    if name == "root":
        degree = args[1]
        if degree == 0:
            raise NoValue
        if mp.im(x) == 0 and mp.re(x) < 0 and mp.im(degree) == 0 and degree % 2 == 1:
            return -mp.power(-mp.re(x), 1 / degree)
        return mp.power(x, 1 / degree) if degree != 2 else mp.sqrt(x)
    if name in ("ln", "log"):
        if x == 0 or (name == "log" and args[1] in (0, 1)):
            raise NoValue
        return mp.log(x) / mp.log(args[1]) if name == "log" else mp.log(x)
    if name in ("floor", "ceil", "max", "min", "gcd", "lcm") and any(
        mp.im(arg) != 0 for arg in args
    ):
        raise NoValue
    if name in ("floor", "ceil"):
        # Near a whole number rounding decides; away from one it is certain.
        if abs(x - mp.nint(x)) < mp.mpf(10) ** (-mp.dps // 2) and x != mp.nint(x):
            x = mp.nint(x)
        return mp.floor(x) if name == "floor" else mp.ceil(x)
    if name in ("max", "min"):
        return max(args) if name == "max" else min(args)
    if name in ("gcd", "lcm"):
        return _whole(name, args)
    if name == "binomial":
        if any(abs(arg) > 10**4 for arg in args):
            raise NoValue
        return mp.binomial(*args)
    if name == "determinant":
        size = round(len(args) ** 0.5)
        return mp.det(mp.matrix([args[at : at + size] for at in range(0, len(args), size)]))
    if name == "cis":
        return mp.cos(x) + mp.mpc(0, 1) * mp.sin(x)
    if name in ("tan", "sec") and abs(mp.cos(x)) < mp.mpf(10) ** (-mp.dps // 2):
        raise NoValue
    if name in ("cot", "csc") and abs(mp.sin(x)) < mp.mpf(10) ** (-mp.dps // 2):
        raise NoValue
    function = _functions().get(name)
    if function is None or len(args) != 1 or (abs(x) > 10**4 and name.endswith("h")):
        raise NoValue
    return function(x)


def _whole(name: str, args: list[Any]) -> Any:
    from math import gcd, lcm

    from mpmath import mp

    if any(arg != mp.nint(arg) or abs(arg) > 10**30 for arg in args):
        raise NoValue
    return mp.mpf((gcd if name == "gcd" else lcm)(*(int(arg) for arg in args)))


@lru_cache(maxsize=1)
def _functions() -> Mapping[str, Callable[[Any], Any]]:
    from mpmath import mp

    return {
        "sin": mp.sin,
        "cos": mp.cos,
        "tan": mp.tan,
        "cot": mp.cot,
        "sec": mp.sec,
        "csc": mp.csc,
        "sinh": mp.sinh,
        "cosh": mp.cosh,
        "tanh": mp.tanh,
        "coth": mp.coth,
        "sech": mp.sech,
        "csch": mp.csch,
        "arcsin": mp.asin,
        "arccos": mp.acos,
        "arctan": mp.atan,
        "arccot": mp.acot,
        "arcsinh": mp.asinh,
        "arccosh": mp.acosh,
        "arctanh": mp.atanh,
        "abs": abs,
        "norm": abs,
        "Re": mp.re,
        "Im": mp.im,
        "arg": mp.arg,
        "erf": mp.erf,
        "sgn": mp.sign,
        "sign": mp.sign,
    }


def _is_finite(node: Node) -> bool:
    """A sum or product over a range of numbers."""
    if node.name not in ("sum", "prod"):
        return False
    low, high = node.args[1].value, node.args[2].value
    return (
        low is not None
        and high is not None
        and low.denominator == high.denominator == 1
        and 0 <= high - low < MAX_RANGE
    )


def _finite(node: Node, point: Point) -> Any:
    from mpmath import mp

    low, high = node.args[1].value, node.args[2].value
    assert low is not None
    assert high is not None
    terms = []
    for at in range(int(low), int(high) + 1):
        point[BOUND] = mp.mpf(at)
        terms.append(_evaluate(node.args[0], point))
    return mp.fsum(terms) if node.name == "sum" else mp.fprod(terms)
