"""Four of the R1 paper's claims, read off a run of recipes/r1/claims/pipeline.yaml.

    OMP_NUM_THREADS=1 factory run recipes/r1/claims/pipeline.yaml --run runs/claims --trust-code
    python benchmarks/claims.py runs/claims            a JSON line per comparison
    python benchmarks/claims.py runs/claims --publish  also page, figure and table

`--again RUN` adds claim 3's second run, of recipes/r1/claims/language.yaml, and `--smollm2 RUN` a
run of recipes/r1/claims/smollm2.yaml. The margins and the rule of decision are in
benchmarks/claims_rules.yaml. A seed counts once all its steps are done. `--publish` writes the
facts to docs/results/claims.json and renders the page from them, so that the page can be rendered
again without the run.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.claims_page import render_figure, render_page, render_table  # noqa: E402

RULES = ROOT / "benchmarks/claims_rules.yaml"
PIPELINE = ROOT / "recipes/r1/claims/pipeline.yaml"
OTHERS = {
    "again": PIPELINE.with_name("language.yaml"),
    "smollm2": PIPELINE.with_name("smollm2.yaml"),
}
"""Other runs, by their section in the rules and in the facts → their pipelines."""

MARKED = {"again": "again", "smollm2": "SmolLM2"}
"""How another run is named behind what a comparison says."""

FACTS = ROOT / "docs/results/claims.json"
PAGE = ROOT / "docs/results/claims.md"
FIGURE = ROOT / "docs/images/claims.svg"
INDEX = ROOT / "docs/results/index.md"
MARKS = ("<!-- claims: written by benchmarks/claims.py -->", "<!-- end of claims -->")
METRICS = ("pass@1", "pass@4", "cons@4", "tokens", "format", "language")

Facts = Mapping[str, Any]


class Comparison(NamedTuple):
    """A comparison's result over seeds."""

    name: str
    claim: int
    says: str
    margin: float
    differences: list[float]  # one per seed, in order
    value: float | None  # their mean; None without seeds
    low: float | None  # 95% interval over seeds; None with fewer than two
    high: float | None
    p: float | None  # two-sided, against the margin, after Holm's correction
    outcome: str  # holds, fails, inconclusive, or not testable


def read_run(directory: Path, pipeline: Path = PIPELINE) -> dict[str, Any]:
    """Return the facts of a run: every seed that is done, every arm's figures and settings.

    Which seeds are planned is in the pipeline's file: a run may have been given fewer.
    """
    manifest = json.loads((directory / "pipeline.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load((directory / "recipe.yaml").read_text(encoding="utf-8"))
    steps, known = recipe["steps"], manifest["steps"]
    done = {name for name, step in known.items() if step["state"] == "done"}
    repeated = [name for name, step in steps.items() if not step.get("once")]
    split = [name.rpartition("-") for name in known]
    started = sorted({int(seed) for base, _, seed in split if base in repeated and seed.isdigit()})
    # A seed counts for a claim if all steps of that claim are done.
    seeds = [seed for seed in started if {f"{name}-{seed}" for name in repeated} <= done]
    partial = [seed for seed in started if seed not in seeds]
    arms: dict[str, dict[str, Any]] = {}
    for name in steps:
        own = {str(seed): f"{name}-{seed}" for seed in started}
        own = {"once": name} if name not in repeated else own
        found = {
            seed: read_step(directory, step, known) for seed, step in own.items() if step in done
        }
        if found:
            arms[name] = {"title": steps[name].get("title", name), "by_seed": found}
    return {
        "seeds": seeds,
        "partial": partial,
        "planned": yaml.safe_load(pipeline.read_text(encoding="utf-8"))["seeds"],
        "seconds": round(sum(step.get("seconds", 0.0) for step in known.values())),
        "arms": arms,
        "foreign": read_foreign(directory / "steps" / "foreign"),
        "settings": read_settings(known, repeated),
    }


def read_step(directory: Path, step: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's figures: an evaluation's metrics, a training's curve, a corpus's size."""
    folder, facts = directory / "steps" / step, {"seconds": known[step]["seconds"]}
    if (folder / "eval.json").exists():
        groups = json.loads((folder / "eval.json").read_text(encoding="utf-8"))["groups"]
        for source, group in groups.items():
            if source != "all":
                values = {m: group["metrics"][m]["value"] for m in METRICS if m in group["metrics"]}
                facts[source] = {"prompts": group["prompts"], **values}
    elif (folder / "train.json").exists():
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        rewards = [row for row in rows if "rewards/accuracy/mean" in row]
        trained = [row["tokens"] for row in rows if "tokens" in row]
        if rewards:
            batch = int(known[step]["recipe"]["batch"])
            facts["accuracy"] = [round(row["rewards/accuracy/mean"], 4) for row in rewards]
            facts["generated"] = round(
                sum(row["completions/mean_length"] * batch for row in rewards)
            )
        elif trained:
            facts["trained"] = round(trained[-1])
    else:
        funnel = json.loads((folder / "funnel.json").read_text(encoding="utf-8"))
        facts |= {"generated": funnel["drawn"]["tokens"], "rows": funnel["rows"]["samples"]}
    return facts


def read_foreign(folder: Path) -> list[float]:
    """Return the consistency of every text known to be foreign."""
    import polars as pl

    files = sorted(folder.glob("metrics/language-*/*.parquet"))
    return [] if not files else pl.read_parquet(files)["language_consistency"].to_list()


def read_settings(known: Mapping[str, Any], repeated: Sequence[str]) -> dict[str, Any]:
    """Return the recipe of each step as it ran, of the first seed, without this machine's paths."""
    found = {}
    for name, step in known.items():
        base, _, seed = name.rpartition("-")
        key = base if base in repeated and seed.isdigit() else name
        if key not in found and "recipe" in step:
            text = json.dumps(step["recipe"])
            text = re.sub(r"[^\"]*/recipes/r1/claims/", "recipes/r1/claims/", text)
            found[key] = json.loads(text)
    return found


def differences(facts: Facts, rule: Mapping[str, Any]) -> dict[str, float]:
    """Return the difference of a comparison's two arms by seed, for seeds that have both."""
    one, other = (facts["arms"].get(arm, {"by_seed": {}})["by_seed"] for arm in rule["arms"])
    seeds = sorted(one.keys() & other.keys(), key=int)
    if rule["metric"] == "steps":
        return {
            seed: float(
                count_steps(one[seed]["accuracy"], rule["reach"], rule["window"])
                - count_steps(other[seed]["accuracy"], rule["reach"], rule["window"])
            )
            for seed in seeds
        }
    metric = rule["metric"]
    return {
        seed: round(one[seed]["sums"][metric] - other[seed]["sums"][metric], 9) for seed in seeds
    }


def count_steps(curve: Sequence[float], reach: float, window: int) -> int:
    """Return the first step at which the mean of the last `window` steps is at least `reach`.

    One more than the number of steps where it never is.

    >>> count_steps([0.1, 0.5, 0.7, 0.9], reach=0.6, window=2), count_steps([0.1], 0.6, 1)
    (3, 2)
    """
    for end in range(window, len(curve) + 1):
        if mean(curve[end - window : end]) >= reach:
            return end
    return len(curve) + 1


def student_tail(t: float, freedom: int) -> float:
    """Return the two-sided p-value of a t statistic: Simpson's rule over the angle of the density.

    >>> round(student_tail(2.365, 7), 3), round(student_tail(4.303, 2), 3)
    (0.05, 0.05)
    """
    if math.isinf(t):
        return 0.0
    # With t = sqrt(freedom) * tan(angle) the density becomes cos(angle) ** (freedom - 1).
    start, end, parts = math.atan(abs(t) / math.sqrt(freedom)), math.pi / 2, 2000
    width = (end - start) / parts
    total = 0.0
    for place in range(parts + 1):
        weight = 1 if place in (0, parts) else 4 if place % 2 else 2
        total += weight * math.cos(start + place * width) ** (freedom - 1)
    norm = math.gamma((freedom + 1) / 2) / (math.sqrt(math.pi) * math.gamma(freedom / 2))
    return min(1.0, 2 * norm * total * width / 3)


def student_quantile(freedom: int, level: float = 0.95) -> float:
    """Return t of a two-sided interval, by bisection.

    >>> round(student_quantile(7), 3)
    2.365
    """
    low, high = 0.0, 1000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > 1 - level else (low, middle)
    return low


def correct_by_holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values after Holm's correction for all of them.

    >>> correct_by_holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    found, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        found[name] = largest
    return found


def find_closed_gates(facts: Facts, gates: Mapping[str, Any]) -> list[str]:
    """Return why claim 3 is not testable; empty if it is."""
    known, closed = facts["foreign"], []
    share = mean(value < gates["foreign_below"] for value in known) if known else 0.0
    if share < gates["foreign_share"]:
        closed.append(f"the meter sees {share:.0%} of texts known to be foreign")
    mixing = facts["arms"].get("mixing-eval", {"by_seed": {}})["by_seed"].values()
    foreign = 1 - mean(one["sums"]["language"] for one in mixing) if mixing else 0.0
    accuracy = mean(one["sums"]["pass@1"] for one in mixing) if mixing else 0.0
    low, high = gates["mixing"]
    if not mixing:
        closed.append("no model that mixes languages was evaluated")
    elif not low <= foreign <= high:
        closed.append(f"the model that RL starts from is {foreign:.0%} foreign")
    if mixing and accuracy < gates.get("least_accuracy", 0.0):
        closed.append(f"the model that RL starts from is right on {accuracy:.0%} of the sums")
    return closed


def decide(facts: Facts, rules: Mapping[str, Any]) -> list[Comparison]:
    """Return every comparison with its outcome, by the rules of claims_rules.yaml."""
    found = {name: differences(facts, rule) for name, rule in rules["comparisons"].items()}
    raw = {}
    for name, rule in rules["comparisons"].items():
        values = list(found[name].values())
        if len(values) > 1:
            spread = stdev(values) / math.sqrt(len(values))
            shift = mean(values) - rule["margin"]
            t = shift / spread if spread else math.copysign(math.inf, shift) if shift else 0.0
            raw[name] = student_tail(t, len(values) - 1)
    # All comparisons count, also those that have no p-value yet.
    missing = dict.fromkeys(rules["comparisons"].keys() - raw.keys(), 1.0)
    corrected = correct_by_holm(raw | missing)
    closed = find_closed_gates(facts, rules["gates"])
    return [
        _compare(name, rule, list(found[name].values()), raw, corrected, rules, bool(closed))
        for name, rule in rules["comparisons"].items()
    ]


def rules_of(rules: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Return the rules by which another run is decided: `again` or `smollm2`."""
    own = rules[run]
    named = {name: dict(rules["comparisons"][name]) for name in own["comparisons"]}
    for rule in named.values():
        rule["says"] += f" ({MARKED[run]})"
    return {
        **rules,
        "least_seeds": own.get("least_seeds", rules["least_seeds"]),
        "gates": rules["gates"] | own.get("gates", {}),
        "comparisons": named,
    }


def decide_other(facts: Facts, rules: Mapping[str, Any], run: str) -> list[Comparison]:
    """Return every comparison of another run; none where there is no such run."""
    return decide(facts[run], rules_of(rules, run)) if run in facts else []


def decide_all(facts: Facts, rules: Mapping[str, Any]) -> list[Comparison]:
    """Return every comparison in the small world: of the run, and of claim 3's second run."""
    return decide(facts, rules) + decide_other(facts, rules, "again")


def _compare(
    name: str,
    rule: Mapping[str, Any],
    values: list[float],
    raw: Mapping[str, float],
    corrected: Mapping[str, float],
    rules: Mapping[str, Any],
    closed: bool,
) -> Comparison:
    value = mean(values) if values else None
    half = None
    if value is not None and len(values) > 1:
        half = student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    outcome = "inconclusive"
    if rule["claim"] == 3 and closed:
        outcome = "not testable"
    elif (
        value is not None
        and len(values) >= rules["least_seeds"]
        and corrected[name] < rules["alpha"]
    ):
        outcome = "holds" if value > rule["margin"] else "fails"
    return Comparison(
        name,
        rule["claim"],
        rule["says"],
        rule["margin"],
        [round(v, 4) for v in values],
        value,
        None if half is None or value is None else value - half,
        None if half is None or value is None else value + half,
        corrected[name] if name in raw else None,
        outcome,
    )


def publish(facts: Facts, rules: Mapping[str, Any]) -> None:
    """Write the page, its figure and the table in the index of results."""
    compared = decide_all(facts, rules)
    PAGE.write_text(render_page(facts, rules, compared), encoding="utf-8")
    FIGURE.write_text(render_figure(compared), encoding="utf-8")
    INDEX.write_text(place_table(INDEX.read_text(encoding="utf-8"), compared), encoding="utf-8")


def place_table(text: str, compared: Sequence[Comparison]) -> str:
    """Return the index of results with the table of outcomes between its marks."""
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    return f"{before}{MARKS[0]}\n{render_table(compared)}\n{MARKS[1]}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="a run; default: the published facts")
    for name, pipeline in OTHERS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"a run of {pipeline.relative_to(ROOT)}")
    parser.add_argument("--publish", action="store_true", help="write page, figure and table")
    given = parser.parse_args()
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    if given.run is not None:
        facts = read_run(given.run) | {name: facts[name] for name in OTHERS if name in facts}
    for name, pipeline in OTHERS.items():
        if (directory := getattr(given, name)) is not None:
            facts[name] = read_run(directory, pipeline)
    if given.publish:
        FACTS.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        publish(facts, rules)
    for one in decide_all(facts, rules) + decide_other(facts, rules, "smollm2"):
        line = {"name": one.name, "value": one.value and round(one.value, 4), "target": one.margin}
        holds = {"holds": True, "fails": False}.get(one.outcome)
        print(json.dumps(line | {"holds": holds, "outcome": one.outcome, "seeds": one.differences}))


if __name__ == "__main__":
    main()
