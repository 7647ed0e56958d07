"""A finished run's accepted samples, to be rewritten; and what becomes of them."""

from __future__ import annotations

import dataclasses
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from rich.console import Console

from factory.build.build import build
from factory.core.errors import RecipeError, SourceError
from factory.core.nouns import Prompt
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.prompts.drafts import Drafts
from factory.prompts.load import load_prompts
from factory.recipe.build import load_recipe
from tests.recorded import prompts, recipe_file, record, sample

CONSOLE = Console(file=StringIO())


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run whose samples are to be rewritten: every prompt has two right ones."""
    folder = tmp_path_factory.mktemp("drafts")
    recorded = folder / "recorded"
    save_prompts(recorded, prompts())
    with RunDir(recorded) as run:
        for number, prompt in enumerate(prompts()):
            for index in range(6):
                one = sample(prompt, index)
                tokens = 90 - 10 * index if number % 2 else 40 + index
                run.append(dataclasses.replace(one, n_tokens=tokens))
    build(load_recipe(recipe_file(folder, recorded, 6)), folder / "zero", CONSOLE)
    return folder / "zero"


def drafts(zero: Path, **keys: Any) -> list[Prompt]:
    return load_prompts([Drafts(path=str(zero), **keys)]).prompts


def test_the_original_prompts_come_back_each_with_a_draft(zero: Path) -> None:
    original = {prompt.id: prompt for prompt in prompts()}
    found = drafts(zero)
    assert {prompt.id for prompt in found} == set(original)
    for prompt in found:
        assert prompt.messages == original[prompt.id].messages
        assert prompt.verifier == original[prompt.id].verifier
        assert prompt.language == "en"
        draft = prompt.meta["draft"]
        assert draft["sample_id"].startswith(prompt.id)
        assert prompt.verifier is not None
        assert f"\\boxed{{{prompt.verifier['answer']}}}" in draft["text"]


@pytest.mark.parametrize(
    ("pick", "indices"), [("shortest", {0, 4}), ("longest", {0, 4}), ("first", {0})]
)
def test_which_of_a_prompts_samples(zero: Path, pick: str, indices: set[int]) -> None:
    found = [prompt.meta["draft"]["sample_id"] for prompt in drafts(zero, pick=pick)]
    assert {int(name.rpartition("-")[2]) for name in found} == indices


def test_an_unverified_draft_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    file = recipe_file(tmp_path, record(tmp_path / "recorded", 1), 1)
    text = re.sub(r"  correctness: .*\n", "", file.read_text())
    file.write_text(text)
    build(load_recipe(file), tmp_path / "run", CONSOLE)
    with pytest.raises(SourceError, match="unverified_draft"):
        drafts(tmp_path / "run")
    assert len(drafts(tmp_path / "run", verified=False)) == len(prompts())


def test_an_unfinished_run_has_no_drafts(tmp_path: Path) -> None:
    record(tmp_path / "recorded", 1)
    with pytest.raises(SourceError, match="is not a finished run"):
        drafts(tmp_path / "recorded")


def rewriting(folder: Path, zero: Path, outputs: Path, **more: Any) -> Path:
    recipe = {
        "name": "rewritten",
        "model": "demo",
        "sources": [{"kind": "drafts", "path": str(zero)}],
        "prompting": {"template": "rewrite"},
        "engine": {"kind": "replay", "replay": str(outputs)},
        "sampling": {"n": 2},
        "filters": {"format": {}, "correctness": {}},
        **more,
    }
    file = folder / "rewrite.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def test_a_rewrite_is_judged_by_the_original_answer(zero: Path, tmp_path: Path) -> None:
    """The first rewrite keeps the answer, the second changes it; rows hold the original question
    and the draft's id, not its text."""
    outputs = tmp_path / "outputs"
    found = drafts(zero)
    save_prompts(outputs, found)
    with RunDir(outputs) as run:
        for prompt in found:
            assert prompt.verifier is not None
            for index, answer in enumerate((prompt.verifier["answer"], "987654321")):
                text = join_think("I add them and check.", f"It is \\boxed{{{answer}}}.")
                run.append(dataclasses.replace(sample(prompt, index), text=text))
    funnel = build(load_recipe(rewriting(tmp_path, zero, outputs)), tmp_path / "run", CONSOLE)
    assert funnel.kept.samples == len(found)
    assert {item.reason for item in funnel.taken} == {"wrong"}
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    original = {prompt.id: prompt for prompt in prompts()}
    for row in rows.rows(named=True):
        prompt = original[row["prompt_id"]]
        assert row["messages"][0]["content"] == prompt.question
        assert "I add them and check." in row["messages"][-1]["content"]
        (draft,) = (value for key, value in json.loads(row["meta"]).items() if key == "draft")
        assert draft.keys() == {"sample_id"}


def test_rewriting_needs_drafts(zero: Path, tmp_path: Path) -> None:
    sources = [{"kind": "drafts", "path": str(zero)}, {"kind": "run", "path": str(zero)}]
    file = rewriting(tmp_path, zero, zero, sources=sources)
    with pytest.raises(RecipeError, match=r"sources\.1\.kind is 'run'"):
        load_recipe(file)
