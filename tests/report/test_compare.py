"""The comparison of two runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from factory.core.errors import RunError
from factory.judging.verdicts import judge_run
from factory.prompts.references import References
from factory.report.compare import compare
from factory.report.snapshot import take_snapshot
from tests.report import runs
from tests.report.runs import FILTERS, judged_run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("first") / "run")


def test_a_run_against_itself_differs_in_nothing(first: Path) -> None:
    found = compare(first, first)
    assert found.same_samples == 24
    assert found.changed == []
    assert found.prompts == []
    assert all(row["first"] == row["second"] for row in found.funnel)


def test_a_changed_threshold_shows_which_samples_it_moved(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "run"
    shutil.copytree(first, second)
    recipe = yaml.safe_load((second / "recipe.yaml").read_text())
    recipe["filters"] = {**FILTERS, "length": {"max_tokens": 45}}
    (second / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    judge_run(second, take_snapshot(second).filters, References())
    found = compare(first, second)
    assert found.changed == [{"before": "keep", "after": "drop: too_long", "samples": 6}]
    assert {row["sample_id"][-2:] for row in found.changed_samples} == {"-3"}
    assert [row["change"] for row in found.funnel if row["stage"] == "kept"] == [-6]
    longest = {row["run"]: row["95%"] for row in found.distributions if "kept" in row["measure"]}
    assert longest == {"first": 50.0, "second": 20.0}
    assert "keep → drop: too_long" in found.text()
    page = found.html()
    assert "too_long" in page
    assert "<b>odd</b>" not in page


def test_runs_that_share_no_text_are_compared_by_prompt(first: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        before = runs.text_of
        patch.setattr(runs, "text_of", lambda prompt, index: before(prompt, 1))
        second = judged_run(tmp_path / "run")
    found = compare(first, second)
    assert found.same_samples == 6  # those that are unclosed in both
    assert {(row["first"], row["second"]) for row in found.prompts} == {(0.5, 0.0)}


def test_the_readable_part_of_a_damaged_run_is_compared(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "run"
    shutil.copytree(first, second)
    (second / "samples" / "part-00000.parquet").write_bytes(b"junk")
    found = compare(first, second)
    assert any("part-00000" in what for what in found.missing)
    assert found.same_samples == 12


def test_no_run_is_an_error(first: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        compare(first, tmp_path / "nowhere")
