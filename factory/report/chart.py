"""What every figure is made of: Vega-Lite over rows, with an axis, a colour and a legend each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows in words, and the rows behind it for those who cannot see it."""

    name: str
    title: str
    note: str
    specs: list[dict[str, Any]]  # more than one where one measure a chart reads better
    rows: Rows
    shares: Sequence[str] = ("share", "occupancy")  # columns that read as percentages


def chart(rows: Rows, mark: Any, height: int = 220, **encoding: Any) -> dict[str, Any]:
    shape = {"type": mark} if isinstance(mark, str) else mark
    return {
        "data": {"values": [dict(row) for row in rows]},
        "mark": {**shape, "tooltip": True},
        "height": height,
        "encoding": {name: value for name, value in encoding.items() if value is not None},
    }


def bars(names: Iterable[str]) -> int:
    """As high as so many bars need. A step would do, but not in a chart that fits its container."""
    return 24 * len(set(names)) + 12


def axis(field: str, kind: str, title: str | None, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": kind, "title": title, **more}


def color(field: str, scale: Mapping[str, Any] | None = None) -> dict[str, Any]:
    legend = {"orient": "top", "title": None}
    found: dict[str, Any] = {"field": field, "type": "nominal", "legend": legend}
    return found if scale is None else {**found, "scale": scale}


def tips(*fields: str) -> list[dict[str, Any]]:
    return [{"field": field} for field in fields]


def in_brief(count: float) -> str:
    """A count as short as a label wants it: 9,120, 12.3k, 4.56M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (size if size > 1e4 else 1e3):.3g}{suffix}"
    return f"{count:,.0f}"
