"""Example samples for the report: some accepted ones, and some for every drop reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import xxhash
from markupsafe import Markup

from factory.report.browse import format_value
from factory.report.markup import MarkedSpan, render, render_excerpt
from factory.report.snapshot import UNJUDGED, Snapshot
from filters.base import Filter

PER_REASON = 10
MAX_PARTS = 8
"""Most parts that examples are read from; a run may have hundreds, of 64 MB each."""


@dataclass(frozen=True)
class Example:
    """A sample with its texts as safe HTML."""

    sample_id: str
    source: str
    decision: str
    reason: str | None
    n_tokens: int
    question: Markup
    thinking: Markup | None
    response: Markup | None
    cause: str  # the deciding metric with its value and bound
    foreign: list[str] = field(default_factory=list)  # the spans in another language


def choose_examples(snapshot: Snapshot, per_reason: int = PER_REASON) -> dict[str, list[Example]]:
    """Return examples by reason, the accepted ones under "kept". The choice is deterministic."""
    chosen = _choose(snapshot, per_reason)
    if chosen.is_empty():
        return {}
    found: dict[str, list[Example]] = {}
    for example in build_examples(snapshot, chosen, excerpt=True):
        found.setdefault(example.reason or "kept", []).append(example)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "kept", item[0])))


def _choose(snapshot: Snapshot, per_reason: int) -> pl.DataFrame:
    """Choose `per_reason` rows per reason by the hash of their ids, from as few parts as needed."""
    judged = snapshot.samples.filter(pl.col("decision") != UNJUDGED)
    parts = judged["part"].unique(maintain_order=True).to_list()
    step = max(1, len(parts) // MAX_PARTS)
    preferred = parts[::step][:MAX_PARTS]
    near = judged.filter(pl.col("part").is_in(preferred))
    # Read further parts only for reasons too rare to occur in these.
    rare = judged.join(near.select("reason").unique(), on="reason", how="anti", nulls_equal=True)
    pool = pl.concat([near, _first(rare, per_reason)])
    order = [xxhash.xxh3_64_intdigest(name.encode()) for name in pool["sample_id"]]
    ordered = pool.with_columns(pl.Series("order", order, dtype=pl.UInt64)).sort("order")
    return _first(ordered, per_reason).drop("order")


def _first(rows: pl.DataFrame, per_reason: int) -> pl.DataFrame:
    return rows.filter(pl.int_range(pl.len()).over("reason") < per_reason)


def build_examples(snapshot: Snapshot, rows: pl.DataFrame, excerpt: bool = False) -> list[Example]:
    """Build an Example of each row of `samples`. Rows whose text can't be read are left out."""
    texts = {row["sample_id"]: row for row in snapshot.texts(rows).rows(named=True)}
    measured = {row["sample_id"]: row for row in snapshot.measured(rows).rows(named=True)}
    draw = render_excerpt if excerpt else render
    made = []
    for row in rows.rows(named=True):
        text = texts.get(row["sample_id"])
        if text is None:
            continue
        metrics = measured.get(row["sample_id"], {})
        spans = {part: foreign_spans(metrics, part) for part in ("thinking", "response")}
        thinking, response = text["thinking"], text["response"]
        made.append(
            Example(
                sample_id=row["sample_id"],
                source=row["source"],
                decision=row["decision"],
                reason=row["reason"],
                n_tokens=row["n_tokens"],
                question=draw(text["question"]),
                thinking=None if thinking is None else draw(thinking, spans["thinking"]),
                response=None if response is None else draw(response, spans["response"]),
                cause=describe_cause(snapshot.filters, row, metrics),
                foreign=[
                    f"{label}: {(text[part] or '')[start:end][:80]!r}"
                    for part, found in spans.items()
                    for start, end, label in found
                ],
            )
        )
    return made


def foreign_spans(metrics: Mapping[str, Any], part: str) -> list[MarkedSpan]:
    """Return the spans in another language that the language filter found in a part of the text."""
    spans: Iterable[Mapping[str, Any]] = metrics.get(f"language_{part}_spans") or ()
    return [MarkedSpan(span["start"], span["end"], span["language"]) for span in spans]


def describe_cause(
    filters: Mapping[str, Filter], row: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    """Describe the deciding rule: "length_tokens is 9,120, required: at most 8192"."""
    filter_ = filters.get(row["filter"] or "")
    if filter_ is None:
        return str(row["finish_reason"]) if row["filter"] == "engine" else ""
    deciding = [rule for rule in filter_.rules() if rule.reason == row["reason"]]
    return "; ".join(
        f"{rule.metric} is {format_value(metrics.get(rule.metric))}, required: {rule.bound}"
        for rule in deciding
    )
