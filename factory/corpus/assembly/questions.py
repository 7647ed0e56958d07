"""Hashes and sketches of the prompts' questions; the text itself is not kept.

Memory is a few bytes per prompt, and 512 bytes if near-duplicates are searched, whatever the length
of the questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.corpus.assembly.inputs import Input, read_rows
from filters.contamination import Contamination
from filters.near_duplicates import PERMUTATIONS, Signatures, content_hashes, find_clusters, sketch

BATCH_PROMPTS = 8192
"""Prompts whose text is decoded at once."""


@dataclass(frozen=True)
class Questions:
    """The prompts of some rows, in the order of the rows.

    `prompts` has prompt_id, answer (a hash), content (a hash of the question) and share (the share
    of its n-grams that are in evaluation sets).
    """

    prompts: pl.DataFrame
    signatures: Signatures | None = None

    def drop_near_duplicates(self, threshold: float) -> pl.DataFrame:
        """Return the first prompt of each group of near-duplicates.

        Prompts with different answers are never duplicates: generated puzzles differ in one or two
        numbers and in their answers.
        """
        assert self.signatures is not None
        roots = find_clusters(self.signatures, self.prompts["answer"].to_numpy(), threshold)
        return self.prompts.filter(pl.Series(roots == np.arange(len(roots))))

    def groups(self) -> pl.DataFrame:
        """Return prompt_id and group: the id of the first prompt with the same question."""
        first = pl.first("prompt_id").over("content")
        unread = pl.col("content").is_null()
        return self.prompts.select(
            "prompt_id", group=pl.when(unread).then("prompt_id").otherwise(first)
        )


def skip_questions(rows: pl.DataFrame) -> Questions:
    """Return the prompts of `rows` without reading questions."""
    null = pl.lit(None)
    return Questions(_prompts(rows).with_columns(content=null.cast(pl.UInt64), share=pl.lit(0.0)))


def read_questions(
    inputs: Sequence[Input], rows: pl.DataFrame, contamination: Contamination, *, near: bool
) -> Questions:
    """Read the questions (all user turns) of the prompts in `rows`, batch by batch.

    They are read from the runs' prompts files. Only without such a file the corpus is decoded.
    """
    prompts = _prompts(rows)
    index = contamination.index() if contamination.against else None
    content, share = np.zeros(prompts.height, np.uint64), np.zeros(prompts.height)
    signatures = np.empty((prompts.height, PERMUTATIONS), np.uint32) if near else None
    for places, texts in _read_texts(inputs, rows, prompts):
        content[places] = content_hashes(texts).to_numpy()
        if signatures is not None:
            signatures[places] = sketch(texts)
        if index is not None:
            share[places] = index.find(texts)["share"].to_numpy()
    return Questions(prompts.with_columns(content=content, share=share), signatures)


def _prompts(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("prompt_id", "answer").unique("prompt_id", keep="first", maintain_order=True)


def _read_texts(
    inputs: Sequence[Input], rows: pl.DataFrame, prompts: pl.DataFrame
) -> Iterator[tuple[NDArray[np.int64], pl.Series]]:
    """Yield row numbers in `prompts` and their questions, each prompt once."""
    left = prompts.select("prompt_id", place=pl.int_range(pl.len()))
    for file in (given.prompts for given in inputs if given.prompts):
        with pq.ParquetFile(file) as held:
            for batch in held.iter_batches(BATCH_PROMPTS, columns=["id", "messages"]):
                some = pl.DataFrame(batch).rename({"id": "prompt_id"})
                found = some.join(left, on="prompt_id")
                if found.height:
                    yield _join_user_turns(found)
        known = pl.scan_parquet(file).select(prompt_id="id").collect()
        left = left.join(known, on="prompt_id", how="anti", maintain_order="left")
    missing = rows.join(left, on="prompt_id").unique("prompt_id", keep="first")
    for some, table in read_rows(inputs, missing.select("file", "row", "place"), ["messages"]):
        yield _join_user_turns(pl.DataFrame(table).with_columns(some["place"]))


def _join_user_turns(frame: pl.DataFrame) -> tuple[NDArray[np.int64], pl.Series]:
    turn = pl.element().struct.field("content")
    asked = pl.col("messages").list.eval(turn.filter(pl.element().struct.field("role") == "user"))
    return frame["place"].to_numpy(), frame.select(asked.list.join("\n")).to_series()
