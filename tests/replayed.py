"""Recipes whose samples were written here and are replayed: rows, texts, a recipe around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.recipe.build import load_recipe

SOURCE = "{kind: files, path: rows.jsonl, language: en, verifier: {kind: math}}"


def write_recipe(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    text: Callable[[Prompt, int], str],
    *,
    source: str = SOURCE,
    filters: str = "{format: {}, correctness: {}}",
    n: int = 2,
    extra: str = "",
) -> Path:
    """Write rows.jsonl, recorded samples with the text of each prompt and index, and a recipe that
    replays them. Returns the recipe."""
    if rows:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    recorded = folder / "recorded"
    recorded.mkdir()
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""
name: mine
model: demo
sources:
  - {source}
engine: {{kind: replay, replay: {recorded}}}
prompting: {{template: few_shot}}
sampling: {{n: {n}}}
filters: {filters}
{extra}""",
        encoding="utf-8",
    )
    loaded = load_recipe(recipe)
    rows_read = (row for source in loaded.sources for row in source.rows())
    prompts = [row for row in rows_read if isinstance(row, Prompt)]
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for prompt in prompts:
            for index in range(n):
                run.append(
                    Sample(
                        prompt_id=prompt.id,
                        index=index,
                        text=text(prompt, index),
                        prompt_text="?",
                        finish_reason="stop",
                        n_tokens=9,
                        n_prompt_tokens=9,
                        model="recorded",
                        params_fp="recorded",
                        created_at=1_700_000_000_000,
                    )
                )
    return recipe
