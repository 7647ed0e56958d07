"""A corpus of sums and a model small enough to train in seconds, bytes as tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.export.tokenizers import CHATML, write_tokenizer

Row = tuple[str, str]


def sums(count: int) -> list[Row]:
    """Return questions with the assistant's turns."""
    return [
        (f"{a} + {b} = ?", f"<think>\nI add {b} to {a}.\n</think>\n\n\\boxed{{{a + b}}}")
        for a, b in ((n % 10, n // 10) for n in range(count))
    ]


def conversation(question: str, turn: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": turn}]


def write_corpus(
    folder: Path, rows: Sequence[Row], *, validation: int = 0, shards: int = 1
) -> Path:
    """Write a folder of Parquet with `messages`; the first `validation` rows are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = rows[validation:]
    parts = {f"train-{number:05}": kept[number::shards] for number in range(shards)}
    if validation:
        parts["validation-00000"] = rows[:validation]
    for name, part in parts.items():
        table = pa.Table.from_pylist(
            [{"id": f"{name}/{n}", "messages": conversation(*row)} for n, row in enumerate(part)]
        )
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def write_model(folder: Path, *, layers: int = 2, template: str | None = CHATML) -> Path:
    """Write a randomly initialized llama of a few thousand weights, with a byte tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder, template)
    vocabulary = len(AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def losses(run: Path) -> dict[int, float]:
    """Return the training loss of every logged step."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}
