"""A run over code prompts: programs with every outcome, judged in the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.nouns import Prompt, Sample
from factory.core.resources import data_path
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.prompts.files import Files
from factory.recipe.build import load_recipe
from filters.verify.sandbox import available

CODE = data_path("prompts/code.jsonl")

RECIPE = """
name: code
model: demo
sources: [{{kind: files, path: {prompts}, language: en}}]
engine: {{kind: replay, replay: {recorded}}}
prompting: {{template: few_shot}}
sampling: {{n: 5}}
filters: {{format: {{}}, correctness: {{}}}}
"""


def programs(prompt: Prompt) -> list[str]:
    solution = solutions()[prompt.question]
    return [
        f"Here it is.\n```python\n{solution}\n```",
        "Nothing works.\n```python\nraise SystemExit(1)\n```",
        "Guess.\n```python\nprint('certainly not')\n```",
        "```python\nimport os\nwhile True:\n    os.fork()\n```",
        "I cannot write a program for this.\n\nSorry.",
    ]


def solutions() -> dict[str, str]:
    rows = map(json.loads, CODE.read_text(encoding="utf-8").splitlines())
    return {row["question"].strip(): row["solution"] for row in rows}


def sample(prompt: Prompt, index: int) -> Sample:
    text = join_think("I will write a short program.", programs(prompt)[index])
    return Sample(prompt.id, index, text, "", "stop", 50, 20, "recorded", "recorded", 0)


@pytest.mark.real(group=None)
def test_the_funnel_shows_what_became_of_the_programs(tmp_path: Path) -> None:
    assert available() is None, available()
    rows = Files(kind="files", path=str(CODE), language="en").rows()
    prompts = [row for row in rows if isinstance(row, Prompt)][:8]
    few = tmp_path / "code.jsonl"
    few.write_text("".join(CODE.read_text(encoding="utf-8").splitlines(keepends=True)[:8]))
    recorded = tmp_path / "recorded"
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for prompt in prompts:
            for index in range(5):
                run.append(sample(prompt, index))
    path = tmp_path / "code.yaml"
    path.write_text(RECIPE.format(prompts=few, recorded=recorded))
    funnel = build(load_recipe(path), tmp_path / "run", Console(quiet=True))
    removed = {item.reason: item.count.samples for item in funnel.taken}
    assert funnel.kept.samples == 8
    assert removed == {"wrong": 24, "no_answer": 8}
