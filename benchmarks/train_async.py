"""Asynchronous rewards (`rollouts.asynchronous`) against synchronous ones, with slow rewards.

    pip install -e ".[cpu,train]"
    python benchmarks/train_async.py

The same trainings twice, seed by seed: a policy of random weights learns to write short texts, and
every reward waits, as for a judge or a sandbox. How long is a step, and is the policy as good at
the end? The reward of the last ten steps is compared by paired differences over the seeds. The
margin of 0.05 was written down before the first run. CPU only; one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factory.core.files import read_lines
from tests.train.policy import RECIPE, write_policy

ROOT = Path(__file__).resolve().parents[1]
MARGIN = 0.05
LAST = 10
SLOW = """
import time


def slow(rows):
    time.sleep({delay})
    return [max(0.0, 1 - len(row["text"]) / 64) for row in rows]
"""
RUN = """
import sys
from pathlib import Path
from rich.console import Console
from factory.train.train import load_training, train
for name in sys.argv[1:]:
    folder = Path(name)
    train(load_training(folder / "grpo.yaml"), folder / "run", Console(quiet=True))
"""
# Student's t at 97.5% for n - 1 degrees of freedom.
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}


def prepare(folder: Path, seed: int, steps: int, delay: float, asynchronous: bool) -> Path:
    """Write the recipe of one training; returns its folder."""
    folder.mkdir(parents=True)
    (folder / "slow.py").write_text(SLOW.format(delay=delay))
    rollouts = {**RECIPE["rollouts"], "max_tokens": 32, "asynchronous": asynchronous}
    reward = {"class": f"{folder / 'slow.py'}:slow"}
    write_policy(
        folder,
        rewards={"short": reward},
        rollouts=rollouts,
        steps=steps,
        seed=seed,
        beta=0.01,
        optimizer={"learning_rate": 0.003},
        stop={"empty": None},
    )
    return folder


def train(folders: list[Path]) -> None:
    """Run the trainings one after another in one process."""
    environment = {"FACTORY_TRUST_CODE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])


def read(folder: Path) -> tuple[float, float, list[float]]:
    """Return the median seconds of a step and of its rewards, and the rewards by step."""
    rows = [row for row in read_lines(folder / "run" / "log.jsonl") if "loss" in row]
    later = rows[2:]  # the first steps start what the others use
    seconds = statistics.median(row["time/step"] for row in later)
    waited = statistics.median(row["time/reward"] for row in later)
    return seconds, waited, [row["reward"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--delay", type=float, default=0.2, help="Seconds that rewards take.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        arms = {
            label: [
                prepare(Path(name) / f"{label}-{seed}", seed, given.steps, given.delay, ahead)
                for seed in range(given.seeds)
            ]
            for label, ahead in (("sync", False), ("async", True))
        }
        for folders in arms.values():
            train(folders)
        found = {label: [read(folder) for folder in folders] for label, folders in arms.items()}
    for label, runs in found.items():
        seconds, waited = (statistics.median(run[part] for run in runs) for part in (0, 1))
        ends = " ".join(f"{statistics.mean(run[2][-LAST:]):.3f}" for run in runs)
        start = statistics.mean(run[2][0] for run in runs)
        print(
            f"{label}: {seconds:.3f} s per step, {waited:.3f} s of it waiting for rewards of "
            f"{given.delay} s; reward {start:.3f} at first, by seed in the last {LAST} steps: "
            f"{ends}"
        )
    speed = statistics.median(
        slow[0] / fast[0] for slow, fast in zip(found["sync"], found["async"], strict=True)
    )
    apart = [
        statistics.mean(fast[2][-LAST:]) - statistics.mean(slow[2][-LAST:])
        for slow, fast in zip(found["sync"], found["async"], strict=True)
    ]
    mean = statistics.mean(apart)
    half = T[len(apart)] * statistics.stdev(apart) / len(apart) ** 0.5
    print(
        f"async minus sync, reward of the last {LAST} steps: {mean:+.3f} "
        f"[{mean - half:+.3f}, {mean + half:+.3f}] over {len(apart)} seeds; margin {MARGIN}"
    )
    claims = [
        ("async_rewards_step_speedup_cpu_only", speed, "> 1", speed > 1),
        (
            "async_rewards_reward_difference",
            mean,
            f"interval above -{MARGIN}",
            mean - half > -MARGIN,
        ),
    ]
    for title, value, target, holds in claims:
        line = {"name": title, "value": round(value, 4), "target": target, "holds": holds}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
