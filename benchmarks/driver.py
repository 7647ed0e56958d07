"""The driver at the scale of a thousand GPUs: a simulated fleet against the real loop and judge.

    python benchmarks/driver.py [--seconds 600] [--rate 2000] [--policy fixed]

The engine is a class of its own: it gives `--rate` samples per second of about 20 kB, log-normal in
length, with 1% failures that a later try repairs. Everything else is real: scheduler, journal,
sealing, live judging with text filters. It runs in a process of its own, as a build does. Measured:
samples per second that were stored, the largest memory of the driver and its judges together, the
longest wait of a sample in the engine's hands after it was finished, and whether each sample is
there once.

Two busy cores can't measure the filters at this rate: they are behind, and judge the rest after
sampling. What must hold is that sampling waits for nobody and memory stays bounded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ENGINE = '''
import heapq, json, os, random, time
from factory.core.nouns import Failure, Sample

WORDS = "so we add the two numbers and then check whether the sum is even or odd again".split()


class Fleet:
    """Finishes `rate` requests per second, whatever is waiting."""

    def __init__(self, spec, run, start):
        self.spec, args = spec, spec.engine.args
        self.rate, self.draw = args["rate"], random.Random(start)
        words = [" ".join(self.draw.choices(WORDS, k=400)) for _ in range(64)]
        self.texts = []
        for _ in range(256):
            size = min(200_000, int(self.draw.lognormvariate(9.6, 0.8)))  # mean about 20 kB
            body = ""
            while len(body) < size:
                body += self.draw.choice(words) + ".\\n\\n"
            self.texts.append(f"<think>\\n{body[:size]}\\n</think>\\n\\nIt is \\\\boxed{{4}}.")
        self.waiting, self.failed, self.lag = [], set(), 0.0
        self.began, self.given = time.monotonic(), 0
        self.log = run / "lag.json"

    capacity = 16384

    def submit(self, request):
        self.waiting.append(request)

    def completed(self):
        now = time.monotonic()
        due = int((now - self.began) * self.rate) - self.given
        self.lag = max(self.lag, due / self.rate)
        if due > self.rate * 2:  # the fleet idles while nobody takes its samples
            self.given += due - self.rate * 2
            due = self.rate * 2
        for _ in range(min(due, len(self.waiting), 512)):
            request = self.waiting.pop()
            self.given += 1
            if self.draw.random() < 0.01 and request.sample_id not in self.failed:
                self.failed.add(request.sample_id)
                yield Failure(request.prompt.id, request.index, "engine", "lost", True)
                continue
            yield Sample(
                prompt_id=request.prompt.id, index=request.index,
                text=self.draw.choice(self.texts) + " ",  # a text of its own, as from a server
                prompt_text="p", finish_reason="stop",
                n_tokens=5000, n_prompt_tokens=10, model="fleet",
                params_fp=self.spec.params_fp(request.level), created_at=0,
            )
        else:
            time.sleep(0.001)

    def abort(self, sample_ids): pass
    def workers(self): return []
    def close(self):
        self.log.write_text(json.dumps({"lag": self.lag}))
'''

BUILD = """
import sys
from pathlib import Path
from rich.console import Console
from factory.core.run_dir import RunDir
from factory.build import build as b
from factory.recipe.build import load_recipe

recipe, path = load_recipe(Path(sys.argv[1])), Path(sys.argv[2])
console = Console(stderr=True)
if __name__ == "__main__":
    with RunDir(path) as run:
        b.record_start(recipe, run)
        b.sample(recipe, run, b.load(recipe, run, console), console)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=int, default=2000, help="samples per second of the fleet")
    parser.add_argument("--policy", choices=("fixed", "until"), default="fixed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.seconds, options.rate, options.policy)
    print(json.dumps(found))
    name = f"driver, {options.policy}, {options.seconds:g} s"
    claim(f"{name}: samples per second", found["per_s"], options.rate * 0.98, at_least=True)
    claim(f"{name}: memory of driver and judges, MB", found["memory_mb"], 1000)
    claim(f"{name}: longest lag, seconds", found["lag_s"], 2.0)
    claim(f"{name}: CPU of the driver per sample, ms", found["cpu_ms_each"], 0.45)
    claim(f"{name}: samples lost or twice", found["lost"], 0)


def measure(folder: Path, seconds: float, rate: int, policy: str) -> dict[str, Any]:
    n = 4
    prompts = int(seconds * rate / n)
    rng = random.Random(0)
    with open(folder / "prompts.jsonl", "w") as stream:
        for number in range(prompts):
            a, b = rng.randrange(10**9), number
            row = {"question": f"What is {a} + {b}?", "answer": str(a + b)}
            stream.write(json.dumps(row) + "\n")
    (folder / "fleet.py").write_text(ENGINE)
    (folder / "build.py").write_text(BUILD)
    sampling = {"n": n, "max_tokens": 32768, "policy": policy}
    if policy == "until":
        sampling |= {"accept": n, "wave": n}
    recipe = {
        "name": "driver",
        "model": "fleet",
        "sources": [{"kind": "files", "path": str(folder / "prompts.jsonl"), "language": "en",
                     "verifier": {"kind": "math"}}],
        "references": {"bad": "sample"},
        "prompting": {"template": "few_shot"},
        "engine": {"class": f"{folder / 'fleet.py'}:Fleet", "args": {"rate": rate}},
        "sampling": sampling,
        "filters": {"format": {}, "length": {}, "repetition": {}, "language": {},
                    "readability": {}},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    run = folder / "run"
    process = subprocess.Popen(
        [sys.executable, str(folder / "build.py"), str(folder / "recipe.yaml"), str(run)],
        env={**os.environ, "FACTORY_TRUST_CODE": "1"},
        stderr=sys.stderr,
    )
    most, cpu = [0.0], 0.0
    while process.poll() is None:
        most, cpu = max(most, memory_of(process.pid), key=sum), max(cpu, cpu_of(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0, "the build failed"
    found = read_run(run, prompts * n)
    found["memory_mb"], found["memory_mb_each"] = round(sum(most)), [round(one) for one in most]
    found["cpu_ms_each"] = round(1000 * cpu / (prompts * n), 3)
    return found


def read_run(run: Path, wanted: int) -> dict[str, Any]:
    import pyarrow.parquet as pq

    counts: Counter[tuple[str, int]] = Counter()
    for part in sorted((run / "samples").glob("part-*.parquet")):
        table = pq.read_table(part, columns=["prompt_id", "index"])
        counts.update(zip(*(c.to_pylist() for c in table.columns), strict=True))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (end,) = [event for event in events if event["event"] == "engine_stopped"]
    lost = wanted - len(counts) + sum(counts.values()) - len(counts)
    return {
        "samples": len(counts),
        "seconds": end["seconds"],
        "per_s": round(len(counts) / end["seconds"]),
        "lag_s": round(json.loads((run / "lag.json").read_text())["lag"], 2),
        "lost": lost,
    }


def memory_of(pid: int) -> list[float]:
    """Return the resident memory in MB of a process and of each child, shared pages once."""
    found = []
    for one in [pid, *children_of(pid)]:
        try:
            status = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        lines = (line for line in status.splitlines() if line.startswith("Pss:"))
        found.append(next((int(line.split()[1]) / 1024 for line in lines), 0.0))
    return found


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process alone, which do not depend on what else runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in own] + [d for child in own for d in children_of(int(child))]


def claim(name: str, value: float, target: float, *, at_least: bool = False) -> None:
    holds = value >= target if at_least else value <= target
    print(json.dumps({"name": name, "value": value, "target": target, "holds": holds}))


if __name__ == "__main__":
    main()
