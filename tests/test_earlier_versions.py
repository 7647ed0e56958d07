"""A run directory made by version 0.1.0 is read, resumed and judged again as its own version would.

`data/run_0.1.0` is `factory build recipes/quickstart.yaml`, sampled from the demo model by that
version (without the report and the engine's log).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build, is_finished
from factory.build.refilter import filter_run
from factory.judging.funnel import load_funnel
from factory.recipe.build import load_recipe

RECORDED = Path(__file__).parent / "data" / "run_0.1.0"
QUIET = Console(quiet=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(RECORDED, tmp_path / "run")


def written(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "corpus").glob("*.parquet"))}


def test_it_is_known_as_finished(run: Path) -> None:
    recipe = load_recipe(run / "recipe.yaml")
    assert is_finished(recipe, run)
    assert load_funnel(run).rows.samples == sum(
        pl.read_parquet(path).height for path in (run / "corpus").glob("*.parquet")
    )


def test_judged_again_it_gives_the_same_corpus(run: Path) -> None:
    shutil.rmtree(run / "corpus")
    shutil.rmtree(run / "metrics")
    filter_run(load_recipe(run / "recipe.yaml"), run, QUIET)
    assert written(run) == written(RECORDED)


def test_half_of_it_resumes_to_the_same_corpus(run: Path) -> None:
    """As if it had been killed: half of the samples sealed, nothing judged, no corpus."""
    part = run / "samples" / "part-00000.parquet"
    samples = pl.read_parquet(part)
    samples.head(samples.height // 2).write_parquet(part)
    for folder in ("corpus", "verdicts", "metrics"):
        shutil.rmtree(run / folder)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    replayed = load_recipe(
        run / "recipe.yaml", ["engine.kind=replay", f"engine.replay={RECORDED.resolve()}"]
    )
    build(replayed, run, QUIET)
    drawn = pl.concat(pl.read_parquet(path) for path in (run / "samples").glob("*.parquet"))
    assert drawn.height == samples.height
    assert written(run) == written(RECORDED)
