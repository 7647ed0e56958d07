"""Ways to choose among samples, by votes, outcome and process rewards, at equal tokens.

    OMP_NUM_THREADS=1 factory run search/mini --run runs/search --trust-code
    python benchmarks/search.py runs/search             tables, and a JSON line per claim
    python benchmarks/search.py runs/search --publish   also the tables in the page of results

Reads a run of recipes/search/mini.yaml: chained sums, small models trained from nothing, one policy
and one model of each kind per seed. First the AUC of the process reward models on held-out steps,
then every choice among the same 16 samples of 200 sums, then those within 80 generated tokens, then
searches over steps, then searches by a policy and a value model that were trained on the answers of
the searches before, then how often a vote is wrong by its margin, then the curves of RL on the
process reward model. What comes out negative is printed as it is.

With two seeds or more, intervals are Student's over seeds. With one seed they are the
evaluation's own: paired, over prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.search_facts import (
    ROUNDS,
    SEARCHES,
    UNSEARCHED,
    Facts,
    Round,
    Spread,
    read_run,
    summarize,
)
from factory.evaluation.estimators import Resampling

TITLES = {
    "pass@1": "one sample",
    "cons@": "vote",
    "best@:quality_score": "best by ORM",
    "vote@:quality_score": "vote weighted by ORM",
    "best@:steps_min": "best by PRM, min",
    "best@:steps_product": "best by PRM, product",
    "best@:steps_last": "best by PRM, last",
    "vote@:steps_min": "vote weighted by PRM, min",
    "vote@:steps_product": "vote weighted by PRM, product",
    "pass@": "oracle: any is right",
}
"""Metric without its K → its name in the tables."""

CLAIMED = {
    "vote weighted by PRM, min": "vote@16:steps_min",
    "vote weighted by ORM": "vote@16:quality_score",
    "best by PRM, min": "best@16:steps_min",
    "best by ORM": "best@16:quality_score",
}
PAIRS = {
    "vote weighted by PRM, min, minus weighted by ORM": (
        "vote@16:steps_min",
        "vote@16:quality_score",
    ),
    "best by PRM, min: of 16 samples minus of 4": ("best@16:steps_min", "best@4:steps_min"),
}

MODELS = {
    "prm": "PRM, hard labels",
    "prm-soft": "PRM, soft labels",
    "second-prm": "2nd round's",
    "third-prm": "3rd round's",
}
"""Step that trains a process reward model → its name in the tables."""

AUCS = {
    "auc": "AUC, pooled",
    "auc_within": "AUC within questions",
    "auc_position": "by position alone",
    "first_error": "first error found",
    "all_good": "no error where none is",
}
"""Metric on held-out steps → its name in the tables."""

WINDOW = 10
"""Steps of RL whose mean is its end."""

STALL = 0.02
"""A round that surely gains less than this is a stall. Written before any second round was run."""

PAGE = Path(__file__).resolve().parents[1] / "docs/results/process-rewards.md"
MARKS = ("<!-- search: written by benchmarks/search.py -->", "<!-- end of search -->")


def collect(facts: Facts, metric: str) -> list[float]:
    """Return a metric of every seed."""
    groups = (one["groups"]["sums"]["metrics"] for one in facts.evaluations)
    values = (group[metric]["value"] for group in groups)
    return [value for value in values if value is not None]


def collect_differences(facts: Facts, metric: str) -> Spread | None:
    """Return a metric minus the plain vote over the same samples; None for the vote itself.

    Over seeds the differences are paired by seed; of one seed, by prompt.
    """
    choices = [one["choices"]["sums"].get(metric) for one in facts.evaluations]
    if any(one is None or one["value"] is None for one in choices):
        return None
    if len(choices) == 1:
        return Spread(*(choices[0][key] for key in ("value", "low", "high")))
    return summarize([one["value"] for one in choices])


def compare_metrics(facts: Facts, one: str, other: str) -> Spread:
    """Return a metric minus another, paired by prompt for one seed, by seed for several."""
    differences = [(own[one] - own[other]).drop_nulls() for own in facts.scores]
    if len(differences) > 1:
        return summarize([float(np.mean(own.to_numpy())) for own in differences])
    (found,) = Resampling().estimate(differences[0].to_numpy()[:, None], [(-1.0, 1.0)])
    return Spread(found.value or 0.0, found.low, found.high)


def format_spread(spread: Spread | None, sign: str = "", scale: float = 100) -> str:
    """Write a mean and its interval, as shares or, with a sign, as differences of shares.

    The interval of a share ends at 0 and 100.

    >>> format_spread(Spread(0.9, 0.75, 1.05)), format_spread(Spread(0.9, 0.75, 1.05), "+")
    ('90.0 [75.0, 100.0]', '+90.0 [+75.0, +105.0]')
    """
    if spread is None:
        return "–"
    value, low, high = spread
    shown = f"{scale * value:{sign}.1f}"
    if low is None or high is None:
        return shown
    if not sign and scale == 100:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{shown} [{scale * low:{sign}.1f}, {scale * high:{sign}.1f}]"


Table = tuple[list[str], list[list[str]]]


def tabulate_aucs(facts: Facts) -> Table:
    rows = []
    for name, own in facts.aucs.items():
        known = [one for one in own if one]
        if known:
            cells = [
                format_spread(summarize([one[key] for one in known if key in one]))
                if any(key in one for one in known)
                else "–"
                for key in AUCS
            ]
            rows.append([MODELS[name], *cells])
    return ["model", *AUCS.values()], rows


def tabulate_choices(facts: Facts, at: str) -> Table:
    """Return every choice among the samples of one K, next to the plain vote over them."""
    rows = []
    names = list(facts.evaluations[0]["groups"]["sums"]["metrics"])
    for title, label in TITLES.items():
        name = title.replace("@", f"@{at}", 1) if title != "pass@1" else title
        if name in names and (values := collect(facts, name)):
            value = summarize(values)
            less = format_spread(collect_differences(facts, name), "+")
            rows.append([label, name, format_spread(value), less])
    return ["choice", "metric", "right, %", "minus the vote"], rows


def compare_search(facts: Facts, name: str, other: str) -> Spread:
    """Return a search's accuracy minus that of a choice among samples.

    A search draws samples of its own, so it is paired by seed, and has no interval for one.
    """
    right = collect_search(facts, name, "pass@1")
    return summarize([own - vote for own, vote in zip(right, collect(facts, other), strict=True)])


def collect_search(facts: Facts, name: str, metric: str) -> list[float]:
    groups = (one["groups"]["sums"]["metrics"] for one in facts.searches[name])
    return [float(group[metric]["value"]) for group in groups]


def tabulate_searches(facts: Facts) -> Table:
    rows = []
    for name in facts.searches:
        label, *others = SEARCHES[name]
        right = format_spread(summarize(collect_search(facts, name, "pass@1")))
        spent = format_spread(summarize(collect_search(facts, name, "tokens")), scale=1)
        less = (f"{format_spread(compare_search(facts, name, one), '+')} ({one})" for one in others)
        rows.append([label, right, spent, *less])
    return [
        "search",
        "right, %",
        "tokens per answer",
        "minus the vote",
        "minus the weighted vote",
    ], rows


def list_rounds(facts: Facts) -> list[Round]:
    """Return the rounds that every seed has done, up to the first that one has not."""
    return list(takewhile(lambda one: {one.alone, one.tree} <= facts.rounds.keys(), ROUNDS))


def compare_rounds(facts: Facts, one: str, other: str, metric: str = "pass@1") -> Spread:
    """Return a metric of one step minus that of another; both asked the same prompts.

    Paired by seed for several seeds; of one seed, by prompt.
    """
    pairs = zip(facts.rounds[one], facts.rounds[other], strict=True)
    differences = [
        own.join(before, on="prompt_id", suffix=" before", validate="1:1")
        .select(pl.col(metric) - pl.col(f"{metric} before"))
        .to_series()
        .drop_nulls()
        .to_numpy()
        for own, before in pairs
    ]
    if len(differences) > 1:
        return summarize([float(np.mean(own)) for own in differences])
    (found,) = Resampling().estimate(differences[0][:, None], [(-1.0, 1.0)])
    return Spread(found.value or 0.0, found.low, found.high)


def say_progress(gain: Spread) -> str:
    """Return whether self-improvement goes on, stalls, or goes back.

    >>> say_progress(Spread(0.1, 0.05, 0.15)), say_progress(Spread(-0.1, -0.15, -0.05))
    ('goes on', 'goes back')
    >>> say_progress(Spread(0.0, -0.01, 0.01)), say_progress(Spread(0.02, -0.01, 0.05))
    ('stalls', 'undecided')
    """
    if gain.low is None or gain.high is None:
        return "undecided"
    if gain.low > 0:
        return "goes on"
    if gain.high < 0:
        return "goes back"
    return "stalls" if gain.high < STALL else "undecided"


def tabulate_rounds(facts: Facts) -> Table:
    """Return a row per round of search and training that every seed has done."""
    rows: list[list[str]] = []
    before = ""
    for label, prm, alone, tree in list_rounds(facts):
        aucs = [one["auc_within"] for one in facts.aucs[prm] if "auc_within" in one]
        gain = compare_rounds(facts, tree, before) if before else None
        rows.append(
            [
                label,
                average(facts, alone, "pass@1"),
                average(facts, alone, "cons@80t"),
                format_spread(summarize(aucs)) if aucs else "–",
                average(facts, tree, "pass@1"),
                average(facts, tree, "tokens", scale=1),
                format_spread(gain, "+"),
                "–" if gain is None else say_progress(gain),
            ]
        )
        before = tree
    if len(rows) < 2:
        return [], []  # no second round
    if UNSEARCHED in facts.rounds:
        own = (average(facts, UNSEARCHED, metric) for metric in ("pass@1", "cons@80t"))
        rows.append(["plain samples", *own, *["–"] * 5])
    return [
        "round",
        "policy alone",
        "vote, 80 tokens",
        "value's AUC within",
        "search",
        "tokens",
        "search minus the round before",
        "self-improvement",
    ], rows


def average(facts: Facts, step: str, metric: str, scale: float = 100) -> str:
    """Return the mean of a step's metric, with its interval over seeds where there are several."""
    means = [float(np.mean(own[metric].drop_nulls().to_numpy())) for own in facts.rounds[step]]
    return format_spread(summarize(means), scale=scale)


def tabulate_margins(facts: Facts) -> Table:
    rows = []
    margins = [one["margins"]["sums"] for one in facts.evaluations]
    for place, first in enumerate(margins[0]):
        own = [seed[place] for seed in margins]
        wrong = [one["wrong"] for one in own if one["wrong"] is not None]
        prompts = sum(one["prompts"] for one in own)
        of = sum(one["of"] for one in own)
        shown = format_spread(summarize(wrong)) if wrong else "–"
        rows.append([f"{first['margin']:.0%}", f"{prompts:,} of {of:,}", shown])
    return ["margin of at least", "prompts", "vote wrong, %"], rows


def tabulate_curves(facts: Facts) -> Table:
    measures = {"reward": "rewards/steps/mean", "true accuracy": "rewards/accuracy/mean"}
    rows = []
    for name, logs in facts.curves.items():
        for measure, key in measures.items():
            curves = [smooth([row[key] for row in log]) for log in logs]
            ends = ([curve[0] for curve in curves], list(map(max, curves)), [c[-1] for c in curves])
            rows.append([name, measure, *(format_spread(summarize(values)) for values in ends)])
    return ["RL on the PRM", "measure", "first steps", "best", "last steps"], rows


def smooth(values: Sequence[float]) -> list[float]:
    """Return the means of WINDOW values in a row; of fewer, their mean alone.

    >>> smooth([1.0, 2.0])
    [1.5]
    """
    count = max(1, len(values) - WINDOW + 1)
    return [mean(values[at : at + WINDOW]) for at in range(count)]


def render(table: Table) -> str:
    """Return a table in Markdown."""
    columns, rows = table
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def list_claims(facts: Facts) -> list[dict[str, Any]]:
    """Return what a user would like to be true of each choice, true or not."""

    def claim(name: str, spread: Spread | None, target: float = 0.0) -> dict[str, Any]:
        """It holds, or fails, if the whole interval says so; null: it is inconclusive."""
        if spread is None:
            return {"name": name, "value": None, "target": target, "holds": None}
        value, low, high = (None if part is None else round(part, 4) for part in spread)
        holds = True if low is not None and low > target else None
        holds = False if high is not None and high < target else holds
        interval = {"low": low, "high": high}
        return {"name": name, "value": value, "target": target, "holds": holds, **interval}

    within = [one["auc_within"] for one in facts.aucs["prm"] if "auc_within" in one]
    found = [
        {
            "name": "PRM: least AUC within questions, of all seeds",
            "value": round(min(within), 4),
            "target": 0.6,
            "holds": min(within) >= 0.6,
        },
        *(
            claim(f"{label}, minus the vote", collect_differences(facts, metric))
            for label, metric in CLAIMED.items()
        ),
        *(claim(name, compare_metrics(facts, *pair)) for name, pair in PAIRS.items()),
    ]
    for name in facts.searches:
        label, *others = SEARCHES[name]
        found += [
            claim(f"{label}, minus {one}", compare_search(facts, name, one)) for one in others
        ]
    for (_, _, *before), (label, _, *after) in pairwise(list_rounds(facts)):
        for what, old, new in zip(("policy alone", "search"), before, after, strict=True):
            spread = compare_rounds(facts, new, old)
            found.append(claim(f"{label} round: {what}, minus the round before", spread))
    if {"second-alone", UNSEARCHED} <= facts.rounds.keys():
        spread = compare_rounds(facts, "second-alone", UNSEARCHED)
        found.append(claim("a policy of searches, minus one of plain samples", spread))
    for name, logs in facts.curves.items():
        curves = [smooth([row["rewards/accuracy/mean"] for row in log]) for log in logs]
        gain = summarize([curve[-1] - curve[0] for curve in curves])
        found.append(claim(f"{name}: true accuracy, last steps minus first", gain))
    return found


def render_report(facts: Facts) -> str:
    """Return every table that the run has something for, in Markdown, the AUCs first."""
    tokens = mean(collect(facts, "tokens"))
    sections = {
        "Process reward models on held-out steps": tabulate_aucs(facts),
        f"Among 16 samples ({16 * tokens:.0f} tokens per prompt)": tabulate_choices(facts, "16"),
        "Within 80 generated tokens per prompt": tabulate_choices(facts, "80t"),
        "Searches over steps": tabulate_searches(facts),
        "Search, train on the answers, search again": tabulate_rounds(facts),
        "How often the vote is wrong": tabulate_margins(facts),
        "RL on the process reward model": tabulate_curves(facts),
    }
    seeds = ", ".join(map(str, facts.seeds))
    parts = [
        f"Seeds: {seeds}. {tokens:.1f} generated tokens per sample. All steps took "
        f"{facts.minutes:.0f} minutes of wall-clock time, on a machine shared with other work."
    ]
    parts += [f"### {title}\n\n{render(table)}" for title, table in sections.items() if table[1]]
    return "\n\n".join(parts)


def place_report(page: str, report: str) -> str:
    """Return the page with the report between its marks."""
    before, start, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{start}\n\n{report}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of recipes/search/mini.yaml")
    parser.add_argument("--publish", action="store_true", help=f"write the tables into {PAGE.name}")
    given = parser.parse_args()
    facts = read_run(given.run)
    report = render_report(facts)
    print(f"{report}\n")
    if given.publish:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(place_report(page, report), encoding="utf-8")
    for one in list_claims(facts):
        print(json.dumps(one))


if __name__ == "__main__":
    main()
