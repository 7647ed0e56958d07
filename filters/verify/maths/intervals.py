"""Unions of intervals and points of the real line, compared as sets of numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from filters.verify.maths import nodes
from filters.verify.maths.forms import Form, Region, Value
from filters.verify.maths.same_values import Values
from filters.verify.truth import Truth

_FAR = Fraction(10**400)
_CLOSE = Fraction(1, 10**50)


class _Piece(NamedTuple):
    low: Fraction
    low_in: bool
    high: Fraction
    high_in: bool


def same_regions(reference: Region, answer: Region, values: Values) -> Truth:
    """Whether two regions are the same set; None where an end has no number."""
    sides = [_pieces(reference, values), _pieces(answer, values)]
    if sides[0] is None or sides[1] is None:
        return None
    if len(sides[0]) != len(sides[1]):
        return False
    return all(_alike(a, b) for a, b in zip(sides[0], sides[1], strict=True))


def _alike(a: _Piece, b: _Piece) -> bool:
    return (
        (a.low_in, a.high_in) == (b.low_in, b.high_in)
        and abs(a.low - b.low) < _CLOSE
        and abs(a.high - b.high) < _CLOSE
    )


def _pieces(region: Region, values: Values) -> list[_Piece] | None:
    """The region's disjoint pieces in order."""
    found: list[_Piece] = []
    for group in region.pieces:
        if group.ends == "{}":
            points = [_end(item, values) for item in group.items]
            if None in points:
                return None
            found += [_Piece(point, True, point, True) for point in points if point is not None]
            continue
        if len(group.items) != 2:
            return None
        low, high = (_end(item, values) for item in group.items)
        if low is None or high is None or low > high:
            return None
        if low < high or group.ends == "[]":
            found.append(_Piece(low, group.ends[0] == "[", high, group.ends[1] == "]"))
    holes = [_end(point, values) for point in region.without]
    if None in holes:
        return None
    merged = _merge(found)
    for hole in holes:
        assert hole is not None
        merged = [part for piece in merged for part in _without(piece, hole)]
    return merged


def _merge(pieces: list[_Piece]) -> list[_Piece]:
    made: list[_Piece] = []
    for piece in sorted(pieces, key=lambda p: (p.low, not p.low_in)):
        last = made[-1] if made else None
        touches = last is not None and (
            piece.low < last.high or (piece.low == last.high and (piece.low_in or last.high_in))
        )
        if last is None or not touches:
            made.append(piece)
            continue
        high, high_in = max((last.high, last.high_in), (piece.high, piece.high_in))
        made[-1] = last._replace(high=high, high_in=high_in)
    return made


def _without(piece: _Piece, point: Fraction) -> list[_Piece]:
    if point < piece.low or point > piece.high:
        return [piece]
    parts = []
    if point > piece.low:
        parts.append(piece._replace(high=point, high_in=False))
    if point < piece.high:
        parts.append(piece._replace(low=point, low_in=False))
    if point in (piece.low, piece.high) and len(parts) == 1:
        return parts
    return parts


def _end(form: Form, values: Values) -> Fraction | None:
    if not isinstance(form, Value) or form.unit is not None or form.percent:
        return None
    if nodes.is_signed_infinity(form.node):
        return -_FAR if form.node.head == "negate" else _FAR
    if nodes.has_infinity(form.node) or not nodes.is_numeric(form.node):
        return None
    return values.approximate(form.node)
