"""The figures, as Vega-Lite over the rows of `factory.report.facts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.report.vega import KEPT, NEUTRAL, PALETTE, REJECTED, UNDECIDED
from factory.sampling.accounting import FATES

Rows = Sequence[Mapping[str, Any]]

_OUTCOMES = {"domain": ["accepted", "rejected"], "range": [KEPT, REJECTED]}
_FATES = {
    "domain": [fate.replace("_", " ") for fate in FATES],
    "range": [KEPT, REJECTED, UNDECIDED, NEUTRAL, PALETTE[3]],
}
_DECISIONS = {
    "domain": ["drawn", "drop", "undecided", "keep"],
    "range": [NEUTRAL, REJECTED, UNDECIDED, KEPT],
}
_MAX_REASONS = 7
"""Colours that can be told apart, with `kept`; the rarer reasons are shown together."""


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows in words, and the rows behind it for those who cannot see it."""

    name: str
    title: str
    note: str
    specs: list[dict[str, Any]]  # more than one where one measure a chart reads better
    rows: Rows


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
    )
    return [make(facts[key]) for key, make in makers if facts.get(key)]


def funnel(rows: Rows) -> Figure:
    """What each reason took, from what was drawn to what was kept."""
    shown = [{**row, "step": " ".join(filter(None, (row["stage"], row["reason"])))} for row in rows]
    steps = [row["step"] for row in shown]
    spec = _chart(
        shown,
        "bar",
        y=_axis("step", "nominal", None, sort=steps),
        x=_axis("samples", "quantitative", "samples"),
        color=_color("decision", _DECISIONS),
        height=_bars(steps),
    )
    spec["encoding"]["tooltip"] = _tips("step", "decision", "samples", "tokens", "left")
    return Figure("funnel", "Funnel", "Samples each reason took, and what was kept.", [spec], rows)


def by_source(rows: Rows) -> Figure:
    return _taken(rows, "source")


def by_domain(rows: Rows) -> Figure:
    return _taken(rows, "domain")


def _taken(rows: Rows, key: str) -> Figure:
    spec = _chart(
        _with_rare_together(rows),
        "bar",
        y=_axis("group", "nominal", None),
        x=_axis("samples", "quantitative", "share of samples", stack="normalize"),
        color=_reasons(rows),
        height=_bars(row["group"] for row in rows),
    )
    spec["encoding"]["x"]["aggregate"] = "sum"
    note = f"What became of the samples of each {key}."
    return Figure(f"by_{key}", f"By {key}", note, [spec], rows)


def pass_rates(rows: Rows) -> Figure:
    spec = _chart(
        rows,
        {"type": "bar", "binSpacing": 1},
        x=_axis("low", "quantitative", "pass rate", bin={"binned": True, "step": 0.1}),
        y=_axis("prompts", "quantitative", "prompts"),
    )
    spec["encoding"]["x2"] = {"field": "high"}
    note = "Prompts by the share of their judged samples that were correct."
    return Figure("pass_rates", "Pass rate", note, [spec], rows)


def accepted_by_prompt(rows: Rows) -> Figure:
    spec = _chart(
        rows,
        "bar",
        x=_axis("accepted", "ordinal", "accepted samples", axis={"labelAngle": 0}),
        y=_axis("prompts", "quantitative", "prompts"),
    )
    note = "Prompts by how many of their samples were accepted. Zero: the corpus lacks them."
    return Figure("accepted_by_prompt", "Accepted by prompt", note, [spec], rows)


def lengths(rows: Rows) -> Figure:
    """One histogram a measure, accepted against rejected."""
    histograms = [
        _chart(
            [row for row in rows if row["part"] == part],
            {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
            x=_axis("low", "quantitative", part),
            y=_axis("share", "quantitative", "share", stack=None, axis={"format": "%"}),
            color=_color("outcome", _OUTCOMES),
            height=130,
        )
        for part in dict.fromkeys(row["part"] for row in rows)
    ]
    note = "Accepted against rejected, each as a share of its own. The last bin holds what is over."
    return Figure("lengths", "Lengths", note, histograms, rows)


def reasons_over_time(rows: Rows) -> Figure:
    spec = _chart(
        _with_rare_together(rows),
        {"type": "area", "interpolate": "step-after"},
        x=_axis("minute", "quantitative", "minutes since the first sample"),
        y=_axis("samples", "quantitative", "share of samples", stack="normalize"),
        color=_reasons(rows),
    )
    spec["encoding"]["y"]["aggregate"] = "sum"
    note = "A reason that grows while the run goes on points at the engine or the order of prompts."
    return Figure("reasons_over_time", "Reasons over time", note, [spec], rows)


def throughput(rows: Rows) -> Figure:
    minute = _axis("minute", "quantitative", "minutes")
    line = {"type": "line", "point": True}
    speed = _axis("tokens_per_second", "quantitative", "tokens/s")
    specs = [_chart(rows, line, x=minute, y=speed)]
    note = "Generated tokens a second, between two entries of the run's log"
    if any(row["occupancy"] is not None for row in rows):
        share = _axis("occupancy", "quantitative", "of the engine in use", axis={"format": "%"})
        specs.append(_chart(rows, line, height=110, x=minute, y=share))
        note += ", and how full the engine was"
    return Figure("throughput", "Throughput", f"{note}.", specs, rows)


def workers(rows: Rows) -> Figure:
    """The speed of each endpoint or replica."""
    spec = _chart(
        rows,
        "bar",
        y=_axis("name", "nominal", None),
        x=_axis("tokens_per_second", "quantitative", "tokens/s"),
        height=_bars(row["name"] for row in rows),
    )
    spec["encoding"]["tooltip"] = _tips("name", "samples", "tokens", "faults")
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
    spec = _chart(
        shown,
        "bar",
        y=_axis("source", "nominal", None),
        x=_axis("tokens", "quantitative", "generated tokens"),
        color=_color("fate", _FATES),
        height=_bars(row["source"] for row in shown),
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
    line = _chart(
        fixed,
        {"type": "line", "point": True},
        x=_axis("n", "quantitative", "fixed samples a prompt", scale={"type": "log", "base": 2}),
        y=_axis("tokens_per_accepted", "quantitative", "tokens per accepted sample"),
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
    spec = _chart(
        rows,
        "bar",
        y=_axis("language", "nominal", None, sort="-x"),
        x=_axis("samples", "quantitative", "samples"),
        color=_color("part"),
        height=_bars(row["language"] for row in rows),
    )
    note = "Samples that hold a stretch in another language or script than their prompt's."
    return Figure("languages", "Language mixing", note, [spec], rows)


def compared_lengths(rows: Rows) -> Figure:
    """Tokens of the accepted samples of two runs."""
    accepted = [row for row in rows if (row["part"], row["outcome"]) == ("tokens", "accepted")]
    spec = _chart(
        accepted,
        {"type": "area", "interpolate": "step-after", "opacity": 0.45, "line": True},
        x=_axis("low", "quantitative", "tokens"),
        y=_axis("share", "quantitative", "share of accepted", stack=None, axis={"format": "%"}),
        color=_color("run"),
    )
    return Figure("lengths", "Lengths", "Of accepted samples, in each run.", [spec], accepted)


def compared_pass_rates(rows: Rows) -> Figure:
    """Prompts by pass rate in two runs."""
    spec = _chart(
        rows,
        "bar",
        x=_axis("low", "ordinal", "pass rate, from", axis={"labelAngle": 0}),
        y=_axis("prompts", "quantitative", "prompts"),
        color=_color("run"),
    )
    spec["encoding"]["xOffset"] = {"field": "run"}
    return Figure("pass_rates", "Pass rate", "Prompts by pass rate, in each run.", [spec], rows)


def _with_rare_together(rows: Rows) -> list[dict[str, Any]]:
    common = _common(rows)
    return [
        {**row, "reason": row["reason"] if row["reason"] in common else "other"} for row in rows
    ]


def _common(rows: Rows) -> list[str]:
    """`kept`, then the reasons that took most."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["samples"]
    return sorted(totals, key=lambda reason: (reason != "kept", -totals[reason]))[:_MAX_REASONS]


def _reasons(rows: Rows) -> dict[str, Any]:
    """Kept is green wherever it is shown."""
    names = [*_common(rows), "other"]
    colors = iter(color for color in PALETTE if color not in (KEPT, "#999999"))
    scale = {"kept": KEPT, "other": "#999999"}
    ranged = [scale.get(name) or next(colors) for name in names]
    return _color("reason", {"domain": names, "range": ranged})


def _chart(rows: Rows, mark: Any, height: int = 220, **encoding: Any) -> dict[str, Any]:
    shape = {"type": mark} if isinstance(mark, str) else mark
    return {
        "data": {"values": [dict(row) for row in rows]},
        "mark": {**shape, "tooltip": True},
        "height": height,
        "encoding": {name: value for name, value in encoding.items() if value is not None},
    }


def _bars(names: Iterable[str]) -> int:
    """As high as so many bars need. A step would do, but not in a chart that fits its container."""
    return 24 * len(set(names)) + 12


def _axis(field: str, kind: str, title: str | None, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": kind, "title": title, **more}


def _color(field: str, scale: Mapping[str, Any] | None = None) -> dict[str, Any]:
    legend = {"orient": "top", "title": None}
    found: dict[str, Any] = {"field": field, "type": "nominal", "legend": legend}
    return found if scale is None else {**found, "scale": scale}


def _tips(*fields: str) -> list[dict[str, Any]]:
    return [{"field": field} for field in fields]
