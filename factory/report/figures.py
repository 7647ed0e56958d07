"""The figures, as Vega-Lite over the rows of `factory.report.numbers`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from factory.report.chart import Figure, Rows, axis, bars, chart, color, in_brief, tips
from factory.report.intervals import audit, forecast
from factory.report.vega import KEPT, NEUTRAL, PALETTE, REJECTED, UNDECIDED
from factory.sampling.accounting import FATES

_OUTCOMES = {"domain": ["accepted", "rejected"], "range": [KEPT, REJECTED]}
_FATES = {
    "domain": [fate.replace("_", " ") for fate in FATES],
    "range": [KEPT, REJECTED, UNDECIDED, NEUTRAL, PALETTE[3]],
}
_DECISIONS = {"drawn": NEUTRAL, "drop": REJECTED, "undecided": UNDECIDED, "keep": KEPT}
_UNITS = ("samples", "tokens")
_BARE = {"ticks": False, "domain": False, "labelPadding": 6}
_ROOM = 1.4
"""How much wider than its longest bar a chart is whose bars end in a label."""
_MAX_REASONS = 7
"""Colours that can be told apart, with `kept`; the rarer reasons are shown together."""


def all_figures(facts: Mapping[str, Any]) -> list[Figure]:
    """The figures that a run has data for, in the order of a report."""
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
        ("account", account),
        ("cost", cost),
        ("languages", languages),
        ("audit", audit),
        ("forecast", forecast),
    )
    figures = (make(facts[key]) for key, make in makers if facts.get(key))
    return [figure for figure in figures if figure is not None]


def funnel(rows: Rows) -> Figure:
    """What each reason took, from what was drawn to what was kept; in samples and in tokens."""
    reasons = Counter(row["reason"] for row in rows)
    # Two filters may give one reason.
    shown = [
        {**row, "step": row["reason"]}
        if row["reason"] and reasons[row["reason"]] == 1
        else {**row, "step": f"{row['stage']} {row['reason']}".rstrip()}
        for row in rows
    ]
    note = "What each reason took of the samples drawn and of their tokens, and what was kept."
    return Figure("funnel", "Funnel", note, [_funnel(shown, unit) for unit in _UNITS], rows)


def _funnel(rows: Rows, unit: str) -> dict[str, Any]:
    """Bars that say how long they are: most are too short to be read off an axis."""
    whole = max(1, *(row[unit] for row in rows))
    told = [{**row, "label": _label(row[unit], rows[0][unit])} for row in rows]
    steps = [row["step"] for row in told]
    present = {row["decision"] for row in rows}
    scale = {name: shade for name, shade in _DECISIONS.items() if name in present}
    fill = color("decision", {"domain": list(scale), "range": list(scale.values())})
    return {
        "data": {"values": told},
        "title": {"text": unit, "anchor": "start", "frame": "group"},
        "height": bars(steps),
        "encoding": {
            "y": axis("step", "nominal", None, sort=steps, axis=_BARE),
            "x": axis(unit, "quantitative", None, axis=None, scale={"domainMax": whole * _ROOM}),
        },
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "color": _told_once(fill, unit),
                    "tooltip": tips("stage", "reason", "decision", "samples", "tokens", "left"),
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 12},
                "encoding": {"text": {"field": "label"}},
            },
        ],
    }


def _label(count: int, whole: int) -> str:
    return in_brief(count) if count == whole else f"{in_brief(count)} · {count / max(1, whole):.1%}"


def _told_once(colors: dict[str, Any], unit: str) -> dict[str, Any]:
    """The same colours mean the same in the charts of all units: the first has the legend."""
    return colors if unit == _UNITS[0] else {**colors, "legend": None}


def by_source(rows: Rows) -> Figure | None:
    return _taken(rows, "source")


def by_domain(rows: Rows) -> Figure | None:
    return _taken(rows, "domain")


def _taken(rows: Rows, key: str) -> Figure | None:
    """None where there is but one group: the funnel says the same."""
    groups = {row["group"] for row in rows}
    if len(groups) < 2:
        return None
    specs = []
    for unit in _UNITS:
        spec = chart(
            _with_rare_together(rows),
            "bar",
            y=axis("group", "nominal", None),
            x=axis(unit, "quantitative", f"share of {unit}", stack="normalize"),
            color=_told_once(_reasons(rows), unit),
            order={"field": "rank", "type": "quantitative"},
            height=bars(groups),
        )
        spec["encoding"]["x"]["aggregate"] = "sum"
        specs.append(spec)
    note = f"What became of the samples of each {key}, and of their tokens."
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
    note = "Prompts by how many of their samples were accepted. Zero: the corpus lacks them."
    return Figure("accepted_by_prompt", "Accepted by prompt", note, [spec], rows)


def lengths(rows: Rows) -> Figure:
    """One histogram a measure, accepted against rejected."""
    histograms = [
        chart(
            _closed([row for row in rows if row["part"] == part]),
            {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
            x=axis("low", "quantitative", part),
            y=axis("share", "quantitative", "share", stack=None, axis={"format": "%"}),
            color=color("outcome", _OUTCOMES),
            height=130,
        )
        for part in dict.fromkeys(row["part"] for row in rows)
    ]
    note = "Accepted against rejected, each as a share of its own. The last bin holds what is over."
    return Figure("lengths", "Lengths", note, histograms, rows)


def _closed(rows: Rows) -> list[dict[str, Any]]:
    """Bins as the steps of an area, which needs a last point to reach the end of the last bin."""
    last = max((row["high"] for row in rows), default=0)
    ends = [{**row, "low": row["high"]} for row in rows if row["high"] == last]
    return [*map(dict, rows), *ends]


def reasons_over_time(rows: Rows) -> Figure:
    spec = chart(
        _with_rare_together(rows),
        {"type": "bar", "binSpacing": 0},
        x=axis("since", "quantitative", "samples, in the order they ended", bin={"binned": True}),
        x2={"field": "until"},
        y=axis("samples", "quantitative", "share of samples", stack="normalize"),
        color=_reasons(rows),
        order={"field": "rank", "type": "quantitative"},
    )
    spec["encoding"]["y"]["aggregate"] = "sum"
    note = (
        "In stretches of equally many samples. A reason that grows while the run goes on points at "
        "the engine or the order of prompts."
    )
    return Figure("reasons_over_time", "Reasons over time", note, [spec], rows)


def throughput(rows: Rows) -> Figure:
    minute = axis("minute", "quantitative", "minutes", axis={"format": "~g"})
    line = {"type": "line", "point": True}
    speed = axis("tokens_per_second", "quantitative", "tokens/s")
    specs = [chart(rows, line, x=minute, y=speed)]
    note = "Generated tokens a second, between two entries of the run's log"
    if any(row["occupancy"] is not None for row in rows):
        share = axis("occupancy", "quantitative", "of the engine in use", axis={"format": "%"})
        specs.append(chart(rows, line, height=110, x=minute, y=share))
        note += ", and how full the engine was"
    return Figure("throughput", "Throughput", f"{note}.", specs, rows)


def workers(rows: Rows) -> Figure:
    """The speed of each endpoint or replica."""
    spec = chart(
        rows,
        "bar",
        y=axis("name", "nominal", None),
        x=axis("tokens_per_second", "quantitative", "tokens/s"),
        height=bars(row["name"] for row in rows),
    )
    spec["encoding"]["tooltip"] = tips("name", "samples", "tokens", "faults")
    note = "Tokens a second of each, from its first request to its last answer"
    faults = sum(row["faults"] for row in rows)
    note += f"; {faults:,} requests or replicas failed and were tried again." if faults else "."
    return Figure("workers", "Endpoints and replicas", note, [spec], rows)


def account(rows: Rows) -> Figure:
    """A source's tokens by what became of them."""
    shown = [
        {"source": row["source"], "fate": fate.replace("_", " "), "tokens": row[f"{fate}_tokens"]}
        for row in rows
        if row["source"] != "all" or len(rows) == 1
        for fate in FATES
        if row[f"{fate}_tokens"]
    ]
    spec = chart(
        shown,
        "bar",
        y=axis("source", "nominal", None),
        x=axis("tokens", "quantitative", "generated tokens"),
        color=color("fate", _FATES),
        height=bars(row["source"] for row in shown),
    )
    whole = rows[-1]
    note = f"{whole['tokens']:,} tokens were generated"
    if whole["tokens_per_accepted"] is not None:
        note += f", {whole['tokens_per_accepted']:,.0f} for each accepted sample"
        if whole.get("seconds_per_accepted") is not None:
            note += f", which took {whole['seconds_per_accepted']:.2g} s of the engine"
    return Figure("account", "Where the tokens went", f"{note}.", [spec], rows)


def cost(facts: Mapping[str, Any]) -> Figure:
    fixed = facts["fixed_n"]
    line = chart(
        fixed,
        {"type": "line", "point": True},
        x=axis("n", "quantitative", "fixed samples a prompt", scale={"type": "log", "base": 2}),
        y=axis("tokens_per_accepted", "quantitative", "tokens per accepted sample"),
    )
    actual = [{"tokens_per_accepted": facts["tokens_per_accepted"]}]
    rule = {
        "data": {"values": actual},
        "mark": {"type": "rule", "color": REJECTED, "strokeDash": [6, 4], "strokeWidth": 2},
        "encoding": {"y": {"field": "tokens_per_accepted", "type": "quantitative"}},
    }
    height, data = line.pop("height"), line.pop("data")
    spec = {"height": height, "layer": [{"data": data, **line}, rule]}
    cap = "all accepted samples count"
    if facts["cap"]:
        cap = f"at most {facts['cap']} accepted samples a prompt count"
    note = (
        f"This run paid {facts['tokens_per_accepted']:,.0f} generated tokens for each (dashed; "
        f"{cap}). The line is what a fixed n would have cost, from each prompt's acceptance here."
    )
    return Figure("cost", "Cost of an accepted sample", note, [spec], fixed)


def languages(rows: Rows) -> Figure:
    spec = chart(
        rows,
        "bar",
        y=axis("language", "nominal", None, sort="-x"),
        x=axis("samples", "quantitative", "samples"),
        color=color("part"),
        height=bars(row["language"] for row in rows),
    )
    note = "Samples that hold a stretch in another language or script than their prompt's."
    return Figure("languages", "Language mixing", note, [spec], rows)


def compared_lengths(rows: Rows) -> Figure:
    """Tokens of the accepted samples of two runs."""
    accepted = [row for row in rows if (row["part"], row["outcome"]) == ("tokens", "accepted")]
    spec = chart(
        _closed(accepted),
        {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
        x=axis("low", "quantitative", "tokens"),
        y=axis("share", "quantitative", "share of accepted", stack=None, axis={"format": "%"}),
        color=color("run"),
    )
    return Figure("lengths", "Lengths", "Of accepted samples, in each run.", [spec], accepted)


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


def _with_rare_together(rows: Rows) -> list[dict[str, Any]]:
    """Rows with a rank beside the reason, by which parts of a bar are laid in one order."""
    names = _common(rows)
    rank = {reason: (reason, number) for number, reason in enumerate(names)}
    return [
        {**row, "reason": reason, "rank": number}
        for row in rows
        for reason, number in [rank.get(row["reason"], ("other", len(names)))]
    ]


def _common(rows: Rows) -> list[str]:
    """`kept`, then the reasons that took most."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["samples"]
    return sorted(totals, key=lambda reason: (reason != "kept", -totals[reason]))[:_MAX_REASONS]


def _reasons(rows: Rows) -> dict[str, Any]:
    """Kept is green wherever it is shown."""
    names = _common(rows)
    if any(row["reason"] not in names for row in rows):
        names.append("other")
    colors = iter(color for color in PALETTE if color not in (KEPT, "#999999"))
    scale = {"kept": KEPT, "other": "#999999"}
    ranged = [scale.get(name) or next(colors) for name in names]
    return color("reason", {"domain": names, "range": ranged})
