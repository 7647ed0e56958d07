"""The page: everything escaped, nothing fetched, every state of a pipeline shown."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.pipelines.facts import format_duration, format_facts, read_facts
from factory.pipelines.page import (
    SPARK_HEIGHT,
    SPARK_WIDTH,
    layout_graph,
    layout_sparkline,
    print_pipeline,
    write_page,
)
from factory.recipe.pipeline import PlannedStep, load_pipeline
from tests.test_pipeline_recipe import MIX, SFT
from tests.test_recipe import write

HOSTILE = "<script>alert(1)</script>\"'&"
PIPELINE = f"""\
kind: pipeline
name: shown
steps:
  mix: {{recipe: mix.yaml, title: {json.dumps(HOSTILE)}}}
  taught: {{recipe: sft.yaml, set: {{data: '@mix'}}}}
  asked: {{recipe: eval.yaml, set: {{model: '@taught'}}}}
  last: {{recipe: mix.yaml, after: [taught]}}
"""
EVAL = "kind: eval\nname: asked\nmodel: demo\nsources: [{kind: gym, task: chain_sum, size: 5}]\n"
METRICS = {"pass@1": {"value": 0.25, "low": 0.125, "high": 0.5, "prompts": 4}}
FACTS: dict[str, dict[str, Any]] = {
    "mix": {
        "product": "corpus",
        "report": "statistics.json",
        "prompts": 10,
        "samples": 40,
        "kept": 20,
        "rows": 7,
        "tokens": 900,
        "domains": {},
    },
    "taught": {
        "product": "model",
        "report": "train.json",
        "steps": 3,
        "curves": {"loss": [[1, 2.5], [2, 1.5], [3, 0.5]]},
        "metrics": {},
        "checkpoints": ["checkpoint-3"],
    },
    "asked": {
        "product": "eval.json",
        "report": "eval.md",
        "model": HOSTILE,
        "k": {},
        "groups": {HOSTILE: {"prompts": 4, **METRICS}},
    },
}


@pytest.fixture
def plan(tmp_path: Path) -> list[PlannedStep]:
    for name, text in (("mix", MIX), ("sft", SFT), ("eval", EVAL)):
        write(tmp_path, text, f"{name}.yaml")
    return load_pipeline(write(tmp_path, PIPELINE, "p.yaml")).plan(tmp_path / "run")


def manifest(states: Mapping[str, str]) -> dict[str, Any]:
    steps = {
        name: {
            "state": state,
            "seconds": 100.0,
            "inputs": {HOSTILE: "abc"},
            **({"facts": FACTS[name], "output": "0123abcd"} if state == "done" else {}),
        }
        for name, state in states.items()
    }
    return {"name": "shown", "state": "stopped", "steps": steps}


class Elements(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_on_the_page_is_code_or_comes_from_elsewhere(plan: list[PlannedStep]) -> None:
    states = dict.fromkeys(FACTS, "done")
    page = write_page(manifest(states), plan, plan[0].pipeline)
    found = Elements(page)
    assert found.tags.count("script") == 1  # the figures' data, empty here
    assert "alert" in found.text
    assert not [link for link in found.links if ":" in link or link.startswith("/")]
    assert {link[1:] for link in found.links if link.startswith("#")} - set(found.ids) == {
        f"step-{HOSTILE}"
    }
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.read_text())
    assert policy
    assert "script-src" not in policy[1]
    assert "default-src &#39;none&#39;" in policy[1]


def test_the_page_shows_results(plan: list[PlannedStep]) -> None:
    found = Elements(write_page(manifest(dict.fromkeys(FACTS, "done")), plan, plan[0].pipeline))
    for words in ("7 rows, 40 samples drawn", "3 steps, loss 0.5", "25.0% (12.5% to 50.0%)"):
        assert words in found.text
    for words in ("0123abcd", "checkpoint-3", "waiting", "1.7 min", "5.0 min in total"):
        assert words in found.text
    for link in ("steps/taught/train.json", "steps/asked/eval.md", "steps/mix.log"):
        assert link in found.links


@pytest.mark.parametrize("state", ["running", "failed", "stopped"])
def test_a_pipeline_that_is_not_finished(plan: list[PlannedStep], state: str) -> None:
    known = manifest({"mix": "done", "taught": state})
    assert state in Elements(write_page(known, plan, plan[0].pipeline)).text
    console = Console(file=io.StringIO(), record=True, width=200)
    print_pipeline(known, plan, console)
    printed = console.export_text()
    assert re.search(rf"taught +sft +{state} +1.7 min", printed)
    assert re.search(r"last +assembly +waiting +–", printed)


@pytest.mark.parametrize("kind", ["build", "assembly", "sft", "grpo", "eval"])
def test_a_directory_without_results_has_few_facts(kind: str, tmp_path: Path) -> None:
    """A step's files may be of another version; the pipeline must not fail because of them."""
    assert isinstance(format_facts(read_facts(kind, tmp_path)), str)


def test_the_facts_of_a_training(tmp_path: Path) -> None:
    logged = [
        {"step": step, "loss": 2.0 / step, "reward": step / 8, "rewards/format/mean": 0.5}
        for step in range(1, 501)
    ]
    lines = [json.dumps(row) for row in [*logged, {"step": 500, "eval_loss": "nan"}]]
    write(tmp_path, "\n".join(lines) + '\n{"step": 501, "lo', "log.jsonl")
    write(tmp_path, '{"state": "done", "metrics": {"train_loss": 1.5}}', "train.json")
    (tmp_path / "checkpoints" / "checkpoint-500").mkdir(parents=True)
    found = read_facts("grpo", tmp_path)
    assert format_facts(found) == "500 steps, loss 0.004, reward 62.5"
    assert list(found["curves"]) == ["loss", "reward", "rewards/format/mean"]
    assert all(100 <= len(points) <= 121 for points in found["curves"].values())
    assert {points[-1][0] for points in found["curves"].values()} == {500}
    assert (found["checkpoints"], found["report"]) == (["checkpoint-500"], "train.json")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.4, "0 s"), (89, "89 s"), (90, "1.5 min"), (5400, "1.5 h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


numbers = st.floats(-1e9, 1e9)


@given(st.lists(st.tuples(st.integers(0, 10**6), numbers), min_size=1))
def test_a_curve_stays_in_its_box(points: list[tuple[int, float]]) -> None:
    for place in layout_sparkline(points)["points"].split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= SPARK_WIDTH
        assert 0 <= y <= SPARK_HEIGHT


def test_a_line_that_passes_other_steps_does_not_cross_their_boxes(tmp_path: Path) -> None:
    """`last` needs `taught` and also the step between them."""
    for name, text in (("mix", MIX), ("sft", SFT), ("eval", EVAL)):
        write(tmp_path, text, f"{name}.yaml")
    longer = PIPELINE.replace("after: [taught]", "after: [taught, asked]")
    plan = load_pipeline(write(tmp_path, longer, "p.yaml")).plan(tmp_path / "run")

    drawn = layout_graph(plan, {})

    passing = [line for line in drawn["lines"] if "V" in line]
    assert len(passing) == 1
    assert len(drawn["lines"]) == sum(len(step.needs) for step in plan)
    before, _ = passing[0].split("V")
    assert int(before.split()[-2]) < min(box["x"] for box in drawn["boxes"])
