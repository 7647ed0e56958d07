"""Which kept samples become rows: everything that looks at more than one sample.

Decided on narrow columns and by ids and hashes alone, so that neither the order of arrival nor the
number of processes changes a row.
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
    """The rows of the corpus: sample_id, prompt_id, index, n_tokens, score, split and rank.

    `rank` is the row's place in its split. `text_hashes` has sample_id and text_hash; `filters` are
    those whose metric `select.score` may name. Raises RecipeError where none of them has it.
    """
    rates = pl.scan_parquet(run / "pass_rates.parquet").select("prompt_id", "pass_rate")
    rows = (
        load_verdicts(run)
        .filter(decision="keep")
        .with_columns(reviewed=(pl.col("filter") == REVIEW_STAGE).fill_null(False))
        .select("sample_id", "prompt_id", "index", "n_tokens", "reviewed")
        .join(rates, on="prompt_id", how="left")
        .filter(in_band(select))
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
        rows = _scored(run, rows, select, filters)
    if select.per_prompt is not None:
        rows = in_preference(rows, select, corpus.seed, lambda some: _sketches(run, some))
        rows = rows.filter(pl.col("nth") < select.per_prompt)
    columns = ("sample_id", "prompt_id", "index", "n_tokens", "score", "split", "rank")
    return place(rows, corpus).select(columns)


def in_band(select: Select) -> pl.Expr:
    """Whether a row's pass rate will do; an unknown one (nothing was judged) only in full band."""
    low, high = select.pass_rate
    unknown = 1.0 if (low, high) == (0.0, 1.0) else -1.0
    return pl.col("pass_rate").fill_null(unknown).is_between(low, high)


def in_preference(
    rows: pl.DataFrame, select: Select, seed: int, sketches: Callable[[pl.DataFrame], Sketches]
) -> pl.DataFrame:
    """The rows prompt by prompt, the preferred first, with each one's place there as `nth`.

    What a person accepted comes before all else (the column `reviewed`, where there is one). Of
    equals the one that comes first in `rows` is preferred. `sketches` reads the texts of the rows
    it is given: asked for `pick: diverse` alone, and for no prompt that may keep all it has.
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
            key = pl.lit(_diverse(rows, select.per_prompt or 1, sketches))
    seen = [~pl.col("reviewed")] * ("reviewed" in rows.columns)
    ordered = rows.with_columns(key=key).sort("prompt_id", *seen, "key", "turn", nulls_last=True)
    nth = pl.int_range(pl.len(), dtype=pl.UInt32).over("prompt_id")
    return ordered.with_columns(nth=nth).drop("key", "turn")


def _diverse(
    rows: pl.DataFrame, room: int, sketches: Callable[[pl.DataFrame], Sketches]
) -> pl.Series:
    """Places by `farthest_first` where a prompt has more rows than room, else all the same."""
    from factory.corpus.diversity import farthest_first

    crowded = rows.select(pl.len().over("prompt_id") > room).to_series()
    places = pl.zeros(rows.height, dtype=pl.UInt32, eager=True)
    some = rows.filter(crowded)
    return places.scatter(crowded.arg_true(), farthest_first(some["prompt_id"], sketches(some)))


def place(rows: pl.DataFrame, corpus: Corpus, group: str = "prompt_id") -> pl.DataFrame:
    """Split by `group` and shuffle, by hash: adding a prompt moves no other to another split."""
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
    """A number for each name that `salt` decides: sorting by it shuffles, the same everywhere."""
    numbers = [xxhash.xxh3_64_intdigest(f"{salt}:{name}".encode()) for name in names]
    return pl.Series(numbers, dtype=pl.UInt64)


def _scored(
    run: Path, rows: pl.DataFrame, select: Select, filters: Mapping[str, Filter]
) -> pl.DataFrame:
    """The rows with the metric that `select.score` names as `score`, null where it names none."""
    if select.score is None:
        return rows.with_columns(score=pl.lit(None, dtype=pl.Float64))
    parts = sample_parts(run)
    known: list[str] = []
    for name, judge in filters.items():
        files = [metrics_file(run, name, judge, part.stem) for part in parts]
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
    """The sketches of some of a run's samples, a part in memory at a time."""
    from factory.corpus.diversity import no_sketches, small_sketches

    sketches = no_sketches(rows.height)
    wanted = rows.lazy().select("prompt_id", "index", row=pl.int_range(pl.len()))
    for part in sample_parts(run):
        texts = pl.scan_parquet(part).select("prompt_id", "index", "text")
        found = texts.join(wanted, on=["prompt_id", "index"]).collect()
        sketches[found["row"].to_numpy()] = small_sketches(found["text"])
    return sketches
