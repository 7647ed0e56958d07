"""Small handwritten finished runs, for the tests of export and push."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.core.nouns import Message, Prompt
from factory.core.run_dir import save_prompts
from factory.core.think import join_think
from factory.corpus.rows import corpus_schema
from factory.judging.funnel import Funnel, Removal, SampleCount

RECIPE = """\
name: by-hand
model: demo
sources: [{kind: files, path: sums.jsonl, domain: math}]
filters: {format: {}, correctness: {}}
"""


def conversation(number: int, thinking: str | None = None) -> list[Message]:
    """A question and an answer with its reasoning."""
    reasoning = thinking or f"{number} and {number} is twice {number}.\nThat is {2 * number}."
    return [
        Message(role="user", content=f"What is {number} + {number}?"),
        Message(role="assistant", content=join_think(reasoning, f"It is \\boxed{{{2 * number}}}.")),
    ]


def row(number: int, messages: Sequence[Message], **changes: Any) -> dict[str, Any]:
    """A row of the corpus."""
    return {
        "id": f"{number:016x}-0",
        "prompt_id": f"{number:016x}",
        "index": 0,
        "messages": [dict(message) for message in messages],
        "thinking": "a thought",
        "response": "a response",
        "answer": str(2 * number),
        "domain": "math",
        "source": "sums",
        "also_in": [],
        "language": "en",
        "license": "MIT",
        "n_tokens": 40,
        "n_prompt_tokens": 10,
        "pass_rate": 1.0,
        "n_samples": 1,
        "n_correct": 1,
        "model": "by-hand",
        "verdicts": [{"filter": "correctness", "decision": "keep", "reason": None}],
        "meta": "{}",
    } | changes


def write_run(
    folder: Path, shards: Mapping[str, Sequence[Mapping[str, Any]]], recipe: str = RECIPE
) -> Path:
    """A run directory whose corpus has these shards."""
    (folder / "corpus").mkdir(parents=True)
    rows = [item for shard in shards.values() for item in shard]
    for name, shard in shards.items():
        table = pa.Table.from_pylist(list(shard), schema=corpus_schema())
        pq.write_table(table, folder / "corpus" / name)
    manifest = {"format": 1, "state": "done", "name": "by-hand", "params": {}}
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    question = (Message(role="user", content="What is 1 + 1?"),)
    verifier = {"kind": "math", "answer": "2"}
    save_prompts(folder, [Prompt("sums", "math", question, verifier, "en", "MIT")])
    drawn, kept = SampleCount(len(rows) + 3, 999), SampleCount(len(rows), 900)
    taken = [Removal("correctness", "wrong", "drop", SampleCount(3, 99))]
    Funnel(len(rows), drawn, taken, kept, {}, {}, rows=kept).save(folder)
    return folder


def small_run(folder: Path, rows: int = 12, validation: int = 3, **changes: Any) -> Path:
    """Two training shards and one for validation."""
    made = [row(number, conversation(number), **changes) for number in range(rows + validation)]
    return write_run(
        folder,
        {
            "train-00000-of-00002.parquet": made[: rows // 2],
            "train-00001-of-00002.parquet": made[rows // 2 : rows],
            "validation-00000-of-00001.parquet": made[rows:],
        },
    )
