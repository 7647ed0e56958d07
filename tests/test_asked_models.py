"""Builds that use a model on a server during sampling: for grades and for chains of thought."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import polars as pl
from rich.console import Console

from factory.build.build import build, load
from factory.core.run_dir import RunDir
from factory.recipe.build import load_recipe
from tests.fake_server import Body, FakeServer
from tests.recorded import prompts, recipe_file, record

CONSOLE = Console(file=StringIO())


def plain_is_good(body: Body) -> str:
    """Grades recorded right answers above evasive ones; gives no reply for one question."""
    asked = body["messages"][-1]["content"]
    if prompts()[0].question in asked:
        return "I cannot say."
    return f'Well.\n{{"score": {3 if "would rather not" in asked else 8}}}'


def test_the_best_of_a_prompts_samples_by_a_judge(tmp_path: Path) -> None:
    with FakeServer(answer=plain_is_good) as server:
        judge = f"{{judge: {{base_url: '{server.url}', model: fake}}, min_score: 2}}"
        settings = [f"filters.quality={judge}"]
        settings += ["select={per_prompt: 1, pick: best, score: quality_score}"]
        file = recipe_file(tmp_path, record(tmp_path / "recorded", 4), 4)
        text = file.read_text().replace("  correctness: {}\n", "")
        file.write_text(text)
        recipe = load_recipe(file, settings)
        build(recipe, tmp_path / "run", CONSOLE)
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    assert set(rows["score"]) == {8.0}
    assert sorted(rows["prompt_id"]) == sorted(prompt.id for prompt in prompts()[1:])
    assert set(rows["index"]) <= {0, 1}


def test_who_gets_a_chain_of_thought_is_asked_once_and_kept(tmp_path: Path) -> None:
    def opinion(body: Body) -> str:
        return json.dumps({"reasoning": "+" in body["messages"][-1]["content"]})

    with FakeServer(answer=opinion) as server:
        cot = f"{{rule: judge, judge: {{base_url: '{server.url}', model: fake}}}}"
        file = recipe_file(tmp_path, record(tmp_path / "recorded", 1), 1)
        recipe = load_recipe(file, [f"prompting.cot={cot}"])
        with RunDir(tmp_path / "run") as run:
            table = load(recipe, run, CONSOLE)
            assert len(server.bodies) == len(table) == len(prompts())
            assert load(recipe, run, CONSOLE).equals(table)
            assert len(server.bodies) == len(table)
    for row in table.to_pylist():
        mark = json.loads(row["meta"])["cot"]
        assert mark == {"asked": "+" in row["messages"][-1]["content"], "why": "judge"}
