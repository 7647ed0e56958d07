"""The report combines the results of a real pilot, build and audit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.build.pilot import run_pilot
from factory.core.run_dir import log_event
from factory.judging.audit import audit_run
from factory.judging.funnel import Funnel, load_funnel
from factory.judging.verdicts import all_filters
from factory.recipe.build import load_recipe
from factory.report.figures import all_figures
from factory.report.numbers import gather
from factory.report.snapshot import take_snapshot
from factory.report.write import write_report
from factory.sampling.accounting import OUTCOMES
from tests.recorded import recipe_file, record

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accounts")
    prices = "sampling.prices={gpus: 4, per_gpu_hour: 2.5}"
    recipe = load_recipe(recipe_file(folder, record(folder / "recorded", 8), 8), [prices])
    lines = list(run_pilot(recipe, folder / "run", 24, QUIET))
    (folder / "run" / "pilot.txt").write_text("\n".join(lines))
    build(recipe, folder / "run", QUIET)
    audit_run(all_filters(recipe), folder / "run", None, n=20, seed=0)
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("factory.report.write.load_script", lambda: None)  # pictures take seconds
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_every_token_of_the_run_is_accounted_for(run: Path) -> None:
    funnel: Funnel = load_funnel(run)
    facts = gather(take_snapshot(run))
    *sources, all_of_it = facts["account"]
    assert all_of_it["source"] == "all"
    assert {row["source"] for row in sources} == set(funnel.by_source)
    assert all_of_it["tokens"] == funnel.drawn.tokens
    assert sum(all_of_it[f"{fate}_tokens"] for fate in OUTCOMES) == funnel.drawn.tokens
    assert all_of_it["accepted_samples"] == funnel.kept.samples
    each = funnel.drawn.tokens / funnel.kept.samples
    assert all_of_it["tokens_per_accepted"] == pytest.approx(each)
    assert all_of_it["seconds_per_accepted"] > 0
    (figure,) = [one for one in all_figures(facts) if one.name == "account"]
    drawn = figure.specs[0]["data"]["values"]
    assert sum(bar["tokens"] for bar in drawn) == funnel.drawn.tokens
    assert f"{each:,.0f} per accepted sample" in figure.note


def test_a_forecast_gives_the_cost_of_a_row_under_every_policy(run: Path) -> None:
    printed = (run / "pilot.txt").read_text()
    policies = [block.splitlines() for block in printed.split("policy ")[1:]]
    assert [name.split()[0] for name, *_ in policies] == ["fixed", "until", "difficulty", "budget"]
    for _, *lines in policies:
        named = [line[:20].strip() for line in lines]
        assert named[-6:] == ["tokens", "per row", "GPU-hours", "per row", "money", "per row"]
    facts = {row["quantity"]: row for row in gather(take_snapshot(run))["forecast"]}
    hours, money = facts["gpu_hours_per_row"], facts["money_per_row"]
    assert money["middle"] == pytest.approx(2.5 * hours["middle"])
    assert money["low"] < money["middle"] < money["high"]


def test_the_forecast_is_compared_with_the_actual_values(run: Path) -> None:
    funnel = load_funnel(run)
    rows = gather(take_snapshot(run))["forecast"]
    totals = {row["quantity"]: row for row in rows if row["source"] == "all"}
    actual = {name: row["actual"] for name, row in totals.items()}
    assert actual["samples"] == funnel.drawn.samples
    assert actual["tokens"] == funnel.drawn.tokens
    assert actual["accepted"] == funnel.kept.samples
    assert actual["tokens_per_row"] == pytest.approx(funnel.drawn.tokens / actual["rows"])
    assert all(row["inside"] == (row["low"] <= row["actual"] <= row["high"]) for row in rows)
    # One in four samples of each recorded prompt is right, which a pilot of 24 prompts must find.
    assert totals["samples"]["inside"]
    assert totals["accepted"]["low"] < totals["accepted"]["middle"] < totals["accepted"]["high"]
    page = write_report(run).read_text()
    assert page.count('id="forecast-title"') == page.count('id="audit-title"') == 1


def test_an_unfinished_run_has_a_forecast_and_no_outcome(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    rows = gather(take_snapshot(run))["forecast"]
    assert rows
    assert {row["actual"] for row in rows} == {row["inside"] for row in rows} == {None}
    write_report(run)


def test_an_audit_is_shown_with_its_intervals(run: Path) -> None:
    written = json.loads((run / "audit.json").read_text())
    rows = {row["what"]: row for row in gather(take_snapshot(run))["audit"]}
    assert rows["false negatives"]["n"] == written["false_negatives"]["n"] > 0
    assert rows["false negatives"]["rate"] == 0
    assert 0 < rows["false negatives"]["high"] < 1


@pytest.mark.parametrize("content", ["[]", "{", '{"policy": "fixed"}', '{"all": [1], "rates": {}}'])
def test_a_damaged_forecast_is_left_out(run: Path, content: str) -> None:
    (run / "forecast.json").write_text(content)
    assert "forecast" not in gather(take_snapshot(run))
    write_report(run)


def test_a_killed_engine_counts_up_to_its_last_event(run: Path) -> None:
    before = gather(take_snapshot(run))["account"][-1]["seconds_per_accepted"]
    for event in ("engine_started", "throughput"):
        log_event(run, event, samples=0, tokens=0, seconds=100.0 * (event == "throughput"))
    after = gather(take_snapshot(run))["account"][-1]
    gained = (after["seconds_per_accepted"] - before) * after["accepted_samples"]
    assert gained == pytest.approx(100)
