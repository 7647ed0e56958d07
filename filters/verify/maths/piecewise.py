"""Piecewise functions: the same values under the same conditions, "otherwise" included."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from filters.verify.maths.forms import Form, Group, Named, Piecewise, Region
from filters.verify.maths.intervals import same_regions
from filters.verify.maths.reading.brackets import REAL_LINE
from filters.verify.maths.same_values import Values
from filters.verify.truth import Truth, every, matched, some

Branch = tuple[Form, Form | None]  # a value and its condition; None for "otherwise"
Same = Callable[[Form, Form], Truth]

_INTERVALS = frozenset(("()", "[]", "[)", "(]"))


def same_piecewise(reference: Piecewise, answer: Piecewise, same: Same, values: Values) -> Truth:
    """Whether two functions have the same branches, in any order."""

    def branch(wanted: Branch, given: Branch) -> Truth:
        if wanted[1] is None or given[1] is None:
            when: Truth = True if wanted[1] is given[1] else None
        else:
            when = same(wanted[1], given[1])
        return every([same(wanted[0], given[0]), when])

    sides = reference.branches, answer.branches
    ends = [any(condition is None for _, condition in side) for side in sides]
    if len(sides[0]) == len(sides[1]) and ends[0] != ends[1]:
        closed, last = sides if ends[1] else sides[::-1]
        return _otherwise(closed, last, branch, same, values)
    return matched(reference.branches, answer.branches, branch)


def _otherwise(
    closed: Sequence[Branch],
    other: Sequence[Branch],
    branch: Callable[[Branch, Branch], Truth],
    same: Same,
    values: Values,
) -> Truth:
    """Branches that all have conditions against those of which one has "otherwise": it stands for
    what the others leave of the real line."""
    said = [one for one in other if one[1] is not None]
    rest = next(one for one in other if one[1] is None)
    found: list[Truth] = []
    for at, last in enumerate(closed):
        pieces = [_pieces(one[1]) for one in (*said, last)]
        if None in pieces:
            continue
        whole = Region(tuple(piece for each in pieces for piece in each or ()))
        before = [one for place, one in enumerate(closed) if place != at]
        found.append(
            every(
                [
                    matched(before, said, branch),
                    same(last[0], rest[0]),
                    same_regions(whole, Region((REAL_LINE,)), values),
                ]
            )
        )
    return some(found) if found else None


def _pieces(condition: Form | None) -> tuple[Group, ...] | None:
    """The intervals in which a condition on one name holds."""
    form = condition.form if isinstance(condition, Named) else None
    if isinstance(form, Region) and not form.without:
        return form.pieces
    return (form,) if isinstance(form, Group) and form.ends in _INTERVALS else None
