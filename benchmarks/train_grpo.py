"""Times of the phases of a GRPO step: rollout, weight sync, reward, update.

vLLM's rollouts are compared with TRL's own (`use_vllm=False`, transformers' generate). On a CPU the
update is compared with TRL's own, which processes every completion with its prompt. Model, prompts
and lengths are the same.

    pip install -e ".[cpu,train]"
    python benchmarks/train_grpo.py

The demo model on generated sums, 16 completions of up to 64 tokens per step, in separate processes.
The figures are medians without the first step, in which engines, compilers and verifiers start.
`quiet` is the share of groups with equal rewards, which the update skips on a CPU. How much that is
worth depends on the share, so it is measured at three: with a reward that is 0 in so many groups,
and differs in the others. On GPUs the update is TRL's own.

The rewards of the first table are R1's for reasoning RL. Harder mathematics takes longer to verify,
but its answers are also hundreds of times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from factory.core.files import read_lines

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("rollout", "sync", "reward", "update", "step")
SHOWN = (*PHASES, "tokens", "quiet")
RECIPE: dict[str, Any] = {
    "kind": "grpo",
    "name": "bench",
    "model": "demo",
    "sources": [
        {
            "kind": "gym",
            "task": "chain_sum",
            "config": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 3},
            "size": 80,
            "seed": 11,
            "verifier": "math",
            "language": "en",
        }
    ],
    "prompting": {"template": "chat", "instruction": "boxed", "prefill": "<think>\n"},
    "rewards": {"accuracy": {"think": "optional"}, "format": {}, "language": {}},
    "max_length": 256,
    "samples": 4,
    "batch": 16,
    "micro_batch": 16,
    "beta": 0,
    "gradient_checkpointing": False,
}
RUN = """
import sys
from pathlib import Path
from rich.console import Console
from factory.train.train import load_training, train
if sys.argv[3] == "trl":
    from factory.train.policy import cpu_log_probs
    cpu_log_probs.SUPPORTED = frozenset()
train(load_training(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
"""


SHARES = (0.0, 0.5, 0.9)
STATED = """
import zlib


def draw(text):
    return zlib.crc32(text.encode()) / 2**32


def stated(rows):
    return [
        0.0 if draw(row["question"]) < {share} else draw(repr((row["text"], n)))
        for n, row in enumerate(rows)
    ]
"""


class Way(NamedTuple):
    """One way to run a step."""

    label: str
    rollouts: str  # rollouts.kind of the recipe
    update: str  # ours | trl


WAYS = (
    Way("vLLM", "colocate", "ours"),
    Way("vLLM, TRL's update", "colocate", "trl"),
    Way("transformers", "none", "ours"),
)


def steps_of(folder: Path, way: Way, steps: int, share: float | None = None) -> dict[str, float]:
    """Return the median seconds of each phase of a step, and the tokens per completion.

    With `share`, so many groups have equal rewards, on average.
    """
    run = folder / f"{way.rollouts}-{way.update}-{share}"
    recipe = run.with_suffix(".yaml")
    rollouts = {"kind": way.rollouts, "max_tokens": 64, "top_k": 50, "correction": "none"}
    changes = {"rollouts": rollouts, "steps": steps}
    if share is not None:
        own = folder / f"stated_{share}.py"
        own.write_text(STATED.format(share=share))
        changes["rewards"] = {"stated": {"class": f"{own}:stated"}}
    recipe.write_text(yaml.safe_dump(RECIPE | changes))
    done = subprocess.run(
        [sys.executable, "-c", RUN, recipe, run, way.update],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FACTORY_TRUST_CODE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    rows = [row for row in read_lines(run / "log.jsonl") if "loss" in row][1:]
    found = {phase: median(row[f"time/{phase}"] for row in rows) for phase in PHASES}
    found["tokens"] = median(row["completions/mean_length"] for row in rows)
    found["quiet"] = median(row["frac_reward_zero_std"] for row in rows)
    # The share is over all steps together.
    whole = sum(row["time/step"] for row in rows)
    found["reward_share"] = sum(row["time/reward"] for row in rows) / whole
    return found


def claim(name: str, value: float, target: float, holds: bool) -> None:
    print(json.dumps({"name": name, "value": round(value, 4), "target": target, "holds": holds}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--only",
        choices=["phases", "rollouts", "shares"],
        help="One of the two tables, or of the first one the rollouts alone.",
    )
    given = parser.parse_args()
    if given.only in (None, "phases"):
        compare_phases(given.steps)
    if given.only == "rollouts":
        compare_rollouts(given.steps)
    if given.only in (None, "shares"):
        compare_shares(given.steps)


def compare_shares(steps: int) -> None:
    """Print the update's speed-up over TRL's by the share of groups without signal."""
    ours, trl = WAYS[0], WAYS[1]
    for share in SHARES:
        with tempfile.TemporaryDirectory() as name:
            fast, slow = (steps_of(Path(name), way, steps, share) for way in (ours, trl))
        quicker = per_token(slow, "update") / per_token(fast, "update")
        print(
            f"share without signal {share:.0%} (measured {fast['quiet']:.0%}): update "
            f"{fast['update']:.2f} s, TRL's {slow['update']:.2f} s"
        )
        name = f"grpo_update_times_as_fast_as_trl_cpu_only_{share:.0%}_of_groups_without_signal"
        claim(name, quicker, 1.15, quicker >= 1.15)


def compare_phases(steps: int) -> None:
    """Print the time of each phase, and compare rollouts and update with TRL's own."""
    with tempfile.TemporaryDirectory() as name:
        found = [steps_of(Path(name), way, steps) for way in WAYS]
    print(f"{'rollouts by':20}" + "".join(f"{phase:>10}" for phase in SHOWN))
    for way, row in zip(WAYS, found, strict=True):
        print(f"{way.label:20}" + "".join(f"{row[phase]:10.2f}" for phase in SHOWN))
    ours, trl, transformers = found
    share = ours["reward_share"]
    claim("grpo_rewards_share_of_a_step", share, 0.02, share <= 0.02)
    claim_rollouts(ours, transformers)
    quicker = per_token(trl, "update") / per_token(ours, "update")
    claim("grpo_update_times_as_fast_as_trl_cpu_only", quicker, 1.15, quicker >= 1.15)


def compare_rollouts(steps: int) -> None:
    """Compare the rollouts with transformers' own, and nothing else."""
    with tempfile.TemporaryDirectory() as name:
        ours, transformers = (steps_of(Path(name), WAYS[place], steps) for place in (0, 2))
    for label, row in (("vLLM", ours), ("transformers", transformers)):
        print(f"{label:14} {row['rollout']:.2f} s for 16 completions of {row['tokens']:.0f} tokens")
    claim_rollouts(ours, transformers)


def claim_rollouts(ours: dict[str, float], transformers: dict[str, float]) -> None:
    faster = per_token(transformers, "rollout") / per_token(ours, "rollout")
    claim("grpo_rollouts_times_as_fast_as_transformers", faster, 2.0, faster >= 2.0)


def per_token(row: dict[str, float], phase: str) -> float:
    """Return seconds per token, since lengths are random."""
    return row[phase] / row["tokens"]


if __name__ == "__main__":
    main()
