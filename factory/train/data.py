"""A corpus's Parquet files → datasets of tokens, checked before a model is loaded.

Tokens are written once, to files beside the checkpoints that are mapped into memory: any row can be
reached without holding all. A streamed corpus is tokenized as it is trained on instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from factory.core.errors import ModelError, SourceError
from factory.core.files import storage_error, write_atomic
from factory.core.nouns import Message, as_messages
from factory.export.export import corpus_shards, split_of
from factory.export.gate import Gate, Refusal
from factory.export.target import Target
from factory.train.tokens import TURNS, tokenize

BATCH_ROWS = 256
GATE_ROWS = 512
"""Rows whose tokens the gate looks at before anything else; all rows are rendered anyway."""

HELD_OUT = ("validation", "test")

Row = tuple[str, list[Message]]


@dataclass
class Count:
    """What became of a split's rows."""

    rows: int = 0
    tokens: int = 0
    learnt: int = 0  # of those, the assistant's
    overlong: int = 0
    longest: int = 0  # tokens of the longest row, left out or not


def find_shards(data: Path) -> dict[str, list[Path]]:
    """The Parquet files of a corpus by split: train, and validation where there is one.

    Raises SourceError for a folder that holds no corpus, RunError for a run without one.
    """
    if (data / "run.json").exists():
        files = corpus_shards(data)
    else:
        files = sorted(data.glob("*.parquet")) if data.is_dir() else []
    if not files:
        raise SourceError(
            f"{data} holds no corpus: there is no Parquet file in it. Name the directory of a "
            "finished `factory build`, or a folder of Parquet files with a column `messages`."
        )
    found: dict[str, list[Path]] = {}
    for file in files:
        _check_columns(file)
        split = split_of(file) if split_of(file) in HELD_OUT else "train"
        found.setdefault(split, []).append(file)
    found = {split: files for split, files in found.items() if count_rows(files)}
    if "train" not in found:
        raise SourceError(f"{data} holds no row to train on; `factory show` says where they went")
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
            "a list of {role, content}, the last one the assistant's; `factory build` writes it."
        )


def count_rows(files: Iterable[Path]) -> int:
    """How many rows the files hold, by their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in files)


def read_rows(files: Sequence[Path]) -> Iterator[Row]:
    """Every row's id and messages. Raises SourceError for one that nothing can be learnt of."""
    import pyarrow.parquet as pq

    for file in files:
        number = 0
        with pq.ParquetFile(file) as parquet:
            columns = [name for name in ("id", "messages") if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    name = row.get("id") or f"{file.name}:{number}"
                    number += 1
                    yield name, _conversation(name, row["messages"])


def _conversation(name: str, messages: Any) -> list[Message]:
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        raise SourceError(
            f"row {name}: its messages do not end with an assistant's turn, so there is nothing to "
            "learn; leave such rows out of the corpus"
        )
    return list(as_messages(messages))


def check_rows(files: Sequence[Path], target: Target, limit: int = GATE_ROWS) -> int:
    """Look at the first rows' tokens. Raises ModelError where the model would not learn them."""
    gate, checked = Gate(target, TURNS), 0
    for name, messages in islice(read_rows(files), limit):
        refusal = gate.check(name, messages)
        if refusal is not None:
            raise _refused(refusal)
        checked += 1
    return checked


def _refused(refusal: Refusal) -> ModelError:
    return ModelError(
        f"training refused, nothing was trained: row {refusal.row_id}: {refusal.detail}\n"
        f"  rendered: {refusal.rendered[-300:]!r}\n"
        "  remedy: name a template that fits the tokenizer (template: chatml or plain, or a Jinja "
        "file) and the token that ends a turn (eos:)"
    )


def token_rows(files: Sequence[Path], target: Target, count: Count) -> Iterator[dict[str, Any]]:
    """Every row that fits as `input_ids` and `labels`; what became of all is told to `count`."""
    rows = read_rows(files)
    while batch := list(islice(rows, BATCH_ROWS)):
        try:
            tokenized = tokenize([messages for _, messages in batch], target)
        except (TemplateError, TypeError, ValueError):
            refusals = (Gate(target, TURNS).check(*row) for row in batch)
            found = next((refusal for refusal in refusals if refusal is not None), None)
            if found is None:
                raise
            raise _refused(found) from None
        for tokens in tokenized:
            length = len(tokens.ids)
            count.longest = max(count.longest, length)
            if length > target.max_length:
                count.overlong += 1
                continue
            count.rows += 1
            count.tokens += length
            count.learnt += length - tokens.n_prompt
            yield {"input_ids": tokens.ids, "labels": tokens.labels}


def prepare(files: Sequence[Path], target: Target, out: Path) -> Count:
    """Write a split's tokens to `out`, an Arrow file, unless it is there; tell what it holds."""
    import pyarrow as pa

    told = out.with_suffix(".json")
    if out.exists() and told.exists():
        return Count(**json.loads(told.read_text(encoding="utf-8")))
    schema = pa.schema([(name, pa.list_(pa.int32())) for name in ("input_ids", "labels")])
    count, scratch = Count(), out.with_suffix(".tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            rows = token_rows(files, target, count)
            while batch := list(islice(rows, BATCH_ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
        scratch.rename(out)
    except OSError as error:
        raise storage_error(out, error) from error
    write_atomic(told, json.dumps(asdict(count)))
    return count


def stream(files: Sequence[Path], target: Target, overlong: str) -> Iterator[dict[str, Any]]:
    """Rows as they are needed; one that does not fit is met in the middle of the training."""
    count = Count()
    for row in token_rows(files, target, count):
        if overlong == "fail":
            refuse_overlong(count, target, overlong)
        yield row


def refuse_overlong(count: Count, target: Target, overlong: str) -> None:
    """Rows that do not fit are never cut. Raises ModelError if they may not be left out either."""
    if not count.overlong and count.rows:
        return
    facts = (
        f"{count.overlong:,} of {count.overlong + count.rows:,} rows are longer than "
        f"{target.max_length:,} tokens (the longest has {count.longest:,})"
    )
    if overlong == "fail" or not count.rows:
        raise ModelError(
            f"{facts}. Leave them out with overlong: drop, or raise max_length where the model's "
            "context and the memory allow."
        )
