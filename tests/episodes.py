"""Recipes of episodes for tests: real environments, and an engine that plays by a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from factory.core.environment import allow_places
from factory.core.nouns import Sample
from factory.core.resources import recipe_path
from factory.core.run_dir import sample_parts

SCRIPTED = recipe_path("tools/scripted.py")

RECIPE = """
name: played
model: demo
sources:
  - kind: files
    path: {rows}
    verifier: {{kind: math}}
    language: en
    environment: {environment}
engine: {engine}
sampling: {sampling}
filters: {filters}
"""


def write_recipe(
    folder: Path,
    questions: int = 6,
    *,
    engine: str = f"{{class: '{SCRIPTED}:Scripted'}}",
    environment: str = "{kind: calculator}",
    sampling: str = "{n: 2}",
    filters: str = "{format: {thinking: optional}, correctness: {think: optional}}",
    name: str = "recipe.yaml",
) -> Path:
    """Write sums as rows, and a recipe that plays them in an environment. Returns the recipe."""
    rows = [
        {"question": f"What is {3 * n + 12} + {5 * n + 1}?", "answer": str(8 * n + 13)}
        for n in range(questions)
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = RECIPE.format(
        rows=file, environment=environment, engine=engine, sampling=sampling, filters=filters
    )
    recipe = folder / name
    recipe.write_text(text, encoding="utf-8")
    return recipe


def named(spec: dict[str, Any]) -> dict[str, Any]:
    """An environment as if a recipe of this process named it."""
    allow_places(spec)
    return spec


def read_samples(run: Path) -> dict[str, Sample]:
    """Every sealed sample of a run, by id."""
    found = {}
    for part in sample_parts(run):
        for row in pq.read_table(part).to_pylist():
            row["created_at"] = round(row["created_at"].timestamp() * 1000)
            sample = Sample.from_row(row)
            found[sample.sample_id] = sample
    return found


def roles(sample: Sample) -> list[str]:
    return [turn.role for turn in sample.turns or ()]


def call(name: str, arguments: dict[str, Any], identity: str = "c") -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments read."""
    return {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def act(*calls: dict[str, Any], content: str = "", malformed: Sequence[str] = ()) -> Any:
    """An action with calls."""
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": list(calls),
        "malformed": list(malformed),
    }
