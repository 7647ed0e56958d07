"""The report's figures: Vega-Lite specs over the rows of `factory.report.numbers`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from factory.report.chart import (
    Figure,
    Rows,
    axis,
    bar_chart_height,
    chart,
    color,
    format_count,
    tooltip,
)
from factory.report.intervals import audit, forecast
from factory.report.vega import KEPT, NEUTRAL, PALETTE, REJECTED, UNDECIDED
from factory.sampling.accounting import OUTCOMES

_ACCEPTANCE_SCALE = {"domain": ["accepted", "rejected"], "range": [KEPT, REJECTED]}
_OUTCOME_SCALE = {
    "domain": [fate.replace("_", " ") for fate in OUTCOMES],
    "range": [KEPT, REJECTED, UNDECIDED, NEUTRAL, PALETTE[3]],
}
_DECISIONS = {"drawn": NEUTRAL, "drop": REJECTED, "undecided": UNDECIDED, "keep": KEPT}
_UNITS = ("samples", "tokens")
_BARE = {"ticks": False, "domain": False, "labelPadding": 6}
_ROOM = 1.4
"""Width of a chart relative to its longest bar, to leave room for the labels after the bars."""
_MAX_REASONS = 7
"""Number of distinguishable colours, with `kept`; rarer reasons are shown together as `other`."""


def all_figures(facts: Mapping[str, Any]) -> list[Figure]:
    """Return the figures that a run has data for, in the order of the report."""
    makers = (
        ("funnel", funnel),
        ("taken_by_source", by_source),
        ("taken_by_domain", by_domain),
        ("pass_rates", pass_rates),
        ("accepted_by_prompt", accepted_by_prompt),
        ("lengths", lengths),
        ("reasons_over_time", reasons_over_time),
        ("throughput", throughput),
        ("workers", workers),
        ("teachers", teachers),
        ("account", account),
        ("cost", cost),
        ("languages", languages),
        ("audit", audit),
        ("forecast", forecast),
    )
    figures = (make(facts[key]) for key, make in makers if facts.get(key))
    return [figure for figure in figures if figure is not None]


def funnel(rows: Rows) -> Figure:
    """Samples and tokens dropped for each reason, from those drawn to those kept."""
    reasons = Counter(row["reason"] for row in rows)
    # Two filters may share a reason; such steps carry the filter's name.
    shown = [
        {**row, "step": row["reason"]}
        if row["reason"] and reasons[row["reason"]] == 1
        else {**row, "step": f"{row['stage']} {row['reason']}".rstrip()}
        for row in rows
    ]
    note = "Samples and tokens dropped for each reason, and those kept."
    return Figure("funnel", "Funnel", note, [_funnel(shown, unit) for unit in _UNITS], rows)


def _funnel(rows: Rows, unit: str) -> dict[str, Any]:
    """Build a bar chart with a label on each bar: most bars are too short to read off an axis."""
    whole = max(1, *(row[unit] for row in rows))
    labelled = [{**row, "label": _format_label(row[unit], rows[0][unit])} for row in rows]
    steps = [row["step"] for row in labelled]
    present = {row["decision"] for row in rows}
    scale = {name: shade for name, shade in _DECISIONS.items() if name in present}
    fill = color("decision", {"domain": list(scale), "range": list(scale.values())})
    return {
        "data": {"values": labelled},
        "title": {"text": unit, "anchor": "start", "frame": "group"},
        "height": bar_chart_height(steps),
        "encoding": {
            "y": axis("step", "nominal", None, sort=steps, axis=_BARE),
            "x": axis(unit, "quantitative", None, axis=None, scale={"domainMax": whole * _ROOM}),
        },
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "color": _legend_once(fill, unit),
                    "tooltip": tooltip("stage", "reason", "decision", "samples", "tokens", "left"),
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 12},
                "encoding": {"text": {"field": "label"}},
            },
        ],
    }


def _format_label(count: int, whole: int) -> str:
    if count == whole:
        return format_count(count)
    return f"{format_count(count)} · {count / max(1, whole):.1%}"


def _legend_once(colors: dict[str, Any], unit: str) -> dict[str, Any]:
    """Drop the legend from all charts but the first: all units share their colours."""
    return colors if unit == _UNITS[0] else {**colors, "legend": None}


def by_source(rows: Rows) -> Figure | None:
    return _outcomes_by(rows, "source")


def by_domain(rows: Rows) -> Figure | None:
    return _outcomes_by(rows, "domain")


def _outcomes_by(rows: Rows, key: str) -> Figure | None:
    """The share of each outcome per group; None for a single group, which the funnel shows."""
    groups = {row["group"] for row in rows}
    if len(groups) < 2:
        return None
    specs = []
    for unit in _UNITS:
        spec = chart(
            _merge_rare_reasons(rows),
            "bar",
            y=axis("group", "nominal", None),
            x=axis(unit, "quantitative", f"share of {unit}", stack="normalize"),
            color=_legend_once(_reason_colors(rows), unit),
            order={"field": "rank", "type": "quantitative"},
            height=bar_chart_height(groups),
        )
        spec["encoding"]["x"]["aggregate"] = "sum"
        specs.append(spec)
    note = f"Outcomes of the samples and tokens of each {key}."
    return Figure(f"by_{key}", f"By {key}", note, specs, rows)


def pass_rates(rows: Rows) -> Figure:
    spec = chart(
        rows,
        {"type": "bar", "binSpacing": 1},
        x=axis("low", "quantitative", "pass rate", bin={"binned": True, "step": 0.1}),
        y=axis("prompts", "quantitative", "prompts"),
    )
    spec["encoding"]["x2"] = {"field": "high"}
    note = "Prompts by the share of their judged samples that were correct."
    return Figure("pass_rates", "Pass rate", note, [spec], rows)


def accepted_by_prompt(rows: Rows) -> Figure:
    spec = chart(
        rows,
        "bar",
        x=axis("accepted", "ordinal", "accepted samples", axis={"labelAngle": 0}),
        y=axis("prompts", "quantitative", "prompts"),
    )
    note = "Prompts by the number of accepted samples. The corpus has no row of those at zero."
    return Figure("accepted_by_prompt", "Accepted per prompt", note, [spec], rows)


def lengths(rows: Rows) -> Figure:
    """One histogram per measure, accepted against rejected samples."""
    histograms = [
        chart(
            _close_last_bin([row for row in rows if row["part"] == part]),
            {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
            x=axis("low", "quantitative", part),
            y=axis("share", "quantitative", "share", stack=None, axis={"format": "%"}),
            color=color("outcome", _ACCEPTANCE_SCALE),
            height=130,
        )
        for part in dict.fromkeys(row["part"] for row in rows)
    ]
    note = "Shares of the accepted and of the rejected samples. The last bin includes longer ones."
    return Figure("lengths", "Lengths", note, histograms, rows)


def _close_last_bin(rows: Rows) -> list[dict[str, Any]]:
    """Add the end point that a stepped area needs to reach the end of the last bin."""
    last = max((row["high"] for row in rows), default=0)
    ends = [{**row, "low": row["high"]} for row in rows if row["high"] == last]
    return [*map(dict, rows), *ends]


def reasons_over_time(rows: Rows) -> Figure:
    spec = chart(
        _merge_rare_reasons(rows),
        {"type": "bar", "binSpacing": 0},
        x=axis("since", "quantitative", "samples, in order of completion", bin={"binned": True}),
        x2={"field": "until"},
        y=axis("samples", "quantitative", "share of samples", stack="normalize"),
        color=_reason_colors(rows),
        order={"field": "rank", "type": "quantitative"},
    )
    spec["encoding"]["y"]["aggregate"] = "sum"
    note = (
        "Each bar covers the same number of samples. A reason that becomes more frequent during "
        "the run points to the engine or to the order of the prompts."
    )
    return Figure("reasons_over_time", "Reasons over time", note, [spec], rows)


def throughput(rows: Rows) -> Figure:
    minute = axis("minute", "quantitative", "minutes", axis={"format": "~g"})
    line = {"type": "line", "point": True}
    speed = axis("tokens_per_second", "quantitative", "tokens/s")
    specs = [chart(rows, line, x=minute, y=speed)]
    note = "Generated tokens per second between two log entries"
    if any(row["occupancy"] is not None for row in rows):
        share = axis("occupancy", "quantitative", "engine occupancy", axis={"format": "%"})
        specs.append(chart(rows, line, height=110, x=minute, y=share))
        note += ", and the engine's occupancy"
    return Figure("throughput", "Throughput", f"{note}.", specs, rows)


def workers(rows: Rows) -> Figure:
    """The speed of each endpoint or replica."""
    spec = chart(
        rows,
        "bar",
        y=axis("name", "nominal", None),
        x=axis("tokens_per_second", "quantitative", "tokens/s"),
        height=bar_chart_height(row["name"] for row in rows),
    )
    spec["encoding"]["tooltip"] = tooltip("name", "samples", "tokens", "faults")
    note = "Tokens per second of each, from its first request to its last response"
    faults = sum(row["faults"] for row in rows)
    note += f"; {faults:,} failed requests or replicas were retried." if faults else "."
    return Figure("workers", "Endpoints and replicas", note, [spec], rows)


def teachers(rows: Rows) -> Figure:
    """The samples of each teacher, accepted or not, and what an accepted one cost."""
    shown = [
        {"teacher": row["teacher"], "outcome": outcome, "samples": count}
        for row in rows
        for outcome, count in (
            ("accepted", row["accepted"]),
            ("rejected", row["samples"] - row["accepted"]),
        )
    ]
    spec = chart(
        shown,
        "bar",
        y=axis("teacher", "nominal", None),
        x=axis("samples", "quantitative", "samples"),
        color=color("outcome", _ACCEPTANCE_SCALE),
        height=bar_chart_height(row["teacher"] for row in rows),
    )
    prices = [
        f"{row['teacher']} {row['price_per_accepted']:.3g}"
        for row in rows
        if row["price_per_accepted"] is not None
    ]
    note = f"Price per accepted sample, by the recipe's prices: {', '.join(prices) or 'none yet'}."
    return Figure("teachers", "Teachers", note, [spec], rows)


def account(rows: Rows) -> Figure:
    """The generated tokens of each source by their outcome."""
    shown = [
        {
            "source": row["source"],
            "outcome": fate.replace("_", " "),
            "tokens": row[f"{fate}_tokens"],
        }
        for row in rows
        if row["source"] != "all" or len(rows) == 1
        for fate in OUTCOMES
        if row[f"{fate}_tokens"]
    ]
    spec = chart(
        shown,
        "bar",
        y=axis("source", "nominal", None),
        x=axis("tokens", "quantitative", "generated tokens"),
        color=color("outcome", _OUTCOME_SCALE),
        height=bar_chart_height(row["source"] for row in shown),
    )
    whole = rows[-1]
    note = f"{whole['tokens']:,} tokens were generated"
    if whole["tokens_per_accepted"] is not None:
        note += f", {whole['tokens_per_accepted']:,.0f} per accepted sample"
        if whole.get("seconds_per_accepted") is not None:
            note += f", in {whole['seconds_per_accepted']:.2g} s of engine time each"
    return Figure("account", "Where the tokens went", f"{note}.", [spec], rows)


def cost(facts: Mapping[str, Any]) -> Figure:
    fixed = facts["fixed_n"]
    line = chart(
        fixed,
        {"type": "line", "point": True},
        x=axis("n", "quantitative", "fixed samples per prompt", scale={"type": "log", "base": 2}),
        y=axis("tokens_per_useful", "quantitative", "tokens per useful sample"),
    )
    actual = [{"tokens_per_useful": facts["tokens_per_useful"]}]
    rule = {
        "data": {"values": actual},
        "mark": {"type": "rule", "color": REJECTED, "strokeDash": [6, 4], "strokeWidth": 2},
        "encoding": {"y": {"field": "tokens_per_useful", "type": "quantitative"}},
    }
    height, data = line.pop("height"), line.pop("data")
    spec = {"height": height, "layer": [{"data": data, **line}, rule]}
    useful = "every accepted sample is useful"
    if facts["cap"]:
        useful = f"at most {facts['cap']} accepted samples per prompt are useful"
    note = (
        f"This run generated {facts['tokens_per_useful']:,.0f} tokens per useful sample "
        f"(dashed; {useful}). The line shows the cost of a fixed n, estimated from each prompt's "
        "acceptance rate in this run."
    )
    return Figure("cost", "Cost of a useful sample", note, [spec], fixed)


def languages(rows: Rows) -> Figure:
    spec = chart(
        rows,
        "bar",
        y=axis("language", "nominal", None, sort="-x"),
        x=axis("samples", "quantitative", "samples"),
        color=color("part"),
        height=bar_chart_height(row["language"] for row in rows),
    )
    note = "Samples that contain a span in another language or script than their prompt's."
    return Figure("languages", "Language mixing", note, [spec], rows)


def compared_lengths(rows: Rows) -> Figure:
    """Histograms of the tokens of accepted samples in two runs."""
    accepted = [row for row in rows if (row["part"], row["outcome"]) == ("tokens", "accepted")]
    spec = chart(
        _close_last_bin(accepted),
        {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
        x=axis("low", "quantitative", "tokens"),
        y=axis("share", "quantitative", "share of accepted", stack=None, axis={"format": "%"}),
        color=color("run"),
    )
    note = "Lengths of the accepted samples of each run."
    return Figure("lengths", "Lengths", note, [spec], accepted)


def compared_pass_rates(rows: Rows) -> Figure:
    """Prompts by pass rate in two runs."""
    spec = chart(
        rows,
        "bar",
        x=axis("low", "ordinal", "pass rate, from", axis={"labelAngle": 0}),
        y=axis("prompts", "quantitative", "prompts"),
        color=color("run"),
    )
    spec["encoding"]["xOffset"] = {"field": "run"}
    return Figure("pass_rates", "Pass rate", "Prompts by pass rate, in each run.", [spec], rows)


def _merge_rare_reasons(rows: Rows) -> list[dict[str, Any]]:
    """Rename rare reasons to `other` and add the rank that orders the segments of each bar."""
    names = _common_reasons(rows)
    rank = {reason: (reason, number) for number, reason in enumerate(names)}
    return [
        {**row, "reason": reason, "rank": number}
        for row in rows
        for reason, number in [rank.get(row["reason"], ("other", len(names)))]
    ]


def _common_reasons(rows: Rows) -> list[str]:
    """Return `kept`, then the most frequent reasons."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["samples"]
    return sorted(totals, key=lambda reason: (reason != "kept", -totals[reason]))[:_MAX_REASONS]


def _reason_colors(rows: Rows) -> dict[str, Any]:
    """Assign a colour to each reason; `kept` is green in every figure."""
    names = _common_reasons(rows)
    if any(row["reason"] not in names for row in rows):
        names.append("other")
    colors = iter(color for color in PALETTE if color not in (KEPT, "#999999"))
    scale = {"kept": KEPT, "other": "#999999"}
    ranged = [scale.get(name) or next(colors) for name in names]
    return color("reason", {"domain": names, "range": ranged})
