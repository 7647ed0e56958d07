"""A moved threshold gives the same funnel as a build with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.core.errors import RecipeError
from factory.judging.funnel import Funnel, measure_funnel
from factory.judging.review_verdicts import Overlay
from factory.judging.reviews import Reviews
from factory.judging.verdicts import judge_run
from factory.prompts.references import References
from factory.recipe.corpus import ReviewOptions
from factory.report.snapshot import take_snapshot
from factory.view.thresholds import Thresholds
from tests.report.runs import FILTERS, judged_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("thresholds") / "run", n=6)


@pytest.fixture(scope="module")
def thresholds(run: Path) -> Thresholds:
    return Thresholds(take_snapshot(run))


def built(run: Path, folder: Path, changes: dict[str, dict[str, Any]]) -> Funnel:
    """Return the funnel of a run judged with changed filters by the build's code."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    filters = {name: {**fields, **changes.get(name, {})} for name, fields in FILTERS.items()}
    recipe = {**yaml.safe_load((run / "recipe.yaml").read_text()), "filters": filters}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    snapshot = take_snapshot(folder)
    judge_run(folder, snapshot.filters, References())
    return measure_funnel(folder, snapshot.stages, {})


def numbers(funnel: Funnel) -> Any:
    taken = {(t.filter, t.reason, t.decision): t.count for t in funnel.taken}
    return funnel.drawn, funnel.kept, taken


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "length": st.fixed_dictionaries(
            {},
            optional={
                "max_tokens": st.integers(0, 80),
                "min_tokens": st.integers(0, 80),
                "max_characters": st.integers(0, 400),
                "max_ratio": st.floats(0, 10),
            },
        ).filter(lambda limits: limits.get("min_tokens", 0) <= limits.get("max_tokens", 80)),
        "language": st.fixed_dictionaries({}, optional={"max_foreign_script": st.floats(0, 1)}),
    },
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_a_moved_threshold_gives_the_funnel_of_a_build(
    run: Path, thresholds: Thresholds, tmp_path: Path, changes: dict[str, dict[str, Any]]
) -> None:
    assert numbers(thresholds.funnel(changes)) == numbers(built(run, tmp_path / "run", changes))


def test_reviewers_override_every_threshold(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    snapshot = take_snapshot(copy)
    kept = snapshot.samples.filter(pl.col("decision") == "keep")["sample_id"]
    Reviews(copy).decide(kept[0], "ann", "reject", 0, "unsafe")
    Reviews(copy).decide(kept[1], "ann", "accept", 0)
    list(Overlay(copy, ReviewOptions(), snapshot.filters).apply_to_verdicts())
    funnel = Thresholds(take_snapshot(copy)).funnel({"length": {"max_tokens": 0}})
    assert funnel.kept.samples == 1
    assert [t.count.samples for t in funnel.taken if t.reason == "reviewer_unsafe"] == [1]


def test_knobs_are_the_numbers_that_need_no_measuring(thresholds: Thresholds) -> None:
    knobs = {(knob.filter, knob.field): knob for knob in thresholds.knobs()}
    assert ("length", "max_tokens") in knobs
    assert ("length", "truncated") not in knobs  # no number
    knob = knobs["length", "max_tokens"]
    assert (knob.value, knob.metrics, knob.reasons) == (100, ("n_tokens",), ("too_long",))
    off = knobs["length", "min_characters"]
    assert off.value is None
    assert off.start == off.low


@pytest.mark.parametrize(
    "changes",
    [
        {"sorcery": {"x": 1}},
        {"length": {"max_token": 1}},
        {"length": {"max_tokens": -1}},
        {"length": {"max_tokens": "many"}},
    ],
)
def test_invalid_thresholds_are_refused(
    thresholds: Thresholds, changes: dict[str, dict[str, Any]]
) -> None:
    with pytest.raises(RecipeError):
        thresholds.funnel(changes)


def test_filters_without_metrics_keep_the_verdicts_of_the_build(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(next((copy / "metrics").glob("language-*")))
    partial = Thresholds(take_snapshot(copy))
    assert partial.fixed == ["language"]
    assert numbers(partial.funnel({})) == numbers(Thresholds(take_snapshot(run)).funnel({}))
