"""Selects the kept samples that become corpus rows: all rules that compare several samples.

The selection depends on narrow columns, ids and hashes only. So neither the order of arrival nor
the number of processes changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import xxhash

from factory.core.errors import Problem, RecipeError
from factory.core.run_dir import sample_parts
from factory.judging.metrics import metrics_file
from factory.judging.review_verdicts import REVIEW_STAGE
from factory.judging.verdicts import load_verdicts
from filters.base import Filter

if TYPE_CHECKING:
    from factory.corpus.diversity import Sketches
    from factory.recipe.corpus import Corpus, Select


def select_rows(
    run: Path,
    select: Select,
    corpus: Corpus,
    text_hashes: pl.LazyFrame,
    *,
    filters: Mapping[str, Filter] | None = None,
) -> pl.DataFrame:
    """Return the corpus rows: sample_id, prompt_id, index, n_tokens, score, split and rank.

    `rank` is the row's position in its split. `text_hashes` has sample_id and text_hash. `filters`
    are those with the metric that `select.score` names. Raises RecipeError if none has it.
    """
    rates = pl.scan_parquet(run / "pass_rates.parquet").select("prompt_id", "pass_rate")
    rows = (
        load_verdicts(run)
        .filter(decision="keep")
        .with_columns(reviewed=(pl.col("filter") == REVIEW_STAGE).fill_null(False))
        .select("sample_id", "prompt_id", "index", "n_tokens", "reviewed")
        .join(rates, on="prompt_id", how="left")
        .filter(pass_rate_in_band(select))
        .drop("pass_rate")
        .collect()
        .sort("prompt_id", "index")
    )
    if select.drop_exact_duplicates:
        hashes = text_hashes.collect()
        rows = rows.join(hashes, on="sample_id", how="left", maintain_order="left")
        rows = rows.unique(["prompt_id", "text_hash"], keep="first", maintain_order=True)
        rows = rows.drop("text_hash")
    if filters is None:
        rows = rows.with_columns(score=pl.lit(None, dtype=pl.Float64))
    else:
        rows = _add_scores(run, rows, select, filters)
    if select.per_prompt is not None:
        rows = rank_by_preference(rows, select, corpus.seed, lambda some: _sketches(run, some))
        rows = rows.filter(pl.col("nth") < select.per_prompt)
    columns = ("sample_id", "prompt_id", "index", "n_tokens", "score", "split", "rank")
    return split_and_shuffle(rows, corpus).select(columns)


def pass_rate_in_band(select: Select) -> pl.Expr:
    """Whether the pass rate is in the band. An unknown rate is only in the full band, 0 to 1."""
    low, high = select.pass_rate
    unknown = 1.0 if (low, high) == (0.0, 1.0) else -1.0
    return pl.col("pass_rate").fill_null(unknown).is_between(low, high)


def rank_by_preference(
    rows: pl.DataFrame, select: Select, seed: int, sketches: Callable[[pl.DataFrame], Sketches]
) -> pl.DataFrame:
    """Sort the rows by prompt and preference (`select.pick`). `nth` is the position per prompt.

    Samples that a person accepted come first (column `reviewed`, optional). In a tie the order of
    `rows` decides. `sketches` computes sketches of the given rows. It is called only for
    `pick: diverse`, and only with prompts that have more rows than they may keep.
    """
    rows = rows.with_columns(turn=pl.int_range(pl.len())).sort("prompt_id", "turn")
    match select.pick:
        case "first":
            key = pl.col("turn")
        case "shortest":
            key = pl.col("n_tokens").cast(pl.Int64)
        case "longest":
            key = -pl.col("n_tokens").cast(pl.Int64)
        case "best":
            key = -pl.col("score").fill_nan(None)
        case "random":
            key = pl.lit(random_order(rows["sample_id"], f"pick-{seed}"))
        case "diverse":
            key = pl.lit(_diverse_order(rows, select.per_prompt or 1, sketches))
    seen = [~pl.col("reviewed")] * ("reviewed" in rows.columns)
    ordered = rows.with_columns(key=key).sort("prompt_id", *seen, "key", "turn", nulls_last=True)
    nth = pl.int_range(pl.len(), dtype=pl.UInt32).over("prompt_id")
    return ordered.with_columns(nth=nth).drop("key", "turn")


def _diverse_order(
    rows: pl.DataFrame, room: int, sketches: Callable[[pl.DataFrame], Sketches]
) -> pl.Series:
    """Return positions by `farthest_first` for prompts with more than `room` rows, otherwise 0."""
    from factory.corpus.diversity import farthest_first

    crowded = rows.select(pl.len().over("prompt_id") > room).to_series()
    places = pl.zeros(rows.height, dtype=pl.UInt32, eager=True)
    some = rows.filter(crowded)
    return places.scatter(crowded.arg_true(), farthest_first(some["prompt_id"], sketches(some)))


def split_and_shuffle(rows: pl.DataFrame, corpus: Corpus, group: str = "prompt_id") -> pl.DataFrame:
    """Split by `group` and shuffle, both by hash: new prompts move no other to another split."""
    groups = rows.select(pl.col(group).unique())
    share = random_order(groups[group], f"split-{corpus.seed}") / 2.0**64
    held_out = share < corpus.validation
    groups = groups.with_columns(
        split=pl.when(held_out).then(pl.lit("validation")).otherwise(pl.lit("train"))
    )
    return (
        rows.with_columns(order=random_order(rows["sample_id"], f"shuffle-{corpus.seed}"))
        .join(groups, on=group, how="left", maintain_order="left")
        .sort("split", "order", "sample_id")
        .with_columns(rank=pl.int_range(pl.len()).over("split"))
        .drop("order")
    )


def random_order(names: pl.Series, salt: str) -> pl.Series:
    """Return a hash of each name and `salt`. Sorting by it is a reproducible shuffle."""
    numbers = [xxhash.xxh3_64_intdigest(f"{salt}:{name}".encode()) for name in names]
    return pl.Series(numbers, dtype=pl.UInt64)


def _add_scores(
    run: Path, rows: pl.DataFrame, select: Select, filters: Mapping[str, Filter]
) -> pl.DataFrame:
    """Add the metric that `select.score` names as `score`; null if it names none."""
    if select.score is None:
        return rows.with_columns(score=pl.lit(None, dtype=pl.Float64))
    parts = sample_parts(run)
    known: list[str] = []
    for name, filter_ in filters.items():
        files = [metrics_file(run, name, filter_, part.stem) for part in parts]
        columns = pq.read_schema(files[0]).names if files else []
        if select.score in columns:
            score = pl.col(select.score).cast(pl.Float64).alias("score")
            scores = pl.scan_parquet(files).select("sample_id", score).collect()
            return rows.join(scores, on="sample_id", how="left", maintain_order="left")
        known += columns
    listing = ", ".join(sorted(set(known) - {"sample_id"}))
    problem = f"is {select.score!r}, which no filter measures; the metrics are {listing}"
    raise RecipeError([Problem("select.score", problem)])


def _sketches(run: Path, rows: pl.DataFrame) -> Sketches:
    """Compute sketches of samples of a run, one part in memory at a time."""
    from factory.corpus.diversity import compute_sketches, empty_sketches

    sketches = empty_sketches(rows.height)
    wanted = rows.lazy().select("prompt_id", "index", row=pl.int_range(pl.len()))
    for part in sample_parts(run):
        texts = pl.scan_parquet(part).select("prompt_id", "index", "text")
        found = texts.join(wanted, on=["prompt_id", "index"]).collect()
        sketches[found["row"].to_numpy()] = compute_sketches(found["text"])
    return sketches
