"""The report: numbers that add up, figures from a plotting library, a self-contained page."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from factory.judging.funnel import load_funnel
from factory.report import numbers
from factory.report.chart import format_count
from factory.report.cost import expected_capped
from factory.report.examples import choose_examples
from factory.report.figures import all_figures
from factory.report.numbers import count_funnel, gather
from factory.report.snapshot import take_snapshot
from factory.report.write import write_report
from tests.report.runs import judged_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("report") / "run", n=5)


def test_the_funnel_equals_that_of_the_build(run: Path) -> None:
    built, counted = load_funnel(run), count_funnel(take_snapshot(run))
    assert counted.drawn == built.drawn
    assert counted.kept == built.kept
    assert {(t.filter, t.reason): t.count for t in counted.taken} == {
        (t.filter, t.reason): t.count for t in built.taken
    }
    assert {k: v.kept for k, v in counted.by_source.items()} == {
        k: v.kept for k, v in built.by_source.items()
    }


def test_every_number_adds_up_to_the_samples(run: Path) -> None:
    facts = gather(take_snapshot(run))
    total = facts["run"]["samples"]
    assert total == 30
    for key in ("taken_by_source", "taken_by_domain", "reasons_over_time"):
        assert sum(row["samples"] for row in facts[key]) == total, key
    assert sum(row["prompts"] for row in facts["accepted_by_prompt"]) == 6
    tokens = [row["samples"] for row in facts["lengths"] if row["part"] == "tokens"]
    assert sum(tokens) == total
    assert facts["funnel"][0]["samples"] == total


def test_foreign_spans_are_counted_and_shown(run: Path) -> None:
    snapshot = take_snapshot(run)
    rows = gather(snapshot)["languages"]
    assert [(row["part"], row["samples"]) for row in rows] == [("reasoning", 6)]
    shown = choose_examples(snapshot)["mixed_script"]
    assert all("<mark" in (item.thinking or "") for item in shown)
    assert all("所以" in item.foreign[0] for item in shown)


def test_the_examples_per_reason_are_limited_and_the_same_each_time(run: Path) -> None:
    snapshot = take_snapshot(run)
    found = choose_examples(snapshot, per_reason=3)
    assert next(iter(found)) == "kept"
    assert {reason: len(items) for reason, items in found.items()} == dict.fromkeys(found, 3)
    again = choose_examples(take_snapshot(run), per_reason=3)
    ids = {reason: [item.sample_id for item in items] for reason, items in found.items()}
    assert ids == {reason: [item.sample_id for item in items] for reason, items in again.items()}


def test_expected_acceptance_under_a_cap_is_the_binomials() -> None:
    rng = np.random.default_rng(0)
    chance = np.array([0.0, 0.1, 0.5, 1.0])
    expected = expected_capped(8, chance, 3)
    drawn = np.minimum(rng.binomial(8, chance, size=(200_000, 4)), 3).mean(axis=0)
    assert np.allclose(expected, drawn, atol=0.01)


def test_the_report_is_one_file_that_needs_no_network(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    head = unescape(page[: page.index("<body>")])
    assert "default-src 'none'" in head
    assert "unsafe" not in head
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(https?:)?//', outside)
    assert "<img" not in outside.replace("&lt;img", "")
    assert json.loads((run / "report" / "report.json").read_text())["run"]["samples"] == 30


def test_every_figure_is_also_a_png(run: Path) -> None:
    write_report(run)
    names = {figure.name for figure in all_figures(gather(take_snapshot(run)))}
    assert {"funnel", "lengths", "reasons_over_time", "throughput", "cost"} <= names
    for name in names:
        assert (run / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_plotting_package_tables_replace_figures(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.report.page.load_script", lambda: None)
    monkeypatch.setattr("factory.report.write.load_script", lambda: None)
    page = write_report(run).read_text(encoding="utf-8")
    assert "vl-convert-python" in page
    assert "script-src 'none'" in unescape(page)
    assert page.count("<details open") >= 5


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    page = write_report(tmp_path / "run")
    assert "not written yet" in page.read_text()


def test_intervals_of_the_run_have_equally_many_samples(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "INTERVAL", 8)
    rows = pl.DataFrame(gather(take_snapshot(run))["reasons_over_time"])
    intervals = rows.group_by("since", "until", "minute").agg(pl.col("samples").sum()).sort("since")
    assert intervals["samples"].to_list() == [10, 10, 10]
    assert intervals["since"].to_list() == [0, 10, 20]
    assert intervals["minute"].is_sorted()


def test_nan_and_infinity_become_null(run: Path) -> None:
    """JSON has no NaN: a page with one would draw no figure."""
    key = {"policy": "fixed", "source": "all", "quantity": "tokens_per_row"}
    row = {**key, "low": math.nan, "middle": math.nan, "high": math.inf}
    content = {"policy": "fixed", "per_prompt": 1, "rates": {"tokens_per_second": 9}, "all": [row]}
    (run / "forecast.json").write_text(json.dumps(content))
    facts = gather(take_snapshot(run))
    (run / "forecast.json").unlink()
    assert facts["forecast"][0]["middle"] is None
    json.dumps([figure.specs for figure in all_figures(facts)], allow_nan=False)


@pytest.mark.parametrize(
    ("count", "label"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12.3k"), (999_400, "999k"), (4_560_000, "4.56M"),
     (1_234_567_890, "1.23G")],
)  # fmt: skip
def test_labels_are_short(count: int, label: str) -> None:
    assert format_count(count) == label


def test_throughput_restarts_with_each_engine(run: Path) -> None:
    rows = numbers.throughput(take_snapshot(run))
    assert all(row["tokens_per_second"] >= 0 for row in rows)
    assert pl.DataFrame(rows)["minute"].is_sorted()
