"""Figures of a policy over its steps: rewards, length (R1's figure 3), difficulty, KL, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.core.files import read_lines
from factory.report.chart import Figure
from factory.report.training_figures import write_training_figures
from factory.train.self_evolution import ACCURACY, REFLECTION

NAME = "curves"

_PANELS: Sequence[tuple[str, str, str, Mapping[str, str]]] = (
    ("length", "Length of a completion", "tokens", {"completions/mean_length": "mean"}),
    (
        "reflection",
        "Reflection words (R1 v2, C.2)",
        "share of all words",
        {"reflection": "wait, mistake, however, but, retry, error, verify, wrong, evaluate, check"},
    ),
    ("entropy", "Entropy", "nats per token", {"entropy": "entropy"}),
    ("kl", "Divergence from the reference model", "nats per token", {"kl": "KL"}),
    (
        "shares",
        "Groups and tokens without a gradient",
        "share",
        {
            "frac_reward_zero_std": "groups without signal",
            "cut": "completions truncated",
            "clip_ratio/region_mean": "tokens clipped",
        },
    ),
    (
        "time",
        "Time of a step by phase",
        "seconds",
        {
            "time/rollout": "rollout",
            "time/update": "update",
            "time/sync": "weight sync",
            "time/reward": "reward",
        },
    ),
)


def write_curves(run: Path) -> Path:
    """Write RUN/curves.html, and the figures as JSON and PNG; returns the page."""
    lines = [line for line in read_lines(run / "log.jsonl") if "loss" in line]
    return write_training_figures(f"{run.name} · training", build_curves(lines), run, NAME)


def build_curves(lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Return the figures that the log has numbers for."""
    levels = _find_lines(lines, f"{ACCURACY}/")
    words = _find_lines(lines, f"{REFLECTION}/")
    parts = {
        key: key.split("/")[1]
        for line in lines
        for key in line
        if key.startswith("rewards/") and key.endswith("/mean")
    }
    panels = [
        ("reward", "Reward", "mean", parts | {"reward": "sum, weighted"}),
        ("difficulty", "Accuracy by difficulty (R1 v2, C.1)", "mean", levels),
        *_PANELS,
        ("words", "Each reflection word", "share of all words", words),
    ]
    found = []
    for name, title, unit, wanted in panels:
        rows = [
            {"step": line["step"], "line": label, "value": line[key]}
            for line in lines
            for key, label in wanted.items()
            if isinstance(line.get(key), int | float)
        ]
        if rows:
            found.append(_figure(name, title, unit, rows))
    return found


def _find_lines(lines: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, str]:
    """Return the logged metrics with a prefix, and the rest of their names."""
    keys = dict.fromkeys(key for line in lines for key in line if key.startswith(prefix))
    return {key: key.removeprefix(prefix) for key in sorted(keys)}


def _figure(name: str, title: str, unit: str, rows: list[dict[str, Any]]) -> Figure:
    """Build a chart with a faint point per step, and the mean of the last ten steps as a line."""
    x = {"field": "step", "type": "quantitative", "title": "step"}
    color = {"field": "line", "type": "nominal", "legend": {"orient": "top", "title": None}}
    y = {"type": "quantitative", "title": unit}
    spec = {
        "data": {"values": rows},
        "height": 220,
        "transform": [
            {
                "window": [{"op": "mean", "field": "value", "as": "smooth"}],
                "frame": [-9, 0],
                "sort": [{"field": "step"}],
                "groupby": ["line"],
            }
        ],
        "layer": [
            {
                "mark": {"type": "point", "opacity": 0.25, "size": 12, "tooltip": True},
                "encoding": {"x": x, "y": {**y, "field": "value"}, "color": color},
            },
            {
                "mark": {"type": "line"},
                "encoding": {"x": x, "y": {**y, "field": "smooth"}, "color": color},
            },
        ],
    }
    note = "Points are single steps, lines the mean of the last ten."
    return Figure(name, title, note, [spec], rows)
