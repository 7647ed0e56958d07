"""recipes/json/, with replayed samples: extraction by its schema, role play by a scripted judge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

import factory
from factory.build.build import build
from factory.core.nouns import Prompt, Sample
from factory.core.resources import data_path, recipe_path
from factory.core.run_dir import RunDir, save_prompts
from factory.recipe.build import Recipe, load_recipe
from tests.ports import free_ports

CONSOLE = Console(file=StringIO())


def replayed(name: str, folder: Path, texts: dict[str, list[str]], *settings: str) -> Recipe:
    """A shipped recipe that replays texts, by question."""
    recorded = folder / "recorded"
    recorded.mkdir()
    n = max(map(len, texts.values()))
    changes = (f"engine={{kind: replay, replay: {recorded}}}", f"sampling={{n: {n}}}", *settings)
    recipe = load_recipe(recipe_path(f"json/{name}.yaml"), changes)
    prompts = [
        prompt
        for source in recipe.sources
        for prompt in source.rows()
        if isinstance(prompt, Prompt)
    ]
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for prompt in prompts:
            for index, text in enumerate(texts[prompt.question]):
                run.append(Sample(prompt.id, index, text, "?", "stop", 40, 20, "m", "p", 0))
    return recipe


def reasons(run: Path) -> dict[str, int]:
    taken = factory.Run(run).funnel().filter(pl.col("reason").is_not_null())
    return dict(taken.select("reason", "samples").iter_rows())


def test_extraction_keeps_what_equals_the_reference(tmp_path: Path) -> None:
    lines = data_path("prompts/invoices.jsonl").read_text("utf-8").splitlines()
    texts = {}
    for line in lines:
        row = json.loads(line)
        answer = json.loads(row["solution"])
        wrong = answer | {"total": answer["total"] + 1}
        broken = {key: value for key, value in answer.items() if key != "seller"}
        found = [row["solution"], json.dumps(wrong), json.dumps(broken), "I see no invoice here."]
        think = "I read the number, the date and the items of the invoice first."
        texts[row["question"]] = [f"<think>\n{think}\n</think>\n\n{text}" for text in found]
    filters = "filters={format: {}, correctness: {}}"
    recipe = replayed("extraction", tmp_path, texts, filters)
    build(recipe, tmp_path / "run", CONSOLE)
    assert factory.Run(tmp_path / "run").corpus().height == len(lines)
    found_reasons = reasons(tmp_path / "run")
    assert found_reasons["unequal_value"] == found_reasons["breaks_schema"] == len(lines)


@contextmanager
def scripted_judge() -> Iterator[str]:
    """The shipped stand-in for a judge, in a process of its own; its URL."""
    script = recipe_path("json/scripted_judge.py")
    command = [sys.executable, str(script), str(free_ports(1)[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_role_play_asks_the_judge_what_a_program_cannot_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {}
    for line in data_path("prompts/role_play.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        asked = [item["ask"] for item in row["verifier"]["items"] if "ask" in item]
        right = " ".join(
            item["ask"] for item in row["verifier"]["items"]
            if "ask" in item and item.get("expect", "yes") == "yes"
        )  # fmt: skip
        question = row["messages"][-1]["content"]
        texts[question] = [right, "As an AI I cannot.", "Hm! No!", " ".join(asked) + " word" * 120]
    with scripted_judge() as url:
        monkeypatch.setenv("JUDGE_URL", url)
        recipe = replayed("role_play", tmp_path, texts, "filters.length=null")
        build(recipe, tmp_path / "run", CONSOLE)
    found = reasons(tmp_path / "run")
    assert found["wrong"] >= 40
    assert found["judge_wrong"] >= 20
    assert factory.Run(tmp_path / "run").corpus().height >= 3
