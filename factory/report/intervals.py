"""Figures with confidence intervals: the audit's error rates and the pilot's forecast."""

from __future__ import annotations

from typing import Any

from factory.report.chart import Figure, Rows, axis, bar_chart_height, color, tooltip
from factory.report.vega import KEPT, NEUTRAL, REJECTED

_INSIDE = {"domain": ["inside", "outside"], "range": [KEPT, REJECTED]}


def audit(rows: Rows) -> Figure:
    """The rates at which a second method disagreed with the verdicts, with intervals."""
    x = axis("rate", "quantitative", "share", axis={"format": "%"}, scale={"domainMin": 0})
    y = axis("what", "nominal", None)
    spec = {
        "data": {"values": [dict(row) for row in rows]},
        "height": bar_chart_height(row["what"] for row in rows),
        "encoding": {"y": y, "tooltip": tooltip("what", "rate", "low", "high", "hits", "n")},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 3, "color": NEUTRAL},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {"x": x},
            },
        ],
    }
    rates = [
        f"{row['what']} {row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%}, {row['hits']:,} "
        f"of {row['n']:,})"
        for row in rows
    ]
    note = f"Verdicts checked by a second method, with 95% intervals: {'; '.join(rates)}."
    return Figure("audit", "Audit", note, [spec], rows, shares=("rate", "low", "high"))


def forecast(rows: Rows) -> Figure | None:
    """The pilot's forecast with its intervals against the actual values, relative to the median."""
    ordered = sorted(rows, key=lambda row: row["source"] != "all")  # the totals first
    shown = [
        {
            **row,
            "quantity": row["quantity"].replace("_", " "),
            "from": row["low"] / row["middle"],
            "to": row["high"] / row["middle"],
            "reached": None if row["actual"] is None else row["actual"] / row["middle"],
            "interval": "inside" if row["inside"] else "outside",
        }
        for row in ordered
        if row["source"] == "all" and row["middle"] and row["low"] is not None
    ]
    if not shown:
        return None
    order = [row["quantity"] for row in shown]
    y = axis("quantity", "nominal", None, sort=order)
    x = axis("from", "quantitative", "relative to the forecast", axis={"format": "~g"})
    x["scale"] = {"zero": False}
    spec: dict[str, Any] = {
        "data": {"values": shown},
        "height": bar_chart_height(order),
        "encoding": {"y": y, "tooltip": tooltip("quantity", "middle", "low", "high", "actual")},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 6, "opacity": 0.35, "color": NEUTRAL},
                "encoding": {"x": x, "x2": {"field": "to"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": {**x, "field": "reached"},
                    "color": color("interval", _INSIDE),
                    "shape": {"field": "interval", "scale": {"domain": _INSIDE["domain"]}},
                },
            },
        ],
    }
    if all(row["reached"] is None for row in shown):
        del spec["layer"][1]
    note = "The pilot's forecast as a 90% interval, and the actual values."
    return Figure("forecast", "Forecast against actual", note, [spec], ordered)
