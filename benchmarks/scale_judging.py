"""Judging on a Ray cluster: two workers against one, and what 100 million samples need, on paper.

    python benchmarks/scale_judging.py [--megabytes 4] [--cores 1000] [--rounds 0]

Generated runs of long chains of thought (benchmarks/candidates.py), of one size and of four times
that size, are judged by tasks of a Ray cluster on this machine, and in this process. The verdicts
must be the same bytes.

Two workers against one, with `--rounds 3`: one cluster, in turns, with one of its CPUs taken by
somebody else or not. The fastest round counts. It needs two idle cores.

On paper: CPU seconds per sample, from the difference of both sizes, so that what a run costs once
does not count; multiplied. Programs are measured apart: three tests each, in the sandbox. The paper
knows nothing of slow disks, networks, stragglers or failing nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

os.environ["RAY_AUTH_MODE"] = "disabled"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import candidates
from scale_filters import tree

from factory.core.journal import SEAL_BYTES, SEAL_ROWS

if TYPE_CHECKING:
    from factory.recipe.build import Recipe

PER_PROMPT = 8
PARTS = 8
SAMPLE_KB = 20.0  # of text, as in benchmarks/driver.py
CODE_SHARE = 0.26  # of the samples are programs, as in R1's corpus (v2, table 5)
RECIPE = """
name: judging
model: demo
sources: [{kind: files, path: prompts.jsonl}]
filters:
  format: {}
  length: {}
  repetition: {}
  language: {}
  readability: {summary: optional}
  correctness: {}
  safety: {}
  identity: {}
"""


class Cost(NamedTuple):
    """What some work took."""

    seconds: float
    driver_s: float  # CPU of this process alone
    cpu_s: float  # CPU of this process and all that it started


class Judged(NamedTuple):
    """A generated run, and what it took to judge it in this process and on a cluster."""

    samples: int
    kilobytes: float  # of text per sample
    here: Cost
    rounds: dict[int, list[Cost]]  # on the cluster, by workers
    same: bool  # whether all ways gave the same verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=4, help="of text in the smaller run")
    parser.add_argument("--cores", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=0, help="of two workers against one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = judge(Path(folder) / "small", options.megabytes, options.rounds)
        large = judge(Path(folder) / "large", 4 * options.megabytes, 0)
    program_ms = 1000 * time_programs(40)
    print(f"a program with three tests: {program_ms:.1f} ms of CPU")

    more = large.samples - small.samples
    kilobytes = large.kilobytes
    text_ms = 1000 * (large.here.cpu_s - small.here.cpu_s) / more * SAMPLE_KB / kilobytes
    cpu_ms = text_ms + CODE_SHARE * program_ms
    first, last = small.rounds[2][-1].driver_s, large.rounds[2][-1].driver_s
    per_part = min(SEAL_ROWS, SEAL_BYTES / SAMPLE_KB / 1000)
    part_ms = 1000 * first / PARTS  # at most: joining the cluster is in it
    driver_ms = part_ms / per_part + 1000 * max(0.0, last - first) / more
    hours = options.samples / 3.6e6
    spread_h, driver_h = hours * cpu_ms / options.cores, hours * driver_ms
    what = f"{options.samples:,} samples of {SAMPLE_KB:.0f} kB, {CODE_SHARE:.0%} programs"
    print(
        f"\non paper, {what}:\n"
        f"  a sample       {cpu_ms:.2f} ms of CPU on a worker ({text_ms:.2f} text and answers)\n"
        f"  {options.cores:,} cores   {spread_h:.2f} h\n"
        f"  the driver     {driver_ms:.3f} ms a sample to hand out and store: {driver_h:.2f} h"
    )
    same = small.same and large.same
    report("scale_judging_same_verdicts", float(same), 1.0, same)
    if options.rounds:
        fastest = {n: min(cost.seconds for cost in found) for n, found in small.rounds.items()}
        speedup = fastest[1] / fastest[2]
        report("scale_judging_two_workers_against_one", speedup, 1.6, speedup >= 1.6)
    report("scale_judging_paper_hours_on_workers", spread_h, 24.0, spread_h <= 24)
    report("scale_judging_paper_hours_of_the_driver", driver_h, 24.0, driver_h <= 24)


def judge(run: Path, megabytes: float, rounds: int) -> Judged:
    from factory.recipe.build import load_recipe

    run.mkdir()
    file = run.with_suffix(".yaml")
    file.write_text(RECIPE)
    run.with_name("prompts.jsonl").write_text('{"question": "?"}\n')
    recipe = load_recipe(file)
    candidates.PART_BYTES = int(megabytes * 1e6 / PARTS)
    prompts = round(megabytes * 1e6 / 17_400 / PER_PROMPT)
    params = recipe.params_fp()
    size = candidates.make_run(run, prompts, PER_PROMPT, candidates.long_chains(), params)
    count = prompts * PER_PROMPT
    print(f"{count:,} samples, {size / 1e6:.0f} MB of text in {PARTS} parts")
    found, there = on_ray(recipe, run, rounds)
    forget(run)
    here = judge_here(recipe, run)
    same = all(verdicts == contents(run) for verdicts in there)
    judged = Judged(count, size / count / 1e3, here, found, same)
    print(f"  one worker {found[1]}\n  two workers {found[2]}")
    print(f"  here {here}", flush=True)
    return judged


def on_ray(
    recipe: Recipe, run: Path, rounds: int
) -> tuple[dict[int, list[Cost]], list[list[bytes]]]:
    """Judge with two workers, then `rounds` times with one and with two. Returns the costs, by
    workers, and all verdicts."""
    import ray
    from ray.cluster_utils import Cluster

    from factory.judging.verdicts import all_filters, judge_run
    from factory.prompts.references import References
    from factory.recipe.corpus import Judging

    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 200_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    judging = Judging(on="ray", address=cluster.address)
    filters, costs = all_filters(recipe), dict[int, list[Cost]]({1: [], 2: []})
    verdicts = []
    try:
        # The first round loads the kernels.
        for workers in (2, 2, *(1, 2) * rounds):
            forget(run)
            taken = take_a_cpu(cluster.address) if workers == 1 else None
            costs[workers].append(timed(lambda: judge_run(run, filters, References(), judging)))
            verdicts.append(contents(run))
            if taken is not None:
                taken.kill()
                taken.wait()
        return {1: costs[1], 2: costs[2][1:]}, verdicts
    finally:
        ray.shutdown()
        cluster.shutdown()


def take_a_cpu(address: str) -> subprocess.Popen[str]:
    """Start a process that holds one CPU of the cluster, and does nothing with it."""
    code = (
        "import ray, time\n"
        f"ray.init('{address}', log_to_driver=False, logging_level='ERROR')\n"
        "class Idle:\n    def here(self): return True\n"
        "idle = ray.remote(Idle).options(num_cpus=1).remote()\n"
        "print(ray.get(idle.here.remote()), flush=True)\ntime.sleep(3600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    return holder


def judge_here(recipe: Recipe, run: Path) -> Cost:
    """Judge in this process, on one core."""
    from factory.core.parallel import share_cores
    from factory.judging.verdicts import all_filters, judge_run
    from factory.prompts.references import References

    share_cores(1)
    return timed(lambda: judge_run(run, all_filters(recipe), References()))


def timed(work: Callable[[], object]) -> Cost:
    began, own, whole = time.perf_counter(), time.process_time(), tree_cpu()
    work()
    took = time.perf_counter() - began, time.process_time() - own, tree_cpu() - whole
    return Cost(*(round(value, 2) for value in took))


def tree_cpu() -> float:
    """Return the CPU seconds of this process, of all below it, and of those that have ended."""
    ticks = 0
    for process in tree(os.getpid()):
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def time_programs(count: int) -> float:
    """Return the CPU seconds of one program with three tests in the sandbox."""
    from filters.verify.verifiers import Item, Verifiers

    tests = {"stdin": [{"input": f"{k}\n", "output": f"{k}\n"} for k in range(3)]}
    spec = {"kind": "code", "language": "python", "tests": tests}
    items = [
        Item(spec, f"```python\nprint(int(input()) + {number % 2} * {number})\n```")
        for number in range(count)
    ]
    with Verifiers(workers=1) as verifiers:
        verifiers.verify(items[:4])  # opens the box
        return timed(lambda: verifiers.verify(items)).cpu_s / count


def forget(run: Path) -> None:
    for folder in ("metrics", "verdicts"):
        shutil.rmtree(run / folder, ignore_errors=True)


def contents(run: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((run / "verdicts").glob("*.parquet"))]


def report(name: str, value: float, target: float, holds: bool) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "holds": holds}))


if __name__ == "__main__":
    main()
