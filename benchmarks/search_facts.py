"""What a run of recipes/search/mini.yaml says, by seed, for search.py; and means over seeds."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import polars as pl

from benchmarks.claims import student_quantile
from factory.core.files import read_lines

SEARCHES = {
    "beam": ("step-level beam by PRM", "cons@16", "vote@16:steps_min"),
    "tree": ("PUCT by PRM", "cons@80t", "vote@80t:steps_min"),
}
"""Steps of the run whose samples are answers of searches: their names, and the votes of about the
same tokens, plain and weighted."""


class Round(NamedTuple):
    """A round of search and training, and its steps."""

    label: str
    prm: str  # trains its value model
    alone: str  # evaluates its policy without a search
    tree: str  # searches with both


ROUNDS = (
    Round("1st", "prm", "choices", "tree"),
    Round("2nd", "second-prm", "second-alone", "second-tree"),
    Round("3rd", "third-prm", "third-alone", "third-tree"),
)

UNSEARCHED = "unsearched-alone"
"""The policy that was trained on plain samples of as many tokens as the second round's searches."""


class Spread(NamedTuple):
    """A mean with its interval; None where there is none."""

    value: float
    low: float | None
    high: float | None


def summarize(values: Sequence[float]) -> Spread:
    """Return the mean over seeds, with Student's 95% interval where there are two or more.

    >>> summarize([0.5])
    Spread(value=0.5, low=None, high=None)
    >>> spread = summarize([0.4, 0.5, 0.6])
    >>> round(spread.low, 3), round(spread.high, 3)
    (0.252, 0.748)
    """
    center = mean(values)
    if len(values) < 2:
        return Spread(center, None, None)
    half = student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Spread(center, center - half, center + half)


def read_seeds(run: Path) -> list[int]:
    """Return the seeds whose evaluation is done."""
    found = (run / "steps").glob("choices-*/eval.json")
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in found)


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class Facts(NamedTuple):
    """What a run says, by seed."""

    seeds: list[int]
    aucs: dict[str, list[dict[str, float]]]  # step → metrics
    evaluations: list[dict[str, Any]]  # eval.json
    scores: list[pl.DataFrame]  # scores.parquet: a row per prompt
    searches: dict[str, list[dict[str, Any]]]  # step → eval.json
    curves: dict[str, list[list[dict[str, Any]]]]  # step of RL → lines of its log
    rounds: dict[str, list[pl.DataFrame]]  # step of a round → its scores, a row per prompt
    minutes: float  # of wall-clock time, of all steps that are done


def read_run(run: Path) -> Facts:
    """Return the facts of a run. Exits where no seed is done."""
    seeds = read_seeds(run)
    if not seeds:
        sys.exit(f"{run}: no evaluation is done; run `factory run search/mini --run {run}` first")
    steps = run / "steps"
    aucs = {
        name: [read_metrics(steps / f"{name}-{seed}") for seed in seeds]
        for name in ("prm", "prm-soft", *(one.prm for one in ROUNDS[1:]))
    }
    curves: dict[str, list[list[dict[str, Any]]]] = {}
    for name in ("rl-free", "rl-clipped"):
        logs = [read_lines(steps / f"{name}-{seed}" / "log.jsonl") for seed in seeds]
        rows = [[row for row in log if "rewards/steps/mean" in row] for log in logs]
        if any(rows):
            curves[name] = [own for own in rows if own]
    evaluations = [read_json(steps / f"choices-{seed}" / "eval.json") for seed in seeds]
    searches = {
        name: [read_json(steps / f"{name}-{seed}" / "eval.json") for seed in seeds]
        for name in SEARCHES
        if all((steps / f"{name}-{seed}" / "eval.json").is_file() for seed in seeds)
    }
    scores = [pl.read_parquet(steps / f"choices-{seed}" / "scores.parquet") for seed in seeds]
    known = read_json(run / "pipeline.json")["steps"]
    minutes = sum(step.get("seconds", 0.0) for step in known.values()) / 60
    rounds = read_rounds(steps, seeds)
    return Facts(seeds, aucs, evaluations, scores, searches, curves, rounds, minutes)


def read_rounds(steps: Path, seeds: Sequence[int]) -> dict[str, list[pl.DataFrame]]:
    """Return the scores of the steps of all rounds that every seed has done."""
    names = [UNSEARCHED, *(name for one in ROUNDS for name in (one.alone, one.tree))]
    files = {
        name: [steps / f"{name}-{seed}" / "scores.parquet" for seed in seeds] for name in names
    }
    return {
        name: [pl.read_parquet(file) for file in own]
        for name, own in files.items()
        if all(file.is_file() for file in own)
    }


def read_metrics(step: Path) -> dict[str, float]:
    """Return the metrics of held-out steps, without their prefix; empty for a step not done."""
    if not (step / "train.json").is_file():
        return {}
    metrics = read_json(step / "train.json").get("metrics", {})
    return {name.removeprefix("eval_"): value for name, value in metrics.items()}
