"""Equations and inequalities, compared as what they say: the same unknowns, the same solutions."""

from __future__ import annotations

import contextlib
from fractions import Fraction

from filters.verify.maths import nodes
from filters.verify.maths.forms import Form, Group, Named, Relation, Value
from filters.verify.maths.nodes import Node
from filters.verify.maths.polynomials import Expression, Undecided, expression_of, product
from filters.verify.maths.same_values import Values, agrees, literal_of
from filters.verify.truth import Truth, every


def to_relation(form: Form) -> Relation | None:
    """An equation as one; y = … too, where y is a symbol. None for anything else."""
    if isinstance(form, Relation):
        return form
    if isinstance(form, Named) and isinstance(form.form, Group) and len(form.name) == 1:
        return _ray(form.name, form.form)
    if not isinstance(form, Named) or not isinstance(form.form, Value):
        return None
    if form.form.unit is not None or form.form.percent:
        return None
    name = form.name
    simple = len(name) == 1 and name.isalpha()
    return Relation((Value(nodes.symbol(name)), form.form), ("=",)) if simple else None


def _ray(name: str, interval: Group) -> Relation | None:
    """x < a or a < x, of an interval that one side of a number makes."""
    ends = [item for item in interval.items if isinstance(item, Value)]
    if len(ends) != 2 or len(interval.ends) != 2:
        return None
    endless = [nodes.is_signed_infinity(end.node) for end in ends]
    sides = (
        (Value(nodes.symbol(name)), ends[1]) if endless[0] else (ends[0], Value(nodes.symbol(name)))
    )
    if endless[0] == endless[1]:
        return None
    closed = "[" in interval.ends or "]" in interval.ends
    return Relation(sides, ("<=" if closed else "<",))


def chain_values(
    relation: Relation, values: Values, *, quantities: bool = False
) -> list[Value] | None:
    """What a chain of equal numbers gives: its last side and its first. Nothing where it is false,
    or an equation between unknowns; None where a link is undecided.

    With `quantities` also a + b = 7, which gives the value of what was asked for.
    """
    if not set(relation.signs) <= {"=", "~"}:
        return []
    sides = list(relation.sides)
    asked: list[Value] = []
    segments = len(sides) > 1 and all(map(_is_segment, nodes.symbols(sides[0].node)))
    segments = segments or sides[0].node.head == "opaque"
    if (quantities or segments) and len(sides) > 1 and _is_asked_for(sides[0]):
        asked, sides = sides[:1], sides[1:]
    signs = relation.signs[len(asked) :]
    if not all(nodes.is_numeric(side.node) for side in sides):
        return []
    links = [
        _links(left, sign, right, values)
        for left, sign, right in zip(sides, signs, sides[1:], strict=False)
    ]
    if len(sides) > 2 and "~" not in signs and literal_of(sides[-1].node) is None:
        links.append(_links(sides[0], "=", sides[-1], values))  # 3/8 = 0.38 = 19/50 is false
    holds = every(links)
    if holds is not True:
        return None if holds is None else []
    if "~" in signs:
        return sides[:1]
    return sides[-1:] if asked or len(sides) == 1 else [sides[-1], sides[0]]


def _is_segment(name: str) -> bool:
    return len(name) > 1 and name.isupper()


def _is_asked_for(side: Value) -> bool:
    """A sum or product of two unknowns or more, with no number in it: a + b, xyz."""
    node = side.node
    if side.unit is not None:
        return False
    if node.head == "opaque" and not _is_counted(node):
        return True  # a limit, an integral: what was asked for, written again
    if nodes.symbols(node) and all(map(_is_segment, nodes.symbols(node))):
        return not nodes.has(node, "number")  # segments: AB/CD
    if node.head not in ("add", "multiply"):
        return False
    parts = [part.args[0] if part.head == "negate" else part for part in node.args]
    return len({part.name for part in parts}) > 1 and all(p.head == "symbol" for p in parts)


def _is_counted(node: Node) -> bool:
    """A sum or product over a range of numbers, whose value is known."""
    return node.name in ("sum", "prod") and all(arg.value is not None for arg in node.args[1:])


def _links(left: Value, sign: str, right: Value, values: Values) -> Truth:
    """Whether one side equals the next; a decimal there may be rounded."""
    verdict = values.same(Value(left.node, left.unit, left.percent), right)
    if verdict is not True:
        verdict = values.nodes(left.node, right.node) if not (left.unit or right.unit) else verdict
    if verdict is True:
        return True
    a, b = values.approximate(left.node), values.approximate(right.node)
    if a is None or b is None:
        return verdict
    given = literal_of(right.node)
    if sign == "~" or given is not None:
        decimals = given.decimals if given is not None else 0
        if abs(a - b) <= Fraction(1, 2) / Fraction(10) ** decimals:
            return sign == "~" or agrees(a, None, b, given) or (given is not None)
    return verdict


def same_relations(reference: Relation, answer: Relation, values: Values) -> Truth:
    """Whether two relations say the same of the same unknowns."""
    if len(reference.signs) != len(answer.signs):
        return False
    symmetric = set(reference.signs) | set(answer.signs) <= {"=", "~", "ne"}
    if tuple(reference.signs) != tuple(answer.signs):
        return False
    if _spelled(reference) == _spelled(answer):
        return True
    unknown = [
        frozenset().union(*(nodes.symbols(s.node) for s in r.sides)) for r in (reference, answer)
    ]
    if any(side.unit or side.percent for r in (reference, answer) for side in r.sides):
        return None
    if unknown[0] != unknown[1]:
        return False
    if not unknown[0] and not _has_opaque(reference) and not _has_opaque(answer):
        return _same_statements(reference, answer, values)
    return every(
        [
            _same_pair(a, b, values, symmetric=symmetric)
            for a, b in zip(_pairs(reference), _pairs(answer), strict=True)
        ]
    )


def _spelled(relation: Relation) -> tuple[str, ...]:
    spelled = (f"{nodes.key(s.node)} {s.unit} {s.percent}" for s in relation.sides)
    return (*spelled, *relation.signs)


def _has_opaque(relation: Relation) -> bool:
    return any(nodes.has(side.node, "opaque") for side in relation.sides)


def _same_statements(reference: Relation, answer: Relation, values: Values) -> Truth:
    """Between numbers: the same numbers of the same operations. cos(π) = -1 is another statement
    than sin(3π/2) = -1, though both are true."""
    pairs = zip(reference.sides, answer.sides, strict=True)
    return every([_alike(a.node, b.node, values) for a, b in pairs])


def _alike(a: Node, b: Node, values: Values) -> Truth:
    """Equal numbers, and no function in one that is not in the other, of the same arguments."""
    if not nodes.has(a, "call", "power") and not nodes.has(b, "call", "power"):
        return values.nodes(a, b)
    if (a.head, a.name, len(a.args)) != (b.head, b.name, len(b.args)):
        return False
    left, doubt = list(b.args), False
    for arg in a.args:
        places = range(len(left)) if a.head in ("add", "multiply") else range(1)
        verdicts = [_alike(arg, left[at], values) for at in places]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            left.pop(verdicts.index(None))
            doubt = True
        else:
            return False
    return None if doubt else True


def _pairs(relation: Relation) -> list[Node]:
    """left - right of each link."""
    return [
        nodes.subtract(left.node, right.node)
        for left, right in zip(relation.sides, relation.sides[1:], strict=False)
    ]


def _same_pair(a: Node, b: Node, values: Values, *, symmetric: bool) -> Truth:
    """Whether a = 0 and b = 0 (or a < 0 and b < 0) have the same solutions."""
    left: Expression | None = None
    right: Expression | None = None
    with contextlib.suppress(Undecided, RecursionError):
        left, right = expression_of(a), expression_of(b)
    if left is not None and right is not None:
        factor = _factor(left, right)
        if factor is not None:
            return factor != 0 and (symmetric or factor > 0)
        if not (left.opaque or right.opaque) and not symmetric:
            return False
    if not values.hard:
        return None
    from filters.verify.maths import numeric

    verdict = numeric.proportional(a, b, positive=not symmetric)
    if verdict is True or not symmetric or left is None or right is None:
        return verdict
    if left.opaque or right.opaque:
        return verdict
    return _same_zeros(left, right)


def _factor(a: Expression, b: Expression) -> Fraction | None:
    """The constant c of a = c·b; None where there is none."""
    left, right = product(a.numerator, b.denominator), product(b.numerator, a.denominator)
    if left.keys() != right.keys() or not left:
        return None
    first = next(iter(left))
    ratio = left[first] / right[first]
    return ratio if all(left[m] == ratio * right[m] for m in left) else None


def _same_zeros(a: Expression, b: Expression) -> Truth:
    """Whether two polynomials vanish at the same complex points: the same squarefree factors."""
    import sympy

    sides = []
    for side in (a, b):
        if len(side.denominator) != 1:
            return False
        terms = []
        for monomial, coefficient in side.numerator.items():
            term = sympy.Rational(coefficient.numerator, coefficient.denominator)
            if monomial.radicand != 1:
                return False
            for name, exponent in monomial.atoms:
                if name in ("pi", "e", "i") or exponent > 12:
                    return False
                term = term * sympy.Symbol(name) ** exponent
            terms.append(term)
        total = sympy.Add(*terms)
        if not total.free_symbols:
            return False
        sides.append(sympy.Poly(total, *sorted(total.free_symbols, key=str)))
    if sides[0].gens != sides[1].gens:
        return False
    parts = [side.sqf_part().monic() for side in sides]
    return bool(parts[0] == parts[1])
