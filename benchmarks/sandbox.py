"""Untrusted programs per second and core: a warm sandbox, one bubblewrap per program, no sandbox.

    python benchmarks/sandbox.py [--rounds N] [--programs N]

The same small contest program runs on seeded inputs, one after another, pinned to one core. The
three sides alternate by round, so that other load affects them equally; the median round counts.
The bubblewrap peer has the same mounts and namespaces as the sandbox, but no limits and no system
call filter. The plain subprocess has no protection.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from filters.verify.sandbox import Boxes, Job, Task, available, mounts
from filters.verify.sandbox.box import bwrap_command

PROGRAM = """
from collections import Counter
import math

n = int(input())
values = list(map(int, input().split()))
counts = Counter(value % 7 for value in values)
print(sum(values), math.gcd(*values), max(counts.values()))
"""
TARGET = 2.0

Run = Callable[[list[bytes]], list[bytes]]


def inputs(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    rows = [[rng.randrange(1, 10**6) for _ in range(20)] for _ in range(count)]
    return [f"{len(row)}\n{' '.join(map(str, row))}\n".encode() for row in rows]


def _python() -> list[str]:
    return [mounts.interpreter(), "-I", "-S", "-c", PROGRAM]


def bare(given: list[bytes]) -> list[bytes]:
    return [_capture(_python(), text) for text in given]


def bubblewrap_each(given: list[bytes]) -> list[bytes]:
    return [_capture([*bwrap_command(), "--", *_python()], text) for text in given]


def _capture(command: list[str], text: bytes) -> bytes:
    return subprocess.run(command, input=text, capture_output=True, check=True, env={}).stdout


def warm(boxes: Boxes) -> Run:
    def job(text: bytes) -> Job[bytes]:
        outcome = yield Task("script", PROGRAM.encode(), stdin=text)
        return outcome.stdout

    def run(given: list[bytes]) -> list[bytes]:
        found = dict(boxes.run(map(job, given)))
        return [output for _, output in sorted(found.items()) if isinstance(output, bytes)]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--programs", type=int, default=50, help="a round")
    options = parser.parse_args()
    reason = available()
    if reason is not None:
        sys.exit(reason)
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    boxes = Boxes(1)
    peers: dict[str, Run] = {
        "warm box": warm(boxes),
        "one bwrap each": bubblewrap_each,
        "bare subprocess": bare,
    }
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(options.rounds + 1):
        given = inputs(options.programs, seed=number)
        outputs = []
        for name, run in peers.items():
            started = time.perf_counter()
            outputs.append(run(given))
            rates[name].append(len(given) / (time.perf_counter() - started))
        assert outputs[0] == outputs[1] == outputs[2], "the peers disagree"
    boxes.close()
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    print(f"{options.rounds} rounds of {options.programs} programs on core {core}, median round")
    for name, rate in medians.items():
        print(f"  {name:<16} {rate:7.0f} executions/s/core   {1000 / rate:6.2f} ms each")
    pairs = zip(rates["warm box"][1:], rates["one bwrap each"][1:], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    claim("sandbox_executions_per_s_per_core", medians["warm box"], None)
    claim("sandbox_warm_over_bwrap_each", ratio, TARGET)
    claim("sandbox_warm_over_bare", medians["warm box"] / medians["bare subprocess"], None)


def claim(name: str, value: float, target: float | None) -> None:
    holds = target is None or value >= target
    print(json.dumps({"name": name, "value": round(value, 2), "target": target, "holds": holds}))


if __name__ == "__main__":
    main()
