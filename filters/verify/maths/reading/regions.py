"""Inequalities solved for one name as the sets of numbers they describe."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.forms import Form, Group, Named, Region, Relation, Value
from filters.verify.maths.polynomials import ONE, Undecided, expression_of
from filters.verify.maths.reading.brackets import REAL_LINE

_LOWEST, _HIGHEST = REAL_LINE.items


def solve(forms: Sequence[Form], joined: str) -> Form | None:
    """One relation, or several about one name, as an interval or region of it; None otherwise."""
    parts = [_one(form) for form in forms]
    if None in parts or not parts:
        return None
    named = [part for part in parts if part is not None]
    names = {part.name for part in named}
    if len(names) != 1:
        return None
    if len(named) == 1:
        return named[0] if isinstance(forms[0], Relation) else None
    name = names.pop()
    combined = _combine([part.form for part in named], joined)
    return None if combined is None else Named(name, combined)


def _combine(forms: list[Form], joined: str) -> Form | None:
    groups = [form for form in forms if isinstance(form, Group)]
    holes = [form for form in forms if isinstance(form, Region)]
    points = tuple(point for hole in holes for point in hole.without)
    if joined == "or":
        return Region(tuple(groups)) if not holes else None
    if not groups:
        return Region((REAL_LINE,), points)
    whole = groups[0]
    if len(groups) == 2:
        met = _intersection(*groups)
        if met is None and not joined and not holes and _apart(*groups):
            return Region(tuple(groups))  # x < 1, x > 2
        if met is None:
            return None
        whole = met
    elif len(groups) > 2:
        return None
    return Region((whole,), points) if points else whole


def _intersection(a: Group, b: Group) -> Group | None:
    """Of a ray upwards and a ray downwards."""
    if a.items[1] != _HIGHEST:
        a, b = b, a
    if a.items[1] != _HIGHEST or b.items[0] != _LOWEST:
        return None
    low, high = a.items[0], b.items[1]
    if not isinstance(low, Value) or not isinstance(high, Value):
        return None
    if low.node.value is None or high.node.value is None or low.node.value >= high.node.value:
        return None  # x < 3, x > 5: what joins them is not said
    return Group(a.ends[0] + b.ends[1], (low, high))


def _apart(a: Group, b: Group) -> bool:
    """Whether a ray downwards ends before a ray upwards begins."""
    if a.items[0] != _LOWEST:
        a, b = b, a
    high, low = a.items[1], b.items[0]
    if a.items[0] != _LOWEST or b.items[1] != _HIGHEST:
        return False
    if not isinstance(high, Value) or not isinstance(low, Value):
        return False
    return (
        high.node.value is not None
        and low.node.value is not None
        and high.node.value <= low.node.value
    )


def _one(form: Form) -> Named | None:
    if isinstance(form, Named):
        inner = form.form
        interval = isinstance(inner, Group) and inner.ends in ("()", "[]", "[)", "(]")
        interval = interval and form.name[0] != "("  # (x, y) = (1, 2) is a point
        return form if interval or isinstance(inner, Region) else None
    if not isinstance(form, Relation) or form.signs[0] not in ("<", "<=", "ne"):
        return None
    names = [_name(side) for side in form.sides]
    if form.signs[0] == "ne":
        if names[0] is None:
            names.reverse()
        other = form.sides[1] if _name(form.sides[0]) is not None else form.sides[0]
        if names[0] is None or names[0] in nodes.symbols(other.node):
            return None
        points = [other.node]
        if nodes.has(other.node, "plusminus"):
            points = [nodes.with_sign(other.node, upper) for upper in (True, False)]
        return Named(names[0], Region((REAL_LINE,), tuple(map(Value, points))))
    closed = [sign == "<=" for sign in form.signs]
    if len(names) == 2:
        near = _within(form.sides, closed[0])
        if near is not None:
            return near
        left, right = form.sides
        if names[0] is not None and names[0] not in nodes.symbols(right.node):
            if names[1] is not None:
                return None  # a < b orders two unknowns
            return Named(names[0], Group("(]" if closed[0] else "()", (_LOWEST, right)))
        if names[1] is not None and names[1] not in nodes.symbols(left.node):
            return Named(names[1], Group("[)" if closed[0] else "()", (left, _HIGHEST)))
        return None
    if len(names) != 3 or names[1] is None or names[0] is not None or names[2] is not None:
        return None
    left, _, right = form.sides
    if names[1] in nodes.symbols(left.node) | nodes.symbols(right.node):
        return None
    ends = ("[" if closed[0] else "(") + ("]" if closed[1] else ")")
    return Named(names[1], Group(ends, (left, right)))


def _name(side: Value) -> str | None:
    bare = side.unit is None and not side.percent
    if bare and side.node.head == "call" and side.node.name.startswith("function "):
        return nodes.key(side.node)
    return side.node.name if side.node.head == "symbol" and bare else None


def _within(sides: Sequence[Value], closed: bool) -> Named | None:
    """|x - 2| < 3 as -1 < x < 5, and 3 < |x - 2| as what is outside."""
    bare = all(side.unit is None and not side.percent for side in sides)
    for inner, bound in (sides, sides[::-1]):
        node, limit = inner.node, bound.node.value
        line = _line(node.args[0]) if bare and node.head == "call" and node.name == "abs" else None
        if line is None or limit is None or limit <= 0:
            continue
        name, slope, start = line
        ends = sorted(((limit - start) / slope, (-limit - start) / slope))
        low, high = (Value(nodes.number(end)) for end in ends)
        if inner is sides[0]:
            return Named(name, Group("[]" if closed else "()", (low, high)))
        below = Group("(]" if closed else "()", (_LOWEST, low))
        above = Group("[)" if closed else "()", (high, _HIGHEST))
        return Named(name, Region((below, above)))
    return None


def _line(node: nodes.Node) -> tuple[str, Fraction, Fraction] | None:
    """The unknown, slope and start of a x + b with rational a and b; None of anything else."""
    try:
        made = expression_of(node)
    except (Undecided, RecursionError):
        return None
    if made.opaque or made.denominator.keys() != {ONE}:
        return None
    name, slope, start = "", Fraction(0), Fraction(0)
    for monomial, coefficient in made.numerator.items():
        if monomial == ONE:
            start = coefficient
        elif monomial.radicand == 1 and len(monomial.atoms) == 1 and not name:
            (name, power), slope = monomial.atoms[0], coefficient
            if power != 1 or name in ("pi", "e", "i", "z", "w"):  # of complex z it is a disc
                return None
        else:
            return None
    scale = made.denominator[ONE]
    return (name, slope / scale, start / scale) if name else None
