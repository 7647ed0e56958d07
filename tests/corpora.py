"""Small corpora for tests of assembly: made here row by row, in the real schema and layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.core.run_dir import FORMAT
from factory.core.think import join_think
from factory.corpus.rows import corpus_schema
from factory.judging.funnel import Funnel, Group, SampleCount


def row(prompt: str, index: int = 0, **changes: Any) -> dict[str, Any]:
    """One row. `question` and the text follow from the prompt's name unless they are given."""
    thinking = changes.pop("thinking", f"Sample {index} of {prompt} thinks.")
    response = changes.pop("response", f"So {prompt} it is.")
    asked = changes.pop("question", f"What is {prompt}?")
    turns = [{"role": "user", "content": text} for text in asked.split("|")]
    turn = {"role": "assistant", "content": join_think(thinking, response)}
    return {
        "id": f"{prompt}-{index}",
        "prompt_id": prompt,
        "index": index,
        "messages": [*turns, turn],
        "thinking": thinking,
        "response": response,
        "answer": prompt,
        "domain": "math",
        "source": "written",
        "also_in": [],
        "license": "Apache-2.0",
        "n_tokens": 10 + index,
        "pass_rate": 0.5,
        "n_samples": 4,
        "n_correct": 2,
        "model": "model-a",
        "verdicts": [],
        "meta": "{}",
        **changes,
    }


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    schema = corpus_schema()
    return pa.Table.from_pylist([{n: r.get(n) for n in schema.names} for r in rows], schema)


def corpus(folder: Path, rows: Iterable[Mapping[str, Any]], group: int = 7) -> Path:
    """A folder of corpus shards without a run, in two files where there are rows for two."""
    folder.mkdir(parents=True, exist_ok=True)
    every = table(rows)
    half = (every.num_rows + 1) // 2
    for number, part in enumerate((every.slice(0, half), every.slice(half))):
        if part.num_rows:
            file = folder / f"train-{number:05d}-of-00002.parquet"
            pq.write_table(part, file, row_group_size=group)
    return folder


def run(folder: Path, rows: Iterable[Mapping[str, Any]], prompts: Mapping[str, int]) -> Path:
    """A finished run: its corpus, its manifest, and how many prompts it asked by domain."""
    corpus(folder / "corpus", rows)
    manifest = {"format": FORMAT, "state": "done", "params": {"fp": {"model.id": "model-a"}}}
    (folder / "run.json").write_text(json.dumps(manifest))
    groups = {
        name: Group(n, n, SampleCount(4 * n, 40 * n), SampleCount(n, 10 * n))
        for name, n in prompts.items()
    }
    total = sum(prompts.values())
    Funnel(
        total, SampleCount(4 * total, 40 * total), [], SampleCount(total, 10 * total), {}, groups
    ).save(folder)
    return folder
