"""Time to update funnel and corpus after a changed threshold, on a run of a million samples.

    python benchmarks/rethreshold.py [--samples 1000000] [--folder DIR]

The run is generated (benchmarks/candidates.py: eight samples of about 600 characters per prompt)
and built once, which measures every metric. Then `factory filter RUN --set …` is timed as a process
from start to end, including the report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from candidates import PART_ROWS, make_run, short_chains
from rich.console import Console

from factory.build.build import assemble, record_start
from factory.core.run_dir import RunDir
from factory.recipe.build import Recipe, load_recipe

TARGET = 30.0  # seconds
PER_PROMPT = 8
CHANGE = "filters.length.max_tokens=190"  # drops about 40%

RECIPE = """
name: million
model: demo
sources: [{kind: files, path: prompts.jsonl}]
sampling: {n: 8}
filters:
  format: {}
  length: {}
  repetition: {}
  language: {}
  readability: {summary: optional}
  correctness: {}
  safety: {}
  identity: {}
select: {per_prompt: 2}
"""


def carry_through(run: Path, recipe: Recipe) -> float:
    """Judge the run for the first time. Returns the seconds."""
    start = time.perf_counter()
    with RunDir(run) as directory:
        record_start(recipe, directory)
        assemble(recipe, directory, Console(quiet=True))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the data lie meanwhile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "prompts.jsonl").touch()
        (folder / "recipe.yaml").write_text(RECIPE)
        recipe, run = load_recipe(folder / "recipe.yaml"), folder / "run"
        prompts, write = options.samples // PER_PROMPT, short_chains()
        size = make_run(run, prompts, PER_PROMPT, write, recipe.params_fp())
        parts = -(-options.samples // PART_ROWS)
        print(
            f"{options.samples:,} samples, {size / 1e6:.0f} MB of text, {parts} parts", flush=True
        )
        print(f"judged for the first time in {carry_through(run, recipe):.0f} s", flush=True)
        command = [sys.executable, "-m", "factory.cli", "filter", str(run), "--set", CHANGE]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    print(done.stdout)
    line = {"name": "rethreshold_seconds", "value": round(seconds, 1), "target": TARGET}
    print(json.dumps({**line, "holds": seconds < TARGET}))


if __name__ == "__main__":
    main()
