"""Read and tokenize a reward model's training rows: preference pairs or labelled answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from factory.core.errors import SourceError
from factory.core.nouns import Message
from factory.core.think import split_think
from factory.prompts.readers import parse_object
from factory.recipe.model_rewards import Reads
from factory.recipe.reward_model import RewardModel
from factory.train.reward_models.judged import read_run_rows

Row = Mapping[str, Any]


class Tokenized(NamedTuple):
    """Rows as token ids, split by held-out questions; `overlong` counts rows left out."""

    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    overlong: int


def read_rows(recipe: RewardModel) -> Iterator[tuple[str, Row]]:
    """Yield every row with its place. Raises SourceError where no row or a row can't be read."""
    data = recipe.rows_path
    if recipe.is_run and data == recipe.data:
        yield from read_run_rows(recipe)
        return
    if not data.exists():
        raise SourceError(f"{data} does not exist; check the path, or make the data first")
    files = [data] if data.is_file() else sorted((*data.glob("*.jsonl"), *data.glob("*.parquet")))
    if not files:
        raise SourceError(f"{data} holds no .jsonl and no .parquet")
    for file in files:
        yield from _read_parquet(file) if file.suffix == ".parquet" else _read_json_lines(file)


def _read_parquet(file: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(file).iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{file}:{number}", row


def _read_json_lines(file: Path) -> Iterator[tuple[str, Row]]:
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                place = f"{file}:{number}"
                yield place, parse_object(line, place)


def tokenize(recipe: RewardModel, tokenizer: Any) -> Tokenized:
    """Render the rows of a recipe's data with the tokenizer's chat template and tokenize them.

    Questions are held out with all their answers. Raises SourceError for a row that is no pair or
    no labelled answer, and where no row is left to train on.
    """
    limit = recipe.max_length or tokenizer.model_max_length
    train: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    overlong = 0
    for place, row in read_rows(recipe):
        try:
            prompt = _parse_prompt(row["prompt"])
            ids = _tokenize_row(recipe, row, prompt, tokenizer)
        except (KeyError, TypeError, ValueError) as error:
            needed = "prompt, chosen and rejected"
            if recipe.shape == "pointwise":
                needed = "prompt, text and label (true or false)"
            raise SourceError(f"{place}: {needed} are needed: {error!r}") from error
        if any(len(value) > limit for value in ids.values() if isinstance(value, list)):
            overlong += 1
        else:
            held_out = hash_fraction(prompt) < recipe.validation
            (validation if held_out else train).append(ids)
    if not train:
        raise SourceError(
            f"{recipe.data}: no row to train on: {overlong} rows are longer than max_length "
            f"({limit}), {len(validation)} are held out"
        )
    return Tokenized(train, validation, overlong)


def _tokenize_row(
    recipe: RewardModel, row: Row, prompt: list[Message], tokenizer: Any
) -> dict[str, Any]:
    def ids(answer: Any) -> list[int]:
        if not isinstance(answer, str):
            raise TypeError(f"{answer!r} is no text")
        turn = Message(role="assistant", content=read_part(answer, recipe.reads))
        text = tokenizer.apply_chat_template([*prompt, turn], tokenize=False)
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    if recipe.shape == "pairwise":
        return {"chosen_ids": ids(row["chosen"]), "rejected_ids": ids(row["rejected"])}
    if not isinstance(row["label"], bool | int) or row["label"] not in (0, 1):
        raise ValueError(f"label is {row['label']!r}")
    return {"input_ids": ids(row["text"]), "labels": [float(row["label"])]}


def read_part(answer: str, reads: Reads) -> str:
    """Return the part of an answer that is scored; a missing response counts as empty."""
    return (answer if reads == "text" else split_think(answer).response or "").strip()


def _parse_prompt(prompt: Any) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    return [Message(role=turn["role"], content=turn["content"]) for turn in prompt]


def hash_fraction(prompt: list[Message]) -> float:
    """Hash a question to a number in [0, 1), always the same for the same question."""
    digest = hashlib.sha256(json.dumps(prompt, ensure_ascii=False).encode("utf-8", "replace"))
    return int.from_bytes(digest.digest()[:7]) / 2**56
