"""Families of answers: x = π/4 + kπ for k ∈ Z, f(x) = cx for a constant c, C₁eˣ + C₂e⁻ˣ.

Their parameters may have other letters. What they may stand for must be the same. Families over all
integers that are progressions are compared as sets of numbers, and lines as sets of points.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.forms import (
    Family,
    Form,
    Group,
    Named,
    Parameter,
    Region,
    Relation,
    Value,
)
from filters.verify.maths.nodes import Node
from filters.verify.maths.reading.conditions import letters, values_of
from filters.verify.truth import Truth, every, some

Same = Callable[[Form, Form], Truth]
Number = Callable[[Node], Fraction | None]

MAX_PARAMETERS = 3
MAX_RESIDUES = 360
MAX_DEGREE = 8
WHOLE_LETTERS = frozenset("klmnNKM")
"""Letters that stand for whole numbers where nothing is said of them."""
LINE_LETTERS = frozenset(("t", "s", "u", "k", "lambda", "mu"))
"""Letters that run along a line: (x, y) = (1 + 2t, -t)."""

_CLOSE = Fraction(1, 10**45)
_STEPS = 12
_CONSTANT = re.compile(r"[Cc](?:_\d)?|[kK]_\d|c_\d")
_RENAMED = re.compile(r"[A-DK](?:_\d)?|[ck](?:_\d)?")


def same_families(reference: Form, answer: Form, same: Same, number: Number) -> Truth:
    """Whether two forms, at least one of them a family, are the same for all parameters."""
    wanted, given = _parts(reference), _parts(answer)
    own = _same_own(wanted, given)
    if own is not True:
        return own
    wanted, given = _without_own(wanted), _without_own(given)
    if not wanted[1] and not given[1]:
        return same(wanted[0], given[0])
    if not wanted[1] or not given[1]:
        wanted, given = _declared(wanted, given), _declared(given, wanted)
    if len(wanted[1]) != len(given[1]) or not 0 < len(wanted[1]) <= MAX_PARAMETERS:
        return False
    verdicts: list[Truth] = []
    for order in itertools.permutations(given[1]):
        domains = every([_same_domain(a, b, same) for a, b in zip(wanted[1], order, strict=True)])
        if domains is False:
            continue
        names = [f"parameter {place}" for place in range(len(order))]
        left = rename(wanted[0], dict(zip((p.name for p in wanted[1]), names, strict=True)))
        right = rename(given[0], dict(zip((p.name for p in order), names, strict=True)))
        verdicts.append(every([domains, same(left, right)]))
    found = some(verdicts)
    if found is True or len(wanted[1]) > 1 or not verdicts:
        return found
    other = _same_progressions(wanted, given, number)
    return _same_lines(wanted, given, number) if other is None else other


Parts = tuple[Form, tuple[Parameter, ...]]


def _parts(form: Form) -> Parts:
    return (form.form, form.parameters) if isinstance(form, Family) else (form, ())


def _own(parts: Parts) -> Parameter | None:
    name = parts[0].name if isinstance(parts[0], Named) else ""
    return next((p for p in parts[1] if p.name == name and name not in letters(parts[0])), None)


def _same_own(wanted: Parts, given: Parts) -> Truth:
    """Whether the numbers meant by the names themselves are of one kind: integers n ≥ 4."""
    one, other = _own(wanted), _own(given)
    if one is None and other is None:
        return True
    if one is not None and other is not None:
        return (one.domain, one.region) == (other.domain, other.region) or None
    declared = one or other
    assert declared is not None
    undeclared = (given if one else wanted)[0]
    plain = declared.domain == "Z" and declared.region is None
    named = isinstance(undeclared, Named) and undeclared.name == declared.name
    return plain and named and declared.name in WHOLE_LETTERS


def _without_own(parts: Parts) -> Parts:
    own = _own(parts)
    return parts[0], tuple(p for p in parts[1] if p is not own)


def _declared(parts: Parts, other: Parts) -> Parts:
    """An undeclared side, with what the other side says of its letters where that goes unsaid."""
    if parts[1] or len(other[1]) != 1:
        return parts
    parameter = other[1][0]
    named = {form.name for form in _all_named(parts[0])}
    free = letters(parts[0]) - (letters(other[0]) - {parameter.name}) - named
    if len(free) != 1 or parameter.region is not None:
        return parts
    name = next(iter(free))
    whole = parameter.domain == "Z" and name in WHOLE_LETTERS
    constant = parameter.domain in ("constant", "R") and name == parameter.name
    tuples = all(isinstance(form, Named) and "," in form.name for form in (parts[0], other[0]))
    if tuples and parameter.domain == "R":
        constant = constant or name in LINE_LETTERS
    return (parts[0], (Parameter(name, parameter.domain),)) if whole or constant else parts


def _all_named(form: Form) -> Iterator[Named]:
    if isinstance(form, Named):
        yield form
    if isinstance(form, Group):
        for item in form.items:
            yield from _all_named(item)


def _same_domain(one: Parameter, other: Parameter, same: Same) -> Truth:
    kinds = {_kind(one), _kind(other)}
    if len(kinds) > 1 and not kinds <= {"R", "C", "constant"}:
        return None if "N" in kinds and "Z" in kinds else False
    regions = _whole(one), _whole(other)
    if regions[0] == regions[1]:
        return True
    if regions[0] is None or regions[1] is None:
        return False
    return same(Named("parameter", regions[0]), Named("parameter", regions[1]))


def _kind(parameter: Parameter) -> str:
    if parameter.domain:
        return parameter.domain
    return "Z" if parameter.name in WHOLE_LETTERS else "R"


def _whole(parameter: Parameter) -> Form | None:
    """The region; of whole numbers, with its ends: k > 0 is k ≥ 1."""
    region = parameter.region
    if _kind(parameter) != "Z" or not isinstance(region, Group) or len(region.items) != 2:
        return region
    if region.ends not in ("()", "[)", "(]", "[]"):
        return region
    low, high = region.items
    ends = list(region.ends)
    if isinstance(low, Value) and low.node.value is not None and ends[0] == "(":
        whole = low.node.value.denominator == 1
        low, ends[0] = (Value(nodes.number(low.node.value + 1)), "[") if whole else (low, "(")
    if isinstance(high, Value) and high.node.value is not None and ends[1] == ")":
        whole = high.node.value.denominator == 1
        high, ends[1] = (Value(nodes.number(high.node.value - 1)), "]") if whole else (high, ")")
    return Group("".join(ends), (low, high))


def rename(form: Form, names: Mapping[str, str]) -> Form:
    """The form with other letters in its expressions."""
    return change(form, lambda node: _rename(node, names))


def _rename(node: Node, names: Mapping[str, str]) -> Node:
    for old, new in names.items():
        node = nodes.rename(node, old, new)
    return node


def change(form: Form, make: Callable[[Node], Node]) -> Form:
    """The form with each of its expressions changed."""
    if isinstance(form, Value):
        return replace(
            form, node=make(form.node), others=tuple(change(other, make) for other in form.others)
        )
    if isinstance(form, Group):
        return replace(form, items=tuple(change(item, make) for item in form.items))
    if isinstance(form, Named):
        return replace(form, form=change(form.form, make))
    if isinstance(form, Relation):
        sides = (change(side, make) for side in form.sides)
        return replace(form, sides=tuple(side for side in sides if isinstance(side, Value)))
    if isinstance(form, Region):
        pieces = (change(piece, make) for piece in form.pieces)
        return Region(
            tuple(piece for piece in pieces if isinstance(piece, Group)),
            tuple(change(point, make) for point in form.without),
        )
    return form


def _series(parts: Parts) -> tuple[str, list[Node], str] | None:
    """The name, and the expressions in the one parameter; None where it is no list of values."""
    form, parameters = parts
    name = ""
    if isinstance(form, Named):
        name, form = form.name, form.form
    if isinstance(form, Group) and form.ends in ("", "{}"):
        items: Sequence[Form] = form.items
    else:
        items = [form]
    found = []
    for item in items:
        if isinstance(item, Named) and (not name or item.name == name):
            name, item = item.name, item.form
        if not isinstance(item, Value) or item.unit or item.percent or item.others:
            return None
        if nodes.symbols(item.node) != {parameters[0].name} or not _steady(item.node):
            return None
        found.append(item.node)
    return name, found, parameters[0].name


def _steady(node: Node) -> bool:
    """Whether what it does at two dozen whole numbers it does at all: a polynomial, and (-1)^k."""
    for found in nodes.walk(node):
        if not nodes.symbols(found):
            continue
        if found.head == "power":
            base, exponent = found.args
            if nodes.symbols(exponent):
                if base not in (nodes.number(-1), nodes.negate(nodes.number(1))):
                    return False
            elif exponent.value is None or not 0 <= exponent.value <= MAX_DEGREE:
                return False
        elif found.head == "divide":
            if nodes.symbols(found.args[1]):
                return False
        elif found.head not in ("add", "multiply", "negate", "symbol"):
            return False
    return True


def _same_progressions(wanted: Parts, given: Parts, number: Number) -> Truth:
    """Of values over all integers that are a + bk, or are so for each remainder of k."""
    kinds = [(_kind(parts[1][0]), parts[1][0].region) for parts in (wanted, given)]
    series = _series(wanted), _series(given)
    if kinds != [("Z", None)] * 2 or series[0] is None or series[1] is None:
        return None
    if series[0][0] and series[1][0] and series[0][0] != series[1][0]:
        return False
    found = _progressions(series[0], number), _progressions(series[1], number)
    if found[0] is None or found[1] is None:
        return None
    sides = found[0], found[1]
    steps = [step for side in sides for _, step in side]
    base = steps[0]
    ratios = [(step / base).limit_denominator(1000) for step in steps]
    if any(abs(r * base - step) > _CLOSE for r, step in zip(ratios, steps, strict=True)):
        return False  # their steps have no common multiple
    whole = Fraction(1)
    for ratio in ratios:
        whole = _common_multiple(whole, ratio)
    period = abs(base * whole)
    left, right = _residues(sides[0], period), _residues(sides[1], period)
    if left is None or right is None:
        return None
    return all(
        any(_near(one, other, period) for other in others)
        for ones, others in ((left, right), (right, left))
        for one in ones
    )


def _common_multiple(a: Fraction, b: Fraction) -> Fraction:
    from math import gcd, lcm

    return Fraction(lcm(a.numerator, b.numerator), gcd(a.denominator, b.denominator))


def _progressions(
    series: tuple[str, list[Node], str], number: Number
) -> list[tuple[Fraction, Fraction]] | None:
    """(first, step) of the progressions that the expressions run through."""
    found: list[tuple[Fraction, Fraction]] = []
    for node in series[1]:
        values = [number(_at(node, series[2], k)) for k in range(2 * _STEPS)]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        for period in (1, 2, 3, 4, 6):
            steps = [b - a for a, b in zip(known, known[period:], strict=False)]
            if steps[0] != 0 and all(abs(step - steps[0]) <= _CLOSE for step in steps):
                found += [(first, steps[0]) for first in known[:period]]
                break
        else:
            return None
    return found


def _at(node: Node, name: str, k: int) -> Node:
    if node.head == "symbol" and node.name == name:
        return nodes.number(k)
    if not node.args:
        return node
    return Node(node.head, tuple(_at(arg, name, k) for arg in node.args), node.name, node.value)


def _residues(side: list[tuple[Fraction, Fraction]], period: Fraction) -> list[Fraction] | None:
    found: list[Fraction] = []
    for first, step in side:
        count = round(period / abs(step))
        if count + len(found) > MAX_RESIDUES:
            return None
        found += [(first + place * abs(step)) % period for place in range(count)]
    return found


def _near(a: Fraction, b: Fraction, period: Fraction) -> bool:
    apart = abs(a - b)
    return min(apart, abs(period - apart)) <= _CLOSE * 100


def _same_lines(wanted: Parts, given: Parts, number: Number) -> Truth:
    """Of points a + tb over all real t: the same line. None for anything else."""
    lines = []
    for form, parameters in (wanted, given):
        inner = form.form if isinstance(form, Named) else form
        if (_kind(parameters[0]), parameters[0].region) != ("R", None):
            return None
        points = []
        for t in (0, 1, 3):
            values = [number(_at(v.node, parameters[0].name, t)) for v in values_of(inner)]
            points.append([value for value in values if value is not None])
        sizes = {len(point) for point in points}
        point, second, third = points
        if sizes != {len([*values_of(inner)])} or not isinstance(inner, Group) or len(point) < 2:
            return None
        way = [b - a for a, b in zip(point, second, strict=True)]
        if any(abs(a + 3 * b - c) > _CLOSE for a, b, c in zip(point, way, third, strict=True)):
            return None
        lines.append((point, way))
    (point, way), (other, turned) = lines
    if len(point) != len(other):
        return False
    between = [b - a for a, b in zip(point, other, strict=True)]
    return _parallel(way, turned) and _parallel(way, between)


def _parallel(a: list[Fraction], b: list[Fraction]) -> bool:
    pairs = itertools.combinations(range(len(a)), 2)
    return all(abs(a[i] * b[j] - a[j] * b[i]) <= _CLOSE for i, j in pairs)


def with_constants(reference: Value, answer: Value) -> Iterator[Value]:
    """The answer with its constants of integration called as the reference calls them.

    Only where the reference is a sum of such constants times functions of one variable: there every
    choice of letters says the same.
    """
    wanted = sorted(name for name in nodes.symbols(reference.node) if _CONSTANT.fullmatch(name))
    others = nodes.symbols(reference.node) - set(wanted)
    if len(others) != 1 or not 0 < len(wanted) <= MAX_PARAMETERS:
        return
    if not _is_general(reference.node, frozenset(wanted)):
        return
    given = sorted(nodes.symbols(answer.node) - others)
    if len(given) != len(wanted) or not all(map(_RENAMED.fullmatch, given)):
        return
    if not _are_counted(given):
        return
    if not _is_general(answer.node, frozenset(given)):
        return
    linear = not any(found.head in ("power", "call") for found in nodes.walk(reference.node))
    if len(wanted) == 1 and linear and not _is_added(reference.node, wanted[0]):
        return  # U = Cx gives C, as like as not
    for order in itertools.permutations(given):
        placed = _rename(answer.node, {name: f"new {name}" for name in order})
        names = {f"new {name}": new for name, new in zip(order, wanted, strict=True)}
        yield replace(answer, node=_rename(placed, names))


def _are_counted(names: list[str]) -> bool:
    """Whether names with an index are of one letter and count from 0 or 1: c_1, c_7 do not."""
    if not any("_" in name for name in names):
        return True
    runs = [[f"{names[0][0]}_{first + at}" for at in range(len(names))] for first in (0, 1)]
    return names in runs


def _is_added(node: Node, constant: str) -> bool:
    return any(term == nodes.symbol(constant) for term in _terms(node))


def _is_general(node: Node, constants: frozenset[str]) -> bool:
    """Whether each constant stands in one term, as a factor of it, in no power and no quotient's
    lower part."""
    seen: list[str] = []
    for term in _terms(node):
        factors = [*_factors(term)]
        inside = [name for f in factors for name in nodes.symbols(f) & constants]
        alone = [f.name for f in factors if f.head == "symbol" and f.name in constants]
        if inside != alone or len(alone) > 1:
            return False
        seen += alone
    return sorted(seen) == sorted(constants)


def _terms(node: Node) -> Iterator[Node]:
    if node.head == "add":
        for arg in node.args:
            yield from _terms(arg)
    elif node.head == "negate" and node.args[0].head == "add":
        yield from _terms(node.args[0])
    elif node.head == "multiply" and sum(arg.head == "add" for arg in node.args) == 1:
        at = next(i for i, arg in enumerate(node.args) if arg.head == "add")
        for arg in node.args[at].args:  # e^x (A cos x + B sin x)
            yield from _terms(Node("multiply", (*node.args[:at], arg, *node.args[at + 1 :])))
    else:
        yield node


def _factors(node: Node) -> Iterator[Node]:
    if node.head in ("multiply", "negate"):
        for arg in node.args:
            yield from _factors(arg)
    elif node.head == "divide":
        yield from _factors(node.args[0])
        yield Node("power", (node.args[1], nodes.number(-1)))
    else:
        yield node
