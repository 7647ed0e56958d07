"""What pages and commands say of a run that is done, and of one that is not."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from factory.build.build import build
from factory.cli import cli
from factory.recipe.build import load_recipe
from factory.report.numbers import gather
from factory.report.snapshot import take_snapshot
from tests.recorded import recipe_file, record
from tests.replayed import write_recipe


@pytest.fixture
def run(tmp_path: Path) -> Path:
    recorded = record(tmp_path / "recorded", 4)
    recipe = load_recipe(recipe_file(tmp_path, recorded, 4), ["select.per_prompt=1"])
    build(recipe, tmp_path / "run", Console(quiet=True))
    return tmp_path / "run"


def test_the_report_of_a_finished_build_says_done_and_has_its_rows(run: Path) -> None:
    facts = json.loads((run / "report" / "report.json").read_text())
    assert facts["run"]["state"] == "done"
    assert facts["funnel"][-1]["stage"] == "corpus"


def test_tokens_per_accepted_sample_has_one_value(run: Path) -> None:
    facts = gather(take_snapshot(run))
    kept = next(row for row in facts["funnel"] if row["stage"] == "kept")
    each = facts["funnel"][0]["tokens"] / kept["samples"]
    assert facts["account"][-1]["tokens_per_accepted"] == pytest.approx(each)
    page = (run / "report.html").read_text()
    assert f"<dt>tokens per accepted sample</dt><dd>{each:,.0f}</dd>" in page
    assert "tokens_per_accepted" not in facts["cost"]


def test_show_counts_an_unfinished_run(run: Path) -> None:
    whole = json.loads(CliRunner().invoke(cli, ["show", str(run), "--json"]).stdout)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    (run / "funnel.json").unlink()
    shown = CliRunner().invoke(cli, ["show", str(run), "--json"])
    assert shown.exit_code == 0, shown.output
    assert "is unfinished (stopped): 184 samples so far, 0 of them not judged yet" in shown.stderr
    part = json.loads(shown.stdout)
    assert part["kept"] == whole["kept"]
    assert part["rows"] is None


QUESTIONS = {
    "en": "How many apples does Tom have when he buys three more bags of them?",
    "de": "Wie viele Äpfel hat Tom, wenn er noch drei weitere Säcke davon kauft?",
    "zh": "汤姆又买了三袋苹果，他现在一共有多少个苹果？",
    None: "3 + 4",
}


def test_rows_have_the_detected_language(tmp_path: Path) -> None:
    rows = [{"question": text, "answer": "7"} for text in QUESTIONS.values()]
    source = "{kind: files, path: rows.jsonl, verifier: {kind: math}}"
    path = write_recipe(
        tmp_path, rows, lambda *_: "<think>\nSo.\n</think>\n\n7", source=source, n=1
    )
    build(load_recipe(path), tmp_path / "run", Console(quiet=True))
    found = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    asked = found["messages"].list.first().struct.field("content")
    assert dict(zip(found["language"], asked, strict=True)) == QUESTIONS
