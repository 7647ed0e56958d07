"""Finding samples among a million: a page at a time, from the narrow columns in memory.

Only a search in the texts reads them, part by part and for a bounded time; it says how far it got
and can go on from there.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.report.snapshot import Snapshot, scan_part

PAGE = 50
SEARCH_SECONDS = 1.5

SORTABLE = ("n_tokens", "pass_rate", "created_at")


@dataclass(frozen=True)
class Query:
    """What to look for. Empty fields ask nothing."""

    source: str = ""
    domain: str = ""
    decision: str = ""
    reason: str = ""
    prompt: str = ""
    question: str = ""
    text: str = ""
    min_tokens: int | None = None
    max_tokens: int | None = None
    min_pass: float | None = None
    max_pass: float | None = None
    skip: int = 0  # parts that a text search has been through already
    sort: str = ""  # one of SORTABLE, with a minus for the largest first
    page: int = 1


@dataclass(frozen=True)
class Page:
    """Some of the rows found. With a text search `total` counts what was found up to the part that
    `searched` numbers."""

    rows: pl.DataFrame
    total: int
    searched: int = 0
    to_search: int = 0

    @property
    def exact(self) -> bool:
        return self.searched == self.to_search


def search(snapshot: Snapshot, query: Query, seconds: float = SEARCH_SECONDS) -> Page:
    """A page of the samples that a query finds, in the order it asks for."""
    rows = snapshot.samples.with_row_index("row").lazy().filter(_conditions(query))
    if query.question:
        asked = snapshot.prompts.lazy().filter(_contains("question", query.question))
        rows = rows.join(asked.select("prompt_id"), on="prompt_id", how="semi")
    first, last = (max(1, query.page) - 1) * PAGE, max(1, query.page) * PAGE
    if not query.text:
        key = query.sort.removeprefix("-")
        keys = rows.select("row", *([key] if key in SORTABLE else [])).collect()
        ranked = _ranked(keys, query.sort, last)[first:]
        return Page(snapshot.samples[ranked], keys.height)
    found = rows.select("row", "part", "prompt_id", "index", *SORTABLE)
    hits, searched, parts = _search_texts(
        snapshot, found.collect(), query.text, max(0, query.skip), seconds
    )
    ranked = _ranked(hits.sort("row"), query.sort, last)[first:]
    return Page(snapshot.samples[ranked], hits.height, searched, parts)


def _ranked(keys: pl.DataFrame, sort: str, count: int) -> NDArray[np.uint32]:
    """The first `count` rows in an order: a partition, and a sort of what may be among them."""
    rows: NDArray[np.uint32] = keys["row"].to_numpy()
    column = sort.removeprefix("-")
    if column not in SORTABLE:
        return rows[:count]
    sign = -1.0 if sort.startswith("-") else 1.0
    values = sign * keys[column].to_physical().cast(pl.Float64).to_numpy()
    values = np.where(np.isnan(values), np.inf, values)  # what has none comes last
    near = np.arange(len(values))
    if count < len(values):
        near = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    order: NDArray[np.intp] = near[np.argsort(values[near], kind="stable")[:count]]
    return rows[order]


def _conditions(query: Query) -> pl.Expr:
    wanted = [
        pl.col(column) == value
        for column, value in (
            ("source", query.source),
            ("domain", query.domain),
            ("decision", query.decision),
            ("reason", query.reason),
            ("prompt_id", query.prompt),
        )
        if value
    ]
    for column, low, high in (
        ("n_tokens", query.min_tokens, query.max_tokens),
        ("pass_rate", query.min_pass, query.max_pass),
    ):
        if low is not None:
            wanted.append(pl.col(column) >= low)
        if high is not None:
            wanted.append(pl.col(column) <= high)
    return pl.all_horizontal(wanted) if wanted else pl.lit(True)


def _contains(column: str, words: str) -> pl.Expr:
    return pl.col(column).str.contains(f"(?i){re.escape(words)}")


def _search_texts(
    snapshot: Snapshot, rows: pl.DataFrame, words: str, skip: int, seconds: float
) -> tuple[pl.DataFrame, int, int]:
    """The rows whose text holds the words, from the part after `skip` on; how many parts the search
    is through, and how many hold rows."""
    ends = time.monotonic() + seconds
    parts = rows.partition_by("part", maintain_order=True)
    hits, searched = [rows.clear()], min(skip, len(parts))
    for own in parts[skip:]:
        if searched > skip and time.monotonic() > ends:
            break
        try:
            texts = scan_part(snapshot.run / "samples" / own["part"][0]).filter(
                _contains("text", words)
            )
            keys: Any = texts.select("prompt_id", pl.col("index").cast(pl.Int32)).collect()
            hits.append(own.join(keys, on=["prompt_id", "index"], how="semi"))
        except (OSError, pl.exceptions.PolarsError):
            pass  # a part that cannot be read is named in `missing`
        searched += 1
    return pl.concat(hits), searched, len(parts)
