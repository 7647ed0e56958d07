"""Judging on a Ray cluster: two workers against one, and what 100 million samples need, on paper.

    python benchmarks/scale_judging.py [--megabytes 48] [--cores 1000] [--samples 100000000]

Measured: a generated run of long chains of thought (benchmarks/candidates.py) is judged by tasks
of a Ray cluster on this machine, with one worker, then with two, then in this process alone. The
verdicts must be the same bytes. On paper: CPU seconds of this process and of the workers per
sample, multiplied. CPU seconds depend less on what else the machine does than seconds do. Programs
are measured apart: three tests each, in the sandbox.

The paper knows nothing of slow disks, networks, stragglers or failing nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

os.environ["RAY_AUTH_MODE"] = "disabled"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import candidates
from rich.console import Console
from scale_filters import tree

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
    """What judging a run took."""

    seconds: float
    driver_s: float  # CPU of this process alone
    cpu_s: float  # CPU of this process and all that it started, Ray's own processes among them


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=48, help="of text that is judged")
    parser.add_argument("--cores", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.megabytes, options.cores, options.samples)


def compare(folder: Path, megabytes: float, cores: int, samples: int) -> None:
    from factory.recipe.build import load_recipe

    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "prompts.jsonl").write_text('{"question": "?"}\n')
    recipe = load_recipe(folder / "recipe.yaml")
    run = folder / "run"
    candidates.PART_BYTES = int(megabytes * 1e6 / PARTS)
    prompts = round(megabytes * 1e6 / 17_400 / PER_PROMPT)
    fp = recipe.params_fp()
    size = candidates.make_run(run, prompts, PER_PROMPT, candidates.long_chains(), fp)
    count = prompts * PER_PROMPT
    print(f"{count:,} samples, {size / 1e6:.0f} MB of text in {PARTS} parts")
    found, verdicts = {}, {}
    for workers in (1, 2):
        found[workers] = on_ray(recipe, run, workers)
        verdicts[workers] = contents(run)
        print(f"{workers} worker(s): {found[workers]}", flush=True)
    forget(run)
    here, rest = assemble_here(recipe, run)
    print(f"this process alone: {here}; verdicts, selection and rows: {rest}")
    same = verdicts[1] == verdicts[2] == contents(run)
    program_ms = 1000 * time_programs(40)
    print(f"a program with three tests: {program_ms:.1f} ms of CPU")

    kilobytes = size / count / 1e3
    text_ms = 1000 * here.cpu_s / count * SAMPLE_KB / kilobytes  # without Ray's own processes
    cpu_ms = text_ms + CODE_SHARE * program_ms
    driver_ms = 1000 * found[2].driver_s / count
    rows_ms = 1000 * rest.cpu_s / count
    spread_h = samples * cpu_ms / 1000 / cores / 3600
    driver_h, rows_h = samples * driver_ms / 3.6e6, samples * rows_ms / 3.6e6
    print(
        f"\non paper, {samples:,} samples of {SAMPLE_KB:.0f} kB, {CODE_SHARE:.0%} programs:\n"
        f"  a sample       {cpu_ms:.2f} ms of CPU on a worker ({text_ms:.2f} text and answers)\n"
        f"  {cores:,} cores   {spread_h:.2f} h\n"
        f"  the driver     {driver_ms:.3f} ms a sample to hand out and store: {driver_h:.2f} h\n"
        f"  afterwards     {rows_ms:.3f} ms a sample for verdicts, rows and report: {rows_h:.1f} h"
    )
    speedup = found[1].seconds / found[2].seconds
    report("scale_judging_same_verdicts", float(same), 1.0, same)
    report("scale_judging_two_workers_against_one", speedup, 1.6, speedup >= 1.6)
    report("scale_judging_paper_hours_on_workers", spread_h, 24.0, spread_h <= 24)
    report("scale_judging_paper_hours_of_the_driver", driver_h, 24.0, driver_h <= 24)
    report("scale_judging_paper_hours_afterwards", rows_h, 24.0, rows_h <= 24)


def on_ray(recipe: object, run: Path, workers: int) -> Cost:
    """Judge on a new cluster whose workers have judged before, so that kernels are loaded."""
    import ray
    from ray.cluster_utils import Cluster

    from factory.judging.verdicts import all_filters, judge_run
    from factory.prompts.references import References
    from factory.recipe.judging import Judging

    head = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": 200_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    judging = Judging(on="ray", address=cluster.address)
    filters = all_filters(recipe)
    try:
        for _ in range(2):  # the first round starts the workers
            forget(run)
            found = timed(lambda: judge_run(run, filters, References(), judging))
        return found
    finally:
        ray.shutdown()
        cluster.shutdown()


def assemble_here(recipe: object, run: Path) -> tuple[Cost, Cost]:
    """Judge and assemble in this process, on one core: measuring, and all that comes after."""
    from factory.build.build import assemble, record_start
    from factory.core.parallel import share_cores
    from factory.core.run_dir import RunDir, sample_parts
    from factory.judging.metrics import measure_parts, prompt_frame
    from factory.judging.verdicts import all_filters

    share_cores(1)
    prompts, parts, filters = prompt_frame(run), sample_parts(run), all_filters(recipe)
    measured = timed(lambda: measure_parts(run, parts, prompts, filters))

    def finish() -> None:
        with RunDir(run) as directory:
            record_start(recipe, directory)
            assemble(recipe, directory, Console(quiet=True))

    return measured, timed(finish)


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
