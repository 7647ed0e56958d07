"""Memory and linearity of all text filters on 1 GB and 10 GB of generated candidates.

    python benchmarks/scale_filters.py [--scale 0.1] [--folder DIR]

The candidates are long chains of thought in sealed parts, as after sampling
(benchmarks/candidates.py; 10 GB of text need 2.5 GB of disk). The timed part is that of a build, in
a separate process: the metrics of all text filters, then all verdicts. Memory is the sum of the
resident memory of the process and its children (shared memory counts twice), sampled ten times per
second. Linearity is judged by processor time, which is independent of other work on the machine.
`--scale` reduces both sizes. Processes start in two seconds, so below a gigabyte the smaller size
looks slow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZES = (1.0, 10.0)  # GB
PER_PROMPT = 8
MEMORY = 2.0  # GB, the target
LINEAR = (8.0, 12.0)  # times the processor time at ten times the size
SAMPLE_BYTES = 17_400  # mean length of a generated one
FILTERS = (
    *("format", "length", "repetition", "language", "readability"),
    *("contamination", "safety", "identity"),
)


class Measured(NamedTuple):
    """The measurement of one size."""

    gigabytes: float
    samples: int
    seconds: float
    cpu: float  # seconds of all cores: other work on the machine counts less
    peak: float  # GB


def judge(run: Path, evaluation_set: Path) -> None:
    """Judge the samples as `factory build` does after sampling."""
    from factory.judging.metrics import TextHash
    from factory.judging.verdicts import judge_run
    from factory.prompts.references import References
    from filters import filter_class
    from filters.base import Filter

    filters: dict[str, Filter] = {"text": TextHash()}
    for name in FILTERS:
        fields = {"against": [str(evaluation_set)]} if name == "contamination" else {}
        filters[name] = filter_class(name).model_validate(fields)
    judge_run(run, filters, References())


def tree(root: int) -> Iterator[int]:
    """Return a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue  # it has just ended
            parent = int(stat.rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    waiting = [root]
    while waiting:
        yield (own := waiting.pop())
        waiting += parents.get(own, [])


def resident(process: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def timed(run: Path, evaluation_set: Path) -> tuple[float, float, float]:
    """Return seconds, processor seconds and the peak memory of the process tree in GB."""
    context = multiprocessing.get_context("spawn")
    start, cpu, peak = time.perf_counter(), _children_cpu(), 0
    child = context.Process(target=judge, args=(run, evaluation_set))
    child.start()
    while child.exitcode is None:
        peak = max(peak, sum(map(resident, tree(child.pid or 0))))
        child.join(0.1)
    if child.exitcode:
        raise SystemExit(f"judging {run} failed")
    return time.perf_counter() - start, _children_cpu() - cpu, peak / 1e9


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, gigabytes: float) -> Measured:
    import polars as pl
    from candidates import long_chains, make_run
    from texts import bank

    run, evaluation_set = folder / f"{gigabytes:g}", folder / "evaluation.txt"
    prompts = round(gigabytes * 1e9 / SAMPLE_BYTES / PER_PROMPT)
    began = time.perf_counter()
    size = make_run(run, prompts, PER_PROMPT, long_chains(), seed=1)
    print(f"{size / 1e9:.2f} GB generated in {time.perf_counter() - began:.0f} s", flush=True)
    evaluation_set.write_text("\n".join(bank("en")["sentences"][:3]), "utf-8")
    seconds, cpu, peak = timed(run, evaluation_set)
    verdicts = pl.scan_parquet(run / "verdicts" / "*.parquet")
    taken = verdicts.group_by("reason").len().sort("len", descending=True).collect()
    shares = ", ".join(f"{reason or 'kept'} {count:,}" for reason, count in taken.rows())
    print(f"  judged in {seconds:.0f} s: {shares}", flush=True)
    return Measured(size / 1e9, prompts * PER_PROMPT, seconds, cpu, peak)


def claim(name: str, value: float, target: float | tuple[float, float], holds: bool) -> None:
    line = {"name": name, "value": round(value, 3), "target": target, "holds": holds}
    print(json.dumps(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of 1 GB and 10 GB")
    parser.add_argument("--folder", type=Path, help="where the data lie meanwhile")
    options = parser.parse_args()
    results = []
    for gigabytes in SIZES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results.append(measure(Path(folder), gigabytes * options.scale))
    titles = ("GB of text", "samples", "seconds", "MB/s", "CPU s", "MB/CPU s", "peak GB")
    print("\n" + "".join(title.rjust(11) for title in titles))
    for one in results:
        megabytes = one.gigabytes * 1e3
        print(
            f"{one.gigabytes:11.2f}{one.samples:11,}{one.seconds:11.1f}"
            f"{megabytes / one.seconds:11.1f}{one.cpu:11.1f}{megabytes / one.cpu:11.1f}"
            f"{one.peak:11.2f}"
        )
    small, large = results
    peak = max(small.peak, large.peak)
    claim("scale_filters_peak_gb", peak, MEMORY, peak < MEMORY)
    ratio = large.cpu / small.cpu
    claim("scale_filters_cpu_ratio", ratio, LINEAR, LINEAR[0] <= ratio <= LINEAR[1])


if __name__ == "__main__":
    main()
