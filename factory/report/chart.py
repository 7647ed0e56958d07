"""Building blocks of the figures: Vega-Lite charts over rows, axes, colours and tooltips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A chart with its title, a note that explains it, and the rows it is drawn from."""

    name: str
    title: str
    note: str
    specs: list[dict[str, Any]]  # several where each measure has its own chart
    rows: Rows
    shares: Sequence[str] = ("share", "occupancy")  # columns that are formatted as percentages


def chart(rows: Rows, mark: Any, height: int = 220, **encoding: Any) -> dict[str, Any]:
    shape = {"type": mark} if isinstance(mark, str) else mark
    return {
        "data": {"values": [dict(row) for row in rows]},
        "mark": {**shape, "tooltip": True},
        "height": height,
        "encoding": {name: value for name, value in encoding.items() if value is not None},
    }


def bar_chart_height(names: Iterable[str]) -> int:
    """Return the height in pixels for one bar per distinct name.

    Vega-Lite's `step` can't be used: it does not work in a chart that fits its container.
    """
    return 24 * len(set(names)) + 12


def axis(field: str, kind: str, title: str | None, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": kind, "title": title, **more}


def color(field: str, scale: Mapping[str, Any] | None = None) -> dict[str, Any]:
    legend = {"orient": "top", "title": None}
    found: dict[str, Any] = {"field": field, "type": "nominal", "legend": legend}
    return found if scale is None else {**found, "scale": scale}


def tooltip(*fields: str) -> list[dict[str, Any]]:
    return [{"field": field} for field in fields]


def format_count(count: float) -> str:
    """Format a count for a label: 9,120, 12.3k, 4.56M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (size if size > 1e4 else 1e3):.3g}{suffix}"
    return f"{count:,.0f}"
