"""A source without one correct sample is named at the end of a build."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from factory.build.build import build
from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.recipe.build import load_recipe


def built(tmp_path: Path, answers: list[str], given: str) -> str:
    """What a build says of a source with these references when every response gives `given`."""
    rows = [{"question": f"Question {n}?", "answer": text} for n, text in enumerate(answers)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (tmp_path / "recipe.yaml").write_text(
        f"""
name: unsolved
model: demo
sources:
  - {{kind: files, name: mixed-up, path: rows.jsonl, language: en, verifier: {{kind: math}}}}
engine: {{kind: replay, replay: {recorded}}}
prompting: {{template: few_shot}}
sampling: {{n: 2}}
filters: {{correctness: {{}}}}
"""
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    prompts = [row for row in recipe.sources[0].rows() if isinstance(row, Prompt)]
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for prompt in prompts:
            for index in range(2):
                text = join_think("Let me see.", f"{given} It is the {index}.")
                run.append(
                    Sample(
                        prompt_id=prompt.id, index=index, text=text, prompt_text="?",
                        finish_reason="stop", n_tokens=9, n_prompt_tokens=9, model="recorded",
                        params_fp="recorded", created_at=1_700_000_000_000,
                    )
                )  # fmt: skip
    said = io.StringIO()
    build(recipe, tmp_path / "run", Console(file=said, width=1000, force_terminal=False))
    return said.getvalue()


def test_the_reference_stands_next_to_what_was_read(tmp_path: Path) -> None:
    said = built(tmp_path, ["11", "12", "13", "14"], r"So \boxed{7}.")
    assert "none of 8 judged samples of mixed-up is correct (8 wrong)" in said
    assert "columns.answer" in said
    assert "the reference is '1" in said
    assert "read was '7'" in said


def test_the_suspect_fits_the_state(tmp_path: Path) -> None:
    said = built(tmp_path, ["11", "12", "13", "14"], "I would rather not say.\n\nNo.\n\n")
    assert "8 no_answer" in said
    assert "prompting.instruction" in said


def test_one_correct_sample_is_enough(tmp_path: Path) -> None:
    assert "NOT ONE CORRECT" not in built(tmp_path, ["7", "12", "13", "14"], r"So \boxed{7}.")


def test_few_samples_say_nothing(tmp_path: Path) -> None:
    assert "NOT ONE CORRECT" not in built(tmp_path, ["11", "12", "13"], r"So \boxed{7}.")
