"""Time of every text filter on one text of 1 kB to 10 MB, which must grow at most linearly.

    python benchmarks/linear_time.py

The shapes of text are known to break careless code: backtracking regular expressions, a search that
restarts at every tag, a set of all n-grams. The worst exponent of each filter is reported:
processor time ~ size^exponent from 1 MB to 10 MB, where start-up costs are negligible.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars

import json
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl
from reasoning import prose

from factory.core.think import split_think_exprs
from filters import FILTERS, filter_class
from filters.base import Filter
from filters.contamination import Contamination, EvaluationSet
from filters.identity import Identity
from filters.ngrams import Index
from filters.safety import Safety

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FIT_FROM = 1_000_000
MAX_EXPONENT = (
    1.3  # tolerates a factor of 2 at ten times the size for cache effects; 2 is quadratic
)
BUDGET = 60.0  # seconds per text; larger texts are not tried after that
NOT_TEXT = {"correctness"}  # runs verifiers in workers with their own deadlines

Shape = Callable[[int], str]


def fill(unit: str, head: str = "<think>", tail: str = "</think>So \\boxed{4}.") -> Shape:
    """Return a function that makes a text of any size by repeating a unit."""
    return lambda size: head + unit * max(1, (size - len(head) - len(tail)) // len(unit)) + tail


_PROSE = "\n\n".join(prose(random.Random(5)) for _ in range(1500))  # some 500 kB, then again

SHAPES: dict[str, Shape] = {
    "prose": fill(_PROSE[:100_000] + "\n\n"),
    "one letter": fill("x"),
    "short lines": fill("a\n"),
    "formulas": fill(r"\[x^2 + \frac{1}{2} = \sqrt{y}\] "),
    "open maths": fill(r"\( x = 1, $y "),
    "think tags": fill("<think></think>"),
    "fences": fill("```\n~~~\n"),
    "braces": fill("{", head=r"<think>\boxed{"),
    "claims": fill("I am told by Google that I am Claude Monet, or Gemini. "),
    "secrets": fill("ssn AKIA ghp_ -----BEGIN PRIVATE KEY----- "),
    "scripts": fill("漢字かなкириллица한국어עברית"),
    "direction marks": fill("\u200f\u202e\u200b"),
}


def rows(text: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sample_id": ["p-0"],
            "prompt_id": ["p"],
            "index": [0],
            "text": [text],
            "finish_reason": ["stop"],
            "n_tokens": [len(text) // 4],
            "question": [text],  # some filters read it, so it has the same length
            "domain": ["math"],
            "source": ["benchmark"],
            "language": ["en"],
            "verifier": pl.Series([None], dtype=pl.String),
        }
    ).with_columns(**split_think_exprs())


def judges(folder: Path) -> dict[str, Filter]:
    """Return every filter of the table, and filters that need configuration."""
    Index.build({"set": [_PROSE[:5_000]]}).save(folder / "set.npz")
    found: dict[str, Filter] = {
        "safety": Safety(refusals="drop"),
        "identity": Identity(),
        "contamination": Contamination(against=(EvaluationSet(path=folder / "set.npz"),)),
    }
    for name in FILTERS.keys() - found.keys() - NOT_TEXT:
        try:
            found[name] = filter_class(name)()
        except ImportError as error:
            print(f"{name}: not measured, {error}")
    return dict(sorted(found.items()))


def seconds(judge: Filter, text: str) -> float:
    """Return the time to measure and decide one text; the best of three if it is short."""
    table = rows(text)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        metrics = judge.measure(table)
        judge.decide(table.join(metrics, on="sample_id"))
        best = min(best, time.process_time() - start)
        if best > 1:
            break
    return best


def exponent(times: dict[int, float]) -> float:
    """Return the exponent of growth from FIT_FROM to the largest size."""
    largest = max(times)
    return math.log(times[largest] / times[FIT_FROM]) / math.log(largest / FIT_FROM)


def main(folder: Path) -> None:
    print(
        "seconds for one text".ljust(34) + "".join(f"{size:>13,}" for size in SIZES) + "  exponent"
    )
    for name, judge in judges(folder).items():
        seconds(judge, SHAPES["scripts"](1000))  # compile
        worst = 0.0
        for shape, make in SHAPES.items():
            times: dict[int, float] = {}
            for size in SIZES:
                if times and max(times.values()) * 10 > BUDGET:
                    break
                times[size] = seconds(judge, make(size))
            growth = exponent(times)
            worst = max(worst, growth)
            columns = "".join(f"{times.get(size, math.nan):13.4f}" for size in SIZES)
            print(f"{name:14} {shape:19}{columns}{growth:10.2f}", flush=True)
        line = {"name": f"linear_time_{name}", "value": round(worst, 2), "target": MAX_EXPONENT}
        print(json.dumps({**line, "holds": worst <= MAX_EXPONENT}), flush=True)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
