"""Plot metrics over training: evaluations of a model's checkpoints, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from factory.core.errors import RunError
from factory.evaluation.result import Evaluation, load_evaluation
from factory.evaluation.scores import ALL, metric_bounds
from factory.report.chart import Figure, Rows
from factory.report.training_figures import write_training_figures

NAME = "training"


def write_figure(directories: Sequence[Path], out: Path) -> Path:
    """Write OUT/training.html, and the figures as JSON and PNG; returns the page.

    Raises RunError where a directory is no evaluation, an evaluation has no step, or two of them
    have the same step and series.
    """
    figures = training_figures([load_evaluation(path) for path in directories])
    return write_training_figures("Evaluation over training", figures, out, NAME)


def training_figures(evaluations: Sequence[Evaluation]) -> list[Figure]:
    """Return one figure per metric, with one line per series and source."""
    places: dict[tuple[str, int], str] = {}
    for found in evaluations:
        if found.step is None:
            raise RunError(
                f"{found.name} has no step, so it can't be placed in a figure over training; "
                "evaluate it with --set step=N"
            )
        other = places.setdefault((found.series, found.step), found.name)
        if other != found.name:
            raise RunError(
                f"{other} and {found.name} are both step {found.step} of series "
                f"{found.series!r}; give each line its own series with --set series=NAME"
            )
    metrics = dict.fromkeys(metric for found in evaluations for metric in found.columns)
    return [_figure(metric, list(_points(evaluations, metric))) for metric in metrics]


def _points(evaluations: Sequence[Evaluation], metric: str) -> Iterator[dict[str, Any]]:
    """Yield one row per step and source; with several sources also one row for all of them."""
    several = len({name for found in evaluations for name in found.groups if name != ALL}) > 1
    for found in sorted(evaluations, key=lambda each: (each.series, each.step or 0)):
        for name, group in found.groups.items():
            estimate = group.metrics.get(metric)
            if estimate is None or estimate.value is None:
                continue
            line = " · ".join(filter(None, (found.series, name if several else "")))
            yield {
                "step": found.step,
                "line": line or name,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "prompts": estimate.prompts,
            }


def _figure(metric: str, rows: Rows) -> Figure:
    axis = {"format": "%"} if metric_bounds(metric) else {}
    x = {"field": "step", "type": "quantitative", "title": "training step"}
    y = {"type": "quantitative", "title": metric, "axis": axis}
    color = {"field": "line", "type": "nominal", "legend": {"orient": "top", "title": None}}
    band = {
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": color},
    }
    line = {
        "mark": {"type": "line", "point": True, "tooltip": True},
        "encoding": {"x": x, "y": {**y, "field": "value"}, "color": color},
    }
    spec = {"data": {"values": [dict(row) for row in rows]}, "height": 220, "layer": [band, line]}
    note = "The line is the mean over prompts, the band is its confidence interval."
    return Figure(metric.replace("@", "_at_"), metric, note, [spec], rows)
