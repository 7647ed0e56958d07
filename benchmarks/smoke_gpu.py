"""Five minutes on a machine with a GPU: what no machine of this project could run.

    make smoke-gpu          (or: python benchmarks/smoke_gpu.py [--model MODEL] [--out FILE])

Builds a small corpus through the embedded engine, kills the build and resumes it, changes a limit,
trains ten steps of SFT and of GRPO, evaluates, and, with two GPUs, builds with two replicas and
with tensor parallelism. Checks the promises on the way. It prints accepted rows per GPU-hour and
writes one file, with versions and the end of every command's output, to attach to an issue.

The default model is the demo model, so that a CPU runs it too, in about ten minutes. Give a larger
one for figures that mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FACTORY = [sys.executable, "-m", "factory.cli"]
TAIL = 2000

RECIPE = """\
extends: factory:quickstart.yaml
name: smoke
sources:
  - {{kind: gym, name: small-sums, task: chain_sum, size: {size}, verifier: math, domain: math,
      language: en, config: {{min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}}}
model: {model}
"""


class Smoke:
    """One pass. `checks` are the promises; `steps` is what was run, with the end of its output."""

    def __init__(self, folder: Path, model: str, size: int) -> None:
        self.folder, self.checks, self.steps = folder, dict[str, bool](), list[dict[str, Any]]()
        self.recipe, self.run = folder / "smoke.yaml", folder / "run"
        self.recipe.write_text(RECIPE.format(model=model, size=size))

    def command(self, name: str, *arguments: object, expect: int = 0) -> str:
        """Run a command and note its end. Returns its output."""
        started = time.monotonic()
        done = subprocess.run(
            [*FACTORY, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder
        )
        seconds = round(time.monotonic() - started, 1)
        end = (done.stdout + done.stderr)[-TAIL:]
        self.steps.append({"name": name, "rc": done.returncode, "seconds": seconds, "end": end})
        print(f"{name}: exit code {done.returncode} after {seconds} s", file=sys.stderr)
        self.checks[name] = done.returncode == expect
        return done.stdout

    def check(self, name: str, holds: Callable[[], bool]) -> None:
        """Note a promise; one that cannot even be looked at is broken."""
        try:
            self.checks[name] = bool(holds())
        except Exception as error:
            self.checks[name] = False
            self.steps.append({"name": name, "end": f"{type(error).__name__}: {error}"[:TAIL]})

    def build_killed(self) -> None:
        """Start the build, kill it with its engine once samples are on disk, and finish it."""
        command = [*FACTORY, "build", str(self.recipe), "--run", str(self.run)]
        with open(self.folder / "killed.txt", "wb") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=out, stderr=out, start_new_session=True
            )
            while process.poll() is None and not self._has_samples():
                time.sleep(0.05)
            killed = process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.checks["killed while sampling"] = killed
        end = (self.folder / "killed.txt").read_text(errors="replace")[-TAIL:]
        self.steps.append({"name": "killed build", "rc": process.returncode, "end": end})
        self.command("resumed build", "build", self.recipe, "--run", self.run)
        self.check("every sample once after a kill", lambda: self._every_sample_once(self.run))

    def _has_samples(self) -> bool:
        journals = self.run.glob("samples/journal-*.jsonl")
        return any(journal.stat().st_size > 0 for journal in journals)

    def _every_sample_once(self, run: Path, n: int = 8) -> bool:
        import pyarrow.parquet as pq

        prompts = pq.read_metadata(run / "prompts.parquet").num_rows
        drawn = [
            (row["prompt_id"], row["index"])
            for part in (run / "samples").glob("part-*.parquet")
            for row in pq.read_table(part, columns=["prompt_id", "index"]).to_pylist()
        ]
        return len(drawn) == len(set(drawn)) == prompts * n

    def rethreshold(self) -> None:
        before = self._starts()
        limit = "filters.length.max_tokens=120"
        self.command("other limit", "build", self.recipe, "--run", self.run, "--set", limit)
        self.check("another limit starts no engine", lambda: self._starts() == before)

    def _starts(self) -> int:
        return int(json.loads((self.run / "run.json").read_text())["engine_starts"])

    def train(self) -> None:
        sft, grpo = self.folder / "sft", self.folder / "grpo"
        ten = ("--set", "steps=10", "--set", "checkpoint.every=10")
        self.command(
            "sft, 10 steps", "train", "sft_quickstart", "--run", sft,
            "--set", f"data={self.run}", *ten,
        )  # fmt: skip
        self.command(
            "grpo, 10 steps", "train", "grpo_quickstart", "--run", grpo,
            "--set", f"model={sft}", *ten, "--set", "batch=16", "--set", "micro_batch=8",
        )  # fmt: skip
        self.command(
            "eval", "eval", "eval/small_sums", "--run", self.folder / "eval",
            "--set", f"model={grpo}", "--set", "sources.0.limit=32",
        )  # fmt: skip

    def two_gpus(self) -> None:
        for name, change in (
            ("two replicas", "engine={replicas: 2}"),
            ("tensor parallelism", "engine={args: {tensor_parallel_size: 2}}"),
        ):
            run = self.folder / name.replace(" ", "-")
            self.command(name, "build", self.recipe, "--run", run, "--set", change)
            self.check(
                f"every sample once with {name}", lambda run=run: self._every_sample_once(run)
            )

    def rates(self, gpus: int) -> dict[str, float]:
        """Return the rates of the resumed build; without a GPU they are per hour."""
        import polars as pl

        lines = (self.run / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        (end,) = [event for event in events if event["event"] == "engine_stopped"][-1:]
        rows = pl.scan_parquet(self.run / "corpus" / "**" / "*.parquet").select(pl.len()).collect()
        hours = end["seconds"] * max(1, gpus) / 3600
        share = end["samples"] / max(1, self._samples())
        return {
            "tokens_per_s": round(end["tokens"] / end["seconds"], 1),
            "rows": rows.item(),
            "rows_per_gpu_hour": round(rows.item() * share / hours, 1),
        }

    def _samples(self) -> int:
        import pyarrow.parquet as pq

        parts = (self.run / "samples").glob("part-*.parquet")
        return sum(pq.read_metadata(part).num_rows for part in parts)


def list_gpus() -> list[str]:
    """Return the names of this machine's GPUs; none without NVIDIA's driver."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError:
        return []
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def without_secrets(text: str) -> str:
    """Return a text without the values of environment variables that look like secrets."""
    secret = re.compile("TOKEN|KEY|SECRET|PASSW", re.IGNORECASE)
    for name, value in os.environ.items():
        if secret.search(name) and len(value) >= 8:
            text = text.replace(value, "***")
    return text.replace(str(Path.home()), "~")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--size", type=int, default=64, help="prompts; 8 samples each")
    parser.add_argument("--out", type=Path, default=Path("smoke-gpu.json"))
    options = parser.parse_args(arguments)
    gpus = list_gpus()
    with tempfile.TemporaryDirectory() as folder:
        smoke = Smoke(Path(folder), options.model, options.size)
        doctor = smoke.command("doctor", "doctor", "--json")
        smoke.build_killed()
        smoke.rethreshold()
        smoke.train()
        if len(gpus) > 1:
            smoke.two_gpus()
        rates: dict[str, float] = {}
        smoke.check("rates", lambda: rates.update(smoke.rates(len(gpus))) or bool(rates))
        report = {
            "gpus": gpus,
            "model": options.model,
            "doctor": json.loads(doctor) if doctor.startswith("[") else doctor,
            "rates": rates,
            "checks": smoke.checks,
            "steps": smoke.steps,
        }
        text = without_secrets(json.dumps(report, indent=1, ensure_ascii=False))
    options.out.write_text(text + "\n", encoding="utf-8")
    print(
        f"{options.out} has all of it; attach it to an issue if something fails.", file=sys.stderr
    )
    for name, holds in smoke.checks.items():
        print(
            json.dumps({"name": f"smoke: {name}", "value": holds, "target": True, "holds": holds})
        )
    print(json.dumps({"gpus": len(gpus), **rates}))
    return 0 if all(smoke.checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
