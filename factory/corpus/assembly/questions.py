"""What an assembly needs to know of each prompt's question; the text itself is never kept.

Memory is a few bytes a prompt, and 512 where near-duplicates are looked for, however long the
questions are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.corpus.assembly.inputs import Input, read
from filters.contamination import Contamination
from filters.near_duplicates import PERMUTATIONS, Signatures, contents, near_roots, sketch

BATCH_PROMPTS = 8192
"""Prompts whose text is decoded at once."""


@dataclass(frozen=True)
class Asked:
    """The prompts of some rows, in the order of these.

    `prompts` has prompt_id, answer (a hash), content (the question's hash) and share (of its
    n-grams, in evaluation sets).
    """

    prompts: pl.DataFrame
    signatures: Signatures | None = None

    def first_of_kind(self, threshold: float) -> pl.DataFrame:
        """The prompts that are the first of their kind.

        Only prompts with the same answer can be one: puzzles made by a program differ in a number
        or two, and in their answers.
        """
        assert self.signatures is not None
        roots = near_roots(self.signatures, self.prompts["answer"].to_numpy(), threshold)
        return self.prompts.filter(pl.Series(roots == np.arange(len(roots))))

    def groups(self) -> pl.DataFrame:
        """prompt_id and group: the first prompt with the same question, whatever its answer."""
        first = pl.first("prompt_id").over("content")
        unread = pl.col("content").is_null()
        return self.prompts.select(
            "prompt_id", group=pl.when(unread).then("prompt_id").otherwise(first)
        )


def unread(rows: pl.DataFrame) -> Asked:
    """The prompts of `rows`, where nothing looks at a question."""
    null = pl.lit(None)
    return Asked(_prompts(rows).with_columns(content=null.cast(pl.UInt64), share=pl.lit(0.0)))


def read_questions(
    inputs: Sequence[Input], rows: pl.DataFrame, contamination: Contamination, *, near: bool
) -> Asked:
    """Read the questions (all user turns) of the prompts in `rows`, batch by batch.

    From the runs' own prompts; only where there are none is a corpus's text decoded for it.
    """
    prompts = _prompts(rows)
    index = contamination.index() if contamination.against else None
    content, share = np.zeros(prompts.height, np.uint64), np.zeros(prompts.height)
    signatures = np.empty((prompts.height, PERMUTATIONS), np.uint32) if near else None
    for places, texts in _questions(inputs, rows, prompts):
        content[places] = contents(texts).to_numpy()
        if signatures is not None:
            signatures[places] = sketch(texts)
        if index is not None:
            share[places] = index.find(texts)["share"].to_numpy()
    return Asked(prompts.with_columns(content=content, share=share), signatures)


def _prompts(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("prompt_id", "answer").unique("prompt_id", keep="first", maintain_order=True)


def _questions(
    inputs: Sequence[Input], rows: pl.DataFrame, prompts: pl.DataFrame
) -> Iterator[tuple[NDArray[np.int64], pl.Series]]:
    """Places in `prompts` and the questions there, each prompt once."""
    left = prompts.select("prompt_id", place=pl.int_range(pl.len()))
    for file in (given.prompts for given in inputs if given.prompts):
        with pq.ParquetFile(file) as held:
            for batch in held.iter_batches(BATCH_PROMPTS, columns=["id", "messages"]):
                some = pl.DataFrame(batch).rename({"id": "prompt_id"})
                found = some.join(left, on="prompt_id")
                if found.height:
                    yield _placed(found)
        known = pl.scan_parquet(file).select(prompt_id="id").collect()
        left = left.join(known, on="prompt_id", how="anti", maintain_order="left")
    missing = rows.join(left, on="prompt_id").unique("prompt_id", keep="first")
    for some, table in read(inputs, missing.select("file", "row", "place"), ["messages"]):
        yield _placed(pl.DataFrame(table).with_columns(some["place"]))


def _placed(frame: pl.DataFrame) -> tuple[NDArray[np.int64], pl.Series]:
    turn = pl.element().struct.field("content")
    asked = pl.col("messages").list.eval(turn.filter(pl.element().struct.field("role") == "user"))
    return frame["place"].to_numpy(), frame.select(asked.list.join("\n")).to_series()
