"""Five of the R1 paper's claims, read off a finished run of recipes/r1/claims/pipeline.yaml.

    factory run recipes/r1/claims/pipeline.yaml --run runs/claims
    python benchmarks/claims.py runs/claims

Every difference is of two models on the same held-out prompts, with its paired 95% interval; a
claim of "more" holds only where the whole interval is above zero. One seed, a model of 135M.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factory.core.files import read_lines
from factory.evaluation.compare import compare_scores
from factory.evaluation.estimators import MeanEstimate, Resampling
from factory.evaluation.result import load_evaluation
from factory.evaluation.scores import load_scores
from factory.recipe.evaluation import Against

SOURCE = "sums"
SHOWN = ("pass@1", "format", "language", "tokens")
WINDOW = 5  # steps that a reward is averaged over: one step is 16 completions
LITTLE = -0.1  # what the language reward may cost in pass@1


class Claim(NamedTuple):
    name: str
    value: float
    target: float
    holds: bool


class Run:
    """A finished claims pipeline."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.steps: dict[str, Any] = json.loads((directory / "pipeline.json").read_text())["steps"]
        undone = [name for name, step in self.steps.items() if step["state"] != "done"]
        if undone:
            raise SystemExit(f"{directory} is not finished: {', '.join(undone)}")

    def folder(self, step: str) -> Path:
        return self.directory / "steps" / step

    def seconds(self, *steps: str) -> float:
        return sum(self.steps[step]["seconds"] for step in steps)

    def less(self, one: str, other: str, metric: str) -> MeanEstimate:
        """Print and return one evaluation's metric minus another's, on the same prompts.

        Also prints the settings other than the model in which the two differ.
        """
        here, there = self.folder(one), self.folder(other)
        compared = compare_scores(
            load_evaluation(here),
            load_scores(here),
            load_evaluation(there),
            Against(path=there),
            Resampling(),
        )
        found = compared.groups[SOURCE][metric]
        print(f"{one} less {other}, {metric}: {format_estimate(found)}")
        for setting in compared.settings:
            print(f"    {setting}")
        return found

    def rewards(self, training: str) -> list[float]:
        """The mean reward of each window of steps, by its last step."""
        rows = [row for row in read_lines(self.folder(training) / "log.jsonl") if "reward" in row]
        rewards = [row["reward"] for row in sorted(rows, key=lambda row: row["step"])]
        ends = range(WINDOW, len(rewards) + 1)
        return [sum(rewards[end - WINDOW : end]) / WINDOW for end in ends]


def format_estimate(estimate: MeanEstimate) -> str:
    if estimate.value is None:
        return "unknown"
    if estimate.low is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def table(run: Run) -> None:
    evaluations = [name for name, step in run.steps.items() if step["kind"] == "eval"]
    print(f"{'':24}" + "".join(f"{metric:>24}" for metric in SHOWN))
    for name in evaluations:
        metrics = load_evaluation(run.folder(name)).groups[SOURCE].metrics
        print(f"{name:24}" + "".join(f"{format_estimate(metrics[metric]):>24}" for metric in SHOWN))
    print()
    for name, step in run.steps.items():
        if step["kind"] == "grpo":
            means = run.rewards(name)
            print(f"{name}: reward {means[0]:.2f} to {means[-1]:.2f}, {run.seconds(name):.0f} s")
    print()


def surely_more(run: Run, name: str, one: str, other: str, metric: str = "pass@1") -> Claim:
    found = run.less(one, other, metric)
    value, low = found.value or 0.0, found.low if found.low is not None else -1.0
    return Claim(name, value, 0.0, low > 0)


def sooner(run: Run) -> Claim:
    """Steps after a cold start until the reward is what RL alone ends with, over RL alone's."""
    alone, after = run.rewards("zero"), run.rewards("after-cold-start")
    reached = [step for step, reward in enumerate(after) if reward >= alone[-1]]
    share = (reached[0] + WINDOW if reached else 10 * len(alone)) / (len(alone) + WINDOW - 1)
    taught = run.seconds("cold-start", "cold-start-sft")
    print(
        f"cold_start_converges_sooner: {share:.2f} of the steps; the cold start took {taught:.0f} s"
    )
    return Claim("cold_start_converges_sooner", share, 1.0, share < 1.0)


def claims(run: Run) -> list[Claim]:
    cost = run.less("with-language-eval", "without-language-eval", "pass@1")
    lost = cost.value or 0.0
    spent = run.seconds("teachings", "distilled") / run.seconds("zero")
    print(
        f"distilling_costs_no_more_than_rl: {spent:.2f} of its seconds, the teacher's not counted"
    )
    return [
        surely_more(run, "rl_alone_lifts", "zero-eval", "base-eval"),
        sooner(run),
        surely_more(
            run,
            "language_reward_buys_consistency",
            "with-language-eval",
            "without-language-eval",
            "language",
        ),
        Claim("language_reward_costs_little", lost, LITTLE, lost > LITTLE),
        surely_more(run, "distilling_beats_rl", "distilled-eval", "zero-eval"),
        Claim("distilling_costs_no_more_than_rl", spent, 1.0, spent <= 1.0),
        surely_more(run, "filtered_beats_unfiltered", "filtered-eval", "unfiltered-eval"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run of the claims pipeline")
    run = Run(parser.parse_args().run)
    table(run)
    for claim in claims(run):
        print(json.dumps({**claim._asdict(), "value": round(claim.value, 3)}))


if __name__ == "__main__":
    main()
