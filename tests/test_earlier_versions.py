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
from factory.core.errors import RunError
from factory.judging.funnel import load_funnel
from factory.judging.metrics import metrics_folder
from factory.judging.recorded import read_filters
from factory.recipe.build import load_recipe
from factory.report.browse import find_samples
from factory.report.explain import explain

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


def test_it_is_shown_as_its_own_version_measured_it(run: Path) -> None:
    """`language` measures otherwise since. Looking at a run measures nothing."""
    filters, _ = read_filters(run)
    assert not metrics_folder(run, "language", filters["language"]).exists()
    (found,) = find_samples(run, filters, reason="wrong", limit=1)
    shown = found.row(0, named=True)
    assert shown["language_prompt"] == "en"
    assert shown["correctness_state"] == "wrong"
    assert "language: keep" in explain(filters, run, shown["sample_id"])


def test_without_any_metrics_of_a_filter_the_command_that_measures_is_named(run: Path) -> None:
    shutil.rmtree(run / "metrics" / "language-9a24fcd07572")
    filters, _ = read_filters(run)
    with pytest.raises(RunError, match=f"no metrics of .*'language'.*`factory filter {run}`"):
        list(find_samples(run, filters, limit=1))


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
