"""Selected samples → corpus rows, and the schema of the corpus.

Rows are made from one part of the samples at a time, or from several small ones. Memory holds the
text of one full part and the prompts' messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from factory.core.run_dir import sample_parts
from factory.core.think import split_think_exprs
from factory.corpus.episode_rows import build_episode_rows, offers_tools, rewrite_episode_tags
from factory.corpus.shards import PLACE, write_shards
from factory.judging.metrics import metrics_folder, scan_samples, scan_whole_samples
from factory.judging.review_verdicts import Overlay
from factory.judging.verdicts import verdict_column
from factory.prompts.drafts import remove_draft_text
from factory.prompts.templates import DRAFT
from factory.recipe.corpus import THINK_TAGS
from filters.base import Filter
from filters.verify.verification import CONSENSUS

TOOLS = "tools"
"""The column with the functions that the model was offered, as JSON; of episodes only."""


@cache
def corpus_schema(episodes: bool = False) -> pa.Schema:
    """Return the schema of corpus/*.parquet. Of `episodes`, and of prompts with tools, messages may
    have tool calls, and the last columns have the tools and the number of the prompt's messages."""
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    if episodes:
        function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
        called = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
        more = {"tool_calls": pa.list_(called), "name": pa.string(), "tool_call_id": pa.string()}
        message = pa.struct([*message, *(pa.field(name, kind) for name, kind in more.items())])
    verdict = pa.struct(
        [("filter", pa.string()), ("decision", pa.string()), ("reason", pa.string())]
    )
    columns: list[tuple[str, pa.DataType]] = [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("index", pa.int32()),
        ("messages", pa.list_(message)),
        ("thinking", pa.string()),
        ("response", pa.string()),
        ("answer", pa.string()),
        ("extracted_answer", pa.string()),
        ("domain", pa.string()),
        ("source", pa.string()),
        ("also_in", pa.list_(pa.string())),
        ("language", pa.string()),
        ("license", pa.string()),
        ("n_tokens", pa.int32()),
        ("n_prompt_tokens", pa.int32()),
        ("pass_rate", pa.float64()),
        ("n_samples", pa.uint32()),
        ("n_correct", pa.uint32()),
        ("score", pa.float64()),
        ("model", pa.string()),
        ("sampling", pa.string()),
        ("prompt_text", pa.string()),
        ("finish_reason", pa.string()),
        ("created_at", pa.timestamp("ms", tz="UTC")),
        ("verdicts", pa.list_(verdict)),
        ("meta", pa.string()),
    ]
    if episodes:
        columns += [(TOOLS, pa.string()), ("n_prompt_messages", pa.int32())]
    return pa.schema(columns)


DICTIONARY = (
    "prompt_id",
    "messages.list.element.role",
    "domain",
    "source",
    "also_in.list.element",
    "language",
    "license",
    "model",
    "sampling",
    "finish_reason",
    "verdicts.list.element.filter",
    "verdicts.list.element.decision",
    "verdicts.list.element.reason",
)
"""Columns with repeated values, which get a dictionary. For unique texts it would cost time."""


BATCH_BYTES = 16 << 20
"""Compressed samples read at once: the size of a full part with long texts."""


def write_corpus(
    run: Path,
    selected: pl.DataFrame,
    filters: Mapping[str, Filter],
    params: Mapping[str, Mapping[str, Any]],
    shard_rows: int,
    *,
    shard_bytes: int | None = None,
    overlay: Overlay | None = None,
    tags: tuple[str, str] = THINK_TAGS["think"],
) -> list[Path]:
    """Write the selected rows and return the files. `params` maps each params_fp to its settings.

    `overlay` applies reviewers' edits. `tags` enclose the reasoning. The old corpus stays in place
    until the new one is complete.
    """
    placed, splits = assign_places(selected)
    schema = corpus_schema(offers_tools(run))
    return write_shards(
        _part_rows(run, placed, filters, params, overlay, tags, schema),
        splits,
        run / "corpus",
        schema,
        shard_rows=shard_rows,
        shard_bytes=shard_bytes,
        dictionary=DICTIONARY,
    )


def assign_places(selected: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Add the column `place`, the position in the corpus. Also return the rows per split."""
    placed = selected.sort("split", "rank").with_columns(place=pl.int_range(pl.len()))
    return placed, dict(placed.group_by("split").len().sort("split").iter_rows())


def _part_rows(
    run: Path,
    placed: pl.DataFrame,
    filters: Mapping[str, Filter],
    params: Mapping[str, Mapping[str, Any]],
    overlay: Overlay | None,
    tags: tuple[str, str],
    schema: pa.Schema,
) -> Iterator[pa.Table]:
    """Yield the corpus rows of each part of the samples, with their places."""
    prompts = _read_prompts(run, placed)
    rates = pl.read_parquet(run / "pass_rates.parquet")
    settings = pl.DataFrame(
        {
            "params_fp": list(params),
            "sampling": [json.dumps(known, sort_keys=True) for known in params.values()],
        },
        schema={"params_fp": pl.String, "sampling": pl.String},
    )
    chosen = placed.select("sample_id", "prompt_id", "index", "score", PLACE)
    with_place = schema.append(pa.field(PLACE, pa.int64()))
    for parts in _batches(sample_parts(run)):
        keys = scan_samples(parts).select("prompt_id", "index").collect()
        own = chosen.join(keys, on=["prompt_id", "index"], how="semi")
        if own.is_empty():
            continue
        rows = (
            scan_whole_samples(parts)
            .collect()
            .join(own, on=["prompt_id", "index"], maintain_order="left")
            .join(_restrict(prompts, own), on="prompt_id", maintain_order="left")
            .join(_restrict(rates, own), on="prompt_id", how="left", maintain_order="left")
            .join(settings, on="params_fp", how="left", maintain_order="left")
            .join(_read_answers(run, parts, filters), on="sample_id", how="left")
            .join(_read_verdicts(run, parts, filters, own), on="sample_id", how="left")
        )
        rows = overlay.apply_to_rows(rows) if overlay else rows
        rows = rows.with_columns(**split_think_exprs())
        rows = rows.with_columns(id="sample_id")
        if TOOLS in schema.names:
            yield build_episode_rows(rows, tags, with_place)
            continue
        rows = rows.with_columns(
            messages=pl.concat_list("messages", pl.concat_list(_assistant_turn(tags)))
        )
        yield rows.select(with_place.names).to_arrow().cast(with_place)


def _batches(parts: Iterable[Path]) -> Iterator[list[Path]]:
    """Group small parts up to `BATCH_BYTES`, so that many small parts are not slow."""
    batch: list[Path] = []
    size = 0
    for part in parts:
        if batch and size + part.stat().st_size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += part.stat().st_size
    if batch:
        yield batch


def _restrict(frame: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `frame` for the prompts in `own`, so that joins stay small."""
    return frame.join(own, on="prompt_id", how="semi")


def _read_prompts(run: Path, placed: pl.DataFrame) -> pl.DataFrame:
    """Read the prompt columns of the corpus. Of a verifier only the answer: tests can be huge."""
    verifier = pl.col("verifier").str
    question = pl.col("messages").list.last().struct.field("content")
    # A vote is no reference.
    voted = verifier.json_path_match(f"$.{CONSENSUS}").is_not_null()
    answers = (
        pl.when(~voted).then(verifier.json_path_match(path))
        for path in ("$.answer", "$.entry.answer")
    )
    return (
        pl.scan_parquet(run / "prompts.parquet")
        .rename({"id": "prompt_id"})
        .join(placed.lazy().select("prompt_id").unique(), on="prompt_id", how="semi")
        .with_columns(
            answer=pl.coalesce(answers),
            language=pl.when(pl.col("language").is_null())
            .then(question.map_elements(_detect_language, return_dtype=pl.String))
            .otherwise("language"),
            meta=pl.when(pl.col("meta").str.contains(f'"{DRAFT}":', literal=True))
            .then(pl.col("meta").map_elements(remove_draft_text, return_dtype=pl.String))
            .otherwise("meta"),
        )
        .drop("verifier")
        .collect(engine="streaming")
    )


def _detect_language(question: str) -> str | None:
    from filters.language_id.prompt_language import detect_language

    return detect_language(question)


def rewrite_tags(rows: pa.Table, tags: tuple[str, str]) -> pa.Table:
    """Replace the tags around the reasoning in the last turn of corpus rows."""
    if TOOLS in rows.column_names:
        return rewrite_episode_tags(rows, tags)
    turns = pl.col("messages")
    earlier = turns.list.head(turns.list.len() - 1)
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    rewritten = frame.with_columns(
        messages=pl.concat_list(earlier, pl.concat_list(_assistant_turn(tags)))
    )
    return rewritten.select(rows.column_names).to_arrow().cast(rows.schema)


def _assistant_turn(tags: tuple[str, str]) -> pl.Expr:
    """`factory.core.think.join_think` as an expression, with any tags.

    Reasoning that never closed stays open, as it was sampled: without a filter it may be a row.
    """
    thinking, response = (pl.col(name).str.strip_chars() for name in ("thinking", "response"))
    with_think = pl.concat_str(pl.lit(tags[0]), thinking, pl.lit(tags[1]), response)
    content = (
        pl.when(pl.col("thinking").is_null())
        .then("response")
        .when(pl.col("response").is_null())
        .then(pl.concat_str(pl.lit(tags[0]), thinking))
        .otherwise(with_think)
    )
    return pl.struct(role=pl.lit("assistant"), content=content)


def _read_answers(run: Path, parts: list[Path], filters: Mapping[str, Filter]) -> pl.DataFrame:
    if "correctness" not in filters:
        return pl.DataFrame(schema={"sample_id": pl.String, "extracted_answer": pl.String})
    folder = metrics_folder(run, "correctness", filters["correctness"])
    files = [folder / part.name for part in parts]
    return pl.read_parquet(files, columns=["sample_id", "correctness_extracted"]).rename(
        {"correctness_extracted": "extracted_answer"}
    )


def _read_verdicts(
    run: Path, parts: list[Path], filters: Mapping[str, Filter], chosen: pl.DataFrame
) -> pl.DataFrame:
    stages = [name for name, filter_ in filters.items() if filter_.rules()]
    verdicts = pl.read_parquet(
        [run / "verdicts" / part.name for part in parts],
        columns=["sample_id", *map(verdict_column, stages)],
    ).join(chosen, on="sample_id", how="semi")
    if not stages:
        return verdicts.select("sample_id", verdicts=pl.lit([]))
    fields = {
        stage: [pl.col(verdict_column(stage)).struct.field(name) for name in ("decision", "reason")]
        for stage in stages
    }
    # Making lists of structs is slow, and most rows have equal verdicts: one list per combination.
    values = [field.fill_null("") for own in fields.values() for field in own]
    rows = verdicts.with_columns(kind=pl.concat_str(values, separator="\t"))
    own = [
        pl.struct(filter=pl.lit(stage), decision=decision, reason=reason)
        for stage, (decision, reason) in fields.items()
    ]
    kinds = rows.unique("kind").select("kind", verdicts=pl.concat_list(own))
    return rows.join(kinds, on="kind", how="left").select("sample_id", "verdicts")
