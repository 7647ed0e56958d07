"""The key numbers of a finished step, read from the files it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.core.files import read_lines
from factory.recipe.kinds import KINDS

CURVES = ("loss", "eval_loss", "reward", "kl", "entropy", "completions/mean_length")
"""Metrics of a training's log that are shown, in addition to the parts of the reward."""

CURVE_POINTS = 120
EVALUATED = ("pass@1", "format", "language", "tokens", "truncated")
REPORTS = ("report.html", "curves.html", "eval.md", "statistics.json", "train.json")
"""Files that a page may link to; it links to the first that exists."""


def read_facts(kind: str, folder: Path) -> dict[str, Any]:
    """Return the key numbers of a finished step. Numbers that can't be read are left out."""
    read = {"corpus": _corpus, "model": _model, "eval.json": _evaluation}[KINDS[kind].product]
    report = next((name for name in REPORTS if (folder / name).exists()), None)
    return {"product": KINDS[kind].product, "report": report, **read(folder)}


def _corpus(folder: Path) -> dict[str, Any]:
    funnel = _json(folder / "funnel.json")
    rows = funnel.get("rows") or {}
    domains = _json(folder / "statistics.json").get("domains", {})
    return {
        "prompts": funnel.get("prompts"),
        "samples": funnel.get("drawn", {}).get("samples"),
        "kept": funnel.get("kept", {}).get("samples"),
        "rows": rows.get("samples"),
        "tokens": rows.get("tokens"),
        "domains": {name: share.get("samples") for name, share in domains.items()},
    }


def _model(folder: Path) -> dict[str, Any]:
    manifest = _json(folder / "train.json")
    log = read_lines(folder / "log.jsonl")
    curves = {}
    logged = dict.fromkeys(name for row in log for name in row)
    parts = [name for name in logged if name.startswith("rewards/") and name.endswith("/mean")]
    for name in (*CURVES, *parts):
        points = [(row["step"], row[name]) for row in log if isinstance(row.get(name), int | float)]
        if points:
            every = -(-len(points) // CURVE_POINTS)
            curves[name] = points[:-1:every] + points[-1:]
    return {
        "steps": max((row["step"] for row in log), default=None),
        "curves": curves,
        "metrics": manifest.get("metrics", {}),
        "checkpoints": sorted(path.name for path in folder.glob("checkpoints/checkpoint-*")),
    }


def _evaluation(folder: Path) -> dict[str, Any]:
    found = _json(folder / "eval.json")
    groups = found.get("groups", {})
    return {
        "model": found.get("model"),
        "k": found.get("k", {}),
        "groups": {
            source: {
                "prompts": group["prompts"],
                **{name: group["metrics"][name] for name in EVALUATED if name in group["metrics"]},
            }
            for source, group in groups.items()
        },
    }


def format_facts(found: Mapping[str, Any]) -> str:
    """Format the two or three most important numbers of a step in one line."""
    if found["product"] == "corpus":
        drawn = f", {found['samples']:,} samples drawn" if found["samples"] else ""
        return f"{found['rows'] or 0:,} rows{drawn}"
    if found["product"] == "model":
        ends = [f"{name} {points[-1][1]:.4g}" for name, points in found["curves"].items()]
        return ", ".join([f"{found['steps'] or 0:,} steps", *ends[:2]])
    return "; ".join(
        f"{source}: "
        + ", ".join(f"{name} {format_estimate(group, name)}" for name in EVALUATED[:2])
        for source, group in found["groups"].items()
    )


def format_estimate(group: Mapping[str, Any], name: str) -> str:
    """Format a mean with its interval; shares in percent."""
    found = group.get(name)
    if found is None or found["value"] is None:
        return "–"
    form = "{:.0f}" if name == "tokens" else "{:.1%}"
    value = form.format(found["value"])
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} ({form.format(found['low'])} to {form.format(found['high'])})"


def format_duration(seconds: float | None) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
