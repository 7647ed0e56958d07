"""Search the samples of a run, a page at a time, over the narrow columns held in memory.

Only a full-text search reads the texts, part by part and for a bounded time. It reports how many
parts it has searched, and can continue from there.
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
    """Search conditions. An empty field is no condition."""

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
    skip: int = 0  # parts that a text search has searched already
    sort: str = ""  # one of SORTABLE, with a leading minus for descending order
    page: int = 1


@dataclass(frozen=True)
class SearchPage:
    """One page of the rows found. A text search counts only the parts it searched in `total`."""

    rows: pl.DataFrame
    total: int
    searched: int = 0  # parts
    to_search: int = 0  # parts that hold candidate rows

    @property
    def exact(self) -> bool:
        return self.searched == self.to_search


def search(snapshot: Snapshot, query: Query, seconds: float = SEARCH_SECONDS) -> SearchPage:
    """Return a page of the samples that match a query, in the query's order."""
    rows = snapshot.samples.with_row_index("row").lazy().filter(_conditions(query))
    if query.question:
        asked = snapshot.prompts.lazy().filter(_contains("question", query.question))
        rows = rows.join(asked.select("prompt_id"), on="prompt_id", how="semi")
        rows = rows.sort("row")  # a semi join does not keep the order
    first, last = (max(1, query.page) - 1) * PAGE, max(1, query.page) * PAGE
    if not query.text:
        key = query.sort.removeprefix("-")
        keys = rows.select("row", *([key] if key in SORTABLE else [])).collect()
        ranked = _rank(keys, query.sort, last)[first:]
        return SearchPage(snapshot.samples[ranked], keys.height)
    found = rows.select("row", "part", "prompt_id", "index", *SORTABLE)
    hits, searched, parts = _search_texts(
        snapshot, found.collect(), query.text, max(0, query.skip), seconds
    )
    ranked = _rank(hits.sort("row"), query.sort, last)[first:]
    return SearchPage(snapshot.samples[ranked], hits.height, searched, parts)


def _rank(keys: pl.DataFrame, sort: str, count: int) -> NDArray[np.uint32]:
    """Return the first `count` rows in an order. Sorts only the rows that may be among them."""
    rows: NDArray[np.uint32] = keys["row"].to_numpy()
    column = sort.removeprefix("-")
    if column not in SORTABLE:
        return rows[:count]
    sign = -1.0 if sort.startswith("-") else 1.0
    values = sign * keys[column].to_physical().cast(pl.Float64).to_numpy()
    values = np.where(np.isnan(values), np.inf, values)  # missing values come last
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
    """Search the texts of rows, after the first `skip` parts, for `seconds`.

    Returns the matching rows, the number of parts searched so far, and the number of parts.
    """
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
            pass  # the snapshot lists an unreadable part in `missing`
        searched += 1
    return pl.concat(hits), searched, len(parts)
