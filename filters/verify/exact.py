"""The fast path: does this answer equal that reference? True, False, or None for undecided.

Reads the ordinary forms of competition answers (numbers in every notation, closed forms in roots
and π, polynomials, tuples, sets, intervals, inequalities, words) and compares them in exact
arithmetic. The policy for rounding, percent and units is this module's:

- An exact reference wants an exact answer, or a decimal correct to at least six significant digits.
- A decimal reference with at least three significant digits is taken as rounded: an answer is right
  if it is written more precisely and rounds to it.
- 50% equals 0.5, and where one side alone writes the sign the bare numbers may also be equal.
- Arithmetic left undone (`12 + 7` for 19, `12/4` for 3) is not an answer.
- Tuples are ordered, sets and bare lists are not, and an open end is not a closed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from filters.verify import algebra
from filters.verify.algebra import Expression, Literal, Undecided
from filters.verify.answer_forms import Equation, Group, Part, Quantity, Union, Words, parse
from filters.verify.latex import normalise
from filters.verify.units import UNITS

_HUNDREDTH = algebra.number(Fraction(1, 100))
MIN_DIGITS = 6
MIN_ROUNDED = 3

Truth = bool | None


def compare(reference: str, answer: str) -> Truth:
    """Whether `answer` equals `reference`; None where this path cannot tell."""
    return same(parse(normalise(reference)), parse(normalise(answer)))


def same(reference: Part | None, answer: Part | None) -> Truth:
    """`compare`, of parsed sides."""
    if reference is None or answer is None:
        return None
    try:
        verdict = _same(reference, answer)
        if verdict is not True and isinstance(answer, Quantity):
            readings = [_same(reference, other) for other in answer.others]
            verdict = True if True in readings else verdict
        return verdict
    except Undecided:
        return None


def _same(reference: Part, answer: Part) -> Truth:
    if reference.name and answer.name and reference.name != answer.name:
        return None
    if isinstance(reference, Words) or isinstance(answer, Words):
        return (
            isinstance(reference, Words)
            and isinstance(answer, Words)
            and reference.text == answer.text
        )
    if isinstance(reference, Equation) or isinstance(answer, Equation):
        return _same_equation(reference, answer)
    if isinstance(reference, Union) or isinstance(answer, Union):
        return _same_union(reference, answer)
    if isinstance(reference, Group) and isinstance(answer, Group):
        return _same_group(reference, answer)
    if isinstance(reference, Group) or isinstance(answer, Group):
        return _same(_only(reference), _only(answer)) if _is_one(reference, answer) else False
    return _same_quantity(reference, answer)


def _only(part: Part) -> Part:
    return part.items[0] if isinstance(part, Group) else part


def _is_one(*sides: Part) -> bool:
    """Whether the group among `sides` is a set or list of one thing."""
    groups = [side for side in sides if isinstance(side, Group)]
    return all(len(group.items) == 1 and group.ends in ("", "{}") for group in groups)


def _same_equation(reference: Part, answer: Part) -> Truth:
    if isinstance(reference, Equation) and isinstance(answer, Equation):
        left, right = reference.difference.numerator, answer.difference.numerator
        if left.keys() != right.keys() or not left:
            return None
        first = next(iter(left))
        ratio = left[first] / right[first]
        return True if all(left[m] == ratio * right[m] for m in left) else None
    # An equation left unsolved is no value; but x = … may be a reference that is itself one.
    if isinstance(answer, Equation) and reference.name is None:
        return False
    return None


def _same_union(reference: Part, answer: Part) -> Truth:
    sides = []
    for side in (reference, answer):
        if isinstance(side, Union):
            sides.append(side.pieces)
        elif isinstance(side, Group) and side.ends:
            sides.append((side,))
        else:
            return False
    return True if _matched(sides[0], sides[1], _same) else None


def _same_group(reference: Group, answer: Group) -> Truth:
    kinds = {reference.ends, answer.ends}
    if len(kinds) == 2 and not ("" in kinds or kinds <= {"{}", ""}):
        return False
    if kinds - {"", "()", "[]", "{}"} and "" in kinds:
        return False
    signed = (_signed(reference), _signed(answer))
    if {True, False} in signed:
        return None  # 1% among bare numbers is hardly another way to write 1
    if signed[0] != signed[1] and {True} in signed:
        # The signs mean one thing throughout: as _same_percent of one number, so of all.
        read = [
            _same_group(reading(reference), reading(answer)) for reading in (_bare, _scaled_down)
        ]
        return True if True in read else None if None in read else False
    if reference.ends == answer.ends == "{}":
        missing = [_found(item, answer.items) for item in reference.items]
        surplus = [_found(item, reference.items) for item in answer.items]
        return _all(missing + surplus)
    if len(reference.items) != len(answer.items):
        return False
    if kinds <= {"", "{}"} and not _distinctly_named(reference, answer):
        return _matched(reference.items, answer.items, _same)
    return _all([same(a, b) for a, b in zip(reference.items, answer.items, strict=True)])


def _signed(group: Group) -> set[bool]:
    """Whether its numbers are written as percentages: both, where some are."""
    return {item.percent for item in group.items if isinstance(item, Quantity)}


def _bare(group: Group) -> Group:
    """Without its percent signs."""
    return _unsigned(group, lambda value: value)


def _scaled_down(group: Group) -> Group:
    """With what its percent signs stand for."""
    return _unsigned(group, lambda value: algebra.multiply(value, _HUNDREDTH))


def _unsigned(group: Group, value_of: Callable[[Expression], Expression]) -> Group:
    items = (
        replace(item, value=value_of(item.value), percent=False)
        if isinstance(item, Quantity) and item.percent
        else item
        for item in group.items
    )
    return replace(group, items=tuple(items))


def _distinctly_named(*groups: Group) -> bool:
    """Whether a list is an assignment of several names (x = 1, y = 2): then order is meaning."""
    for group in groups:
        names = [item.name for item in group.items]
        if None not in names and len(set(names)) == len(names) > 1:
            return all(
                item.name is None for other in groups if other is not group for item in other.items
            )
    return False


def _matched(
    wanted: Sequence[Part], given: Sequence[Part], alike: Callable[[Part, Part], Truth]
) -> Truth:
    """Whether the two are the same things in some order."""
    if len(wanted) != len(given):
        return False
    left, doubt = list(given), False
    for item in wanted:
        verdicts = [alike(item, other) for other in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            doubt = True
        else:
            return False
    return None if doubt else True


def _found(item: Part, among: Sequence[Part]) -> Truth:
    verdicts = [_same(item, other) for other in among]
    return True if True in verdicts else None if None in verdicts else False


def _all(verdicts: Sequence[Truth]) -> Truth:
    return False if False in verdicts else None if None in verdicts else True


def _same_quantity(reference: Quantity, answer: Quantity) -> Truth:
    if reference.based and not answer.based:
        digits = answer.value.rational
        return digits is not None and str(digits) == reference.based
    if answer.based and not reference.based:
        return False
    if reference.percent != answer.percent:
        return _same_percent(reference, answer)
    if reference.unit and answer.unit:
        if reference.unit.dimension != answer.unit.dimension:
            return False
        if reference.unit.factor != answer.unit.factor:
            return algebra.equal(_scaled(reference), _scaled(answer))
    elif (reference.unit or answer.unit) == UNITS["degrees"]:
        bare = answer if reference.unit else reference
        if "pi" in bare.value.atoms:
            return None
    return _same_value(reference.value, answer.value)


def _same_percent(reference: Quantity, answer: Quantity) -> Truth:
    if reference.unit or answer.unit:
        return False
    bare = _same_value(reference.value, answer.value)
    if bare is not False:
        return bare
    sides = [
        algebra.multiply(side.value, _HUNDREDTH) if side.percent else side.value
        for side in (reference, answer)
    ]
    return algebra.equal(*sides)


def _scaled(quantity: Quantity) -> Expression:
    assert quantity.unit is not None
    return algebra.multiply(quantity.value, algebra.number(quantity.unit.factor))


def _same_value(reference: Expression, answer: Expression) -> Truth:
    if reference.plain and answer.plain and answer.undone and not reference.undone:
        return False
    if algebra.equal(reference, answer):
        return True
    if reference.opaque or answer.opaque:
        return None
    if not (reference.numeric and answer.numeric):
        return False
    if reference.literal is None and answer.literal is None:
        return False
    wanted, given = algebra.approximate(reference), algebra.approximate(answer)
    return agrees(wanted, reference.literal, given, answer.literal)


def agrees(
    reference: Fraction, written: Literal | None, answer: Fraction, given: Literal | None
) -> bool:
    """The rounding policy for two different values, at least one of them written as a decimal."""
    if written is not None:
        finer = given is None or given.decimals > written.decimals
        rounded = written.significant >= MIN_ROUNDED
        return finer and rounded and _rounds_to(answer, reference, written.decimals)
    if given is None or given.significant < MIN_DIGITS:
        return False
    return _rounds_to(reference, answer, given.decimals)


def _rounds_to(value: Fraction, written: Fraction, decimals: int) -> bool:
    return abs(value - written) <= Fraction(1, 2) / Fraction(10) ** decimals
