"""Tokenize a corpus's Parquet files, and check them before a model is loaded.

Tokens are written once, to memory-mapped files in the training's directory, so that any row can be
read without loading all. A streamed corpus is tokenized during training instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from factory.core.errors import ModelError, SourceError
from factory.core.files import storage_error, write_atomic
from factory.core.nouns import Message
from factory.export.dialogue import COLUMNS, read_dialogue
from factory.export.export import corpus_shards, split_of
from factory.export.gate import Gate, RowFault
from factory.export.target import Target
from factory.train.tokens import TURNS, tokenize

BATCH_ROWS = 256
GATE_ROWS = 512
"""Rows whose tokens the gate checks before the training; all rows are rendered later anyway."""

HELD_OUT = ("validation", "test")

Row = tuple[str, Sequence[Message]]


@dataclass
class TokenCount:
    """Row and token counts of a split."""

    rows: int = 0  # rows that fit
    tokens: int = 0  # of those rows
    learnt: int = 0  # tokens under the loss
    overlong: int = 0  # rows that don't fit
    longest: int = 0  # tokens of the longest row, fitting or not


def find_shards(data: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of a corpus by split: train, and validation if there is one.

    Raises SourceError for a folder without a corpus, RunError for a run without one.
    """
    if (data / "run.json").exists():
        files = corpus_shards(data)
    else:
        files = sorted(data.glob("*.parquet")) if data.is_dir() else []
    if not files:
        raise SourceError(
            f"{data} holds no corpus: there is no Parquet file in it. Name the directory of a "
            "finished run, or a folder of Parquet files with a column `messages`."
        )
    found: dict[str, list[Path]] = {}
    for file in files:
        _check_columns(file)
        split = split_of(file) if split_of(file) in HELD_OUT else "train"
        found.setdefault(split, []).append(file)
    found = {split: files for split, files in found.items() if count_rows(files)}
    if "train" not in found:
        raise SourceError(f"{data} holds no row to train on; `factory show` shows what was dropped")
    return found


def _check_columns(file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(file).names
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{file} cannot be read as Parquet: {error}") from error
    if "messages" not in columns:
        raise SourceError(
            f"{file} has no column `messages` (it has {', '.join(columns)}). A row's `messages` is "
            "a list of {role, content} that ends with an assistant's turn, as `factory build` "
            "writes it."
        )


def count_rows(files: Iterable[Path]) -> int:
    """Return the number of rows in the files, from their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in files)


def read_rows(files: Sequence[Path]) -> Iterator[Row]:
    """Yield every row's id and messages. Raises SourceError for one without an assistant's turn."""
    import pyarrow.parquet as pq

    for file in files:
        number = 0
        with pq.ParquetFile(file) as parquet:
            columns = [name for name in COLUMNS if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    name = row.get("id") or f"{file.name}:{number}"
                    number += 1
                    yield name, _parse_messages(name, row)


def _parse_messages(name: str, row: Mapping[str, Any]) -> Sequence[Message]:
    messages = row["messages"]
    last = messages[-1] if messages else {"role": None}
    if last["role"] != "assistant" or not (last["content"] or last.get("tool_calls")):
        raise SourceError(
            f"row {name}: its messages do not end with an assistant's turn, so there is nothing to "
            "train on; leave such rows out of the corpus"
        )
    return read_dialogue(row)


def check_rows(files: Sequence[Path], target: Target, limit: int = GATE_ROWS) -> int:
    """Check the tokens of the first `limit` rows; returns their number.

    Raises ModelError where training on them would go wrong.
    """
    gate, checked = Gate(target, TURNS), 0
    for name, messages in islice(read_rows(files), limit):
        fault = gate.check(name, messages)
        if fault is not None:
            raise _error_of(fault)
        checked += 1
    return checked


def _error_of(fault: RowFault) -> ModelError:
    return ModelError(
        f"training refused, nothing was trained: row {fault.row_id}: {fault.detail}\n"
        f"  rendered: {fault.rendered[-300:]!r}\n"
        "  remedy: name a template that fits the tokenizer (template: chatml or plain, or a Jinja "
        "file) and the token that ends a turn (eos:)"
    )


def tokenize_rows(
    files: Sequence[Path], target: Target, count: TokenCount
) -> Iterator[dict[str, Any]]:
    """Yield every row that fits as `input_ids` and `labels`; updates `count`."""
    rows = read_rows(files)
    while batch := list(islice(rows, BATCH_ROWS)):
        try:
            tokenized = tokenize([messages for _, messages in batch], target)
        except (TemplateError, TypeError, ValueError):
            faults = (Gate(target, TURNS).check(*row) for row in batch)
            found = next((fault for fault in faults if fault is not None), None)
            if found is None:
                raise
            raise _error_of(found) from None
        for tokens in tokenized:
            length = len(tokens.ids)
            count.longest = max(count.longest, length)
            if length > target.max_length:
                count.overlong += 1
                continue
            count.rows += 1
            count.tokens += length
            count.learnt += tokens.learnt
            yield {"input_ids": tokens.ids, "labels": tokens.labels}


def write_tokens(files: Sequence[Path], target: Target, out: Path) -> TokenCount:
    """Write a split's tokens to `out`, an Arrow file, unless it exists; returns its counts."""
    import pyarrow as pa

    saved = out.with_suffix(".json")
    if out.exists() and saved.exists():
        return TokenCount(**json.loads(saved.read_text(encoding="utf-8")))
    schema = pa.schema([(name, pa.list_(pa.int32())) for name in ("input_ids", "labels")])
    count, scratch = TokenCount(), out.with_suffix(".tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            rows = tokenize_rows(files, target, count)
            while batch := list(islice(rows, BATCH_ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
        scratch.rename(out)
    except OSError as error:
        raise storage_error(out, error) from error
    write_atomic(saved, json.dumps(asdict(count)))
    return count


def stream_rows(files: Sequence[Path], target: Target, overlong: str) -> Iterator[dict[str, Any]]:
    """Yield tokenized rows as they are needed.

    Raises ModelError when a row that doesn't fit comes up, unless `overlong` is "drop".
    """
    count = TokenCount()
    for row in tokenize_rows(files, target, count):
        if overlong == "fail":
            refuse_overlong(count, target, overlong)
        yield row


def refuse_overlong(count: TokenCount, target: Target, overlong: str) -> None:
    """Raise ModelError for rows that don't fit, unless `overlong` is "drop" and some rows fit.

    Rows are never truncated.
    """
    if not count.overlong and count.rows:
        return
    facts = (
        f"{count.overlong:,} of {count.overlong + count.rows:,} rows are longer than "
        f"{target.max_length:,} tokens (the longest has {count.longest:,})"
    )
    if overlong == "fail" or not count.rows:
        raise ModelError(
            f"{facts}. Leave them out with overlong: drop, or raise max_length if the model's "
            "context and the memory allow it."
        )
