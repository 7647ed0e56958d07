"""A training's figures show exactly the metrics in its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory.core.files import append_line
from factory.train.curves import build_curves, write_curves


def line(step: int, **more: Any) -> dict[str, Any]:
    found = {"step": step, "loss": 0.1, "reward": 0.5, "rewards/accuracy/mean": 0.25 * step}
    return {**found, "completions/mean_length": 40.0 + step, **more}


def test_each_logged_metric_has_a_figure() -> None:
    figures = build_curves([line(1), line(2, kl=0.01), line(3, kl=None)])
    assert [figure.name for figure in figures] == ["reward", "length", "kl"]
    reward, _, kl = figures
    assert {row["line"] for row in reward.rows} == {"accuracy", "sum, weighted"}
    assert [row["value"] for row in reward.rows if row["line"] == "accuracy"] == [0.25, 0.5, 0.75]
    assert list(kl.rows) == [{"step": 2, "line": "KL", "value": 0.01}]
    assert build_curves([]) == []


def test_page_and_numbers_are_written_to_the_run(tmp_path: Path) -> None:
    for step in range(1, 4):
        append_line(tmp_path / "log.jsonl", line(step))
    append_line(tmp_path / "log.jsonl", {"step": 3, "train_runtime": 9.0})
    page = write_curves(tmp_path).read_text()
    assert "Length of a completion" in page
    assert "http-equiv" in page
    numbers = json.loads((tmp_path / "curves.json").read_text())
    assert len(numbers["length"]) == 3
