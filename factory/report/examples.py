"""Samples to look at: some that were accepted, and some for every reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import xxhash
from markupsafe import Markup

from factory.report.browse import in_short
from factory.report.markup import Stretch, render, render_excerpt
from factory.report.snapshot import UNJUDGED, Snapshot
from filters.base import Filter

PER_REASON = 10
MAX_PARTS = 8
"""Parts that examples are read from: a run may have hundreds, of 64 MB each."""


@dataclass(frozen=True)
class Example:
    """A sample ready to be shown."""

    sample_id: str
    source: str
    decision: str
    reason: str | None
    n_tokens: int
    question: Markup
    thinking: Markup | None
    response: Markup | None
    cause: str  # the metric that decided, its value and its bound
    stretches: list[str] = field(default_factory=list)


def examples(snapshot: Snapshot, per_reason: int = PER_REASON) -> dict[str, list[Example]]:
    """Accepted ones under "kept", rejected ones under their reason. The same ones each time."""
    chosen = _choose(snapshot, per_reason)
    if chosen.is_empty():
        return {}
    found: dict[str, list[Example]] = {}
    for example in shown(snapshot, chosen, excerpt=True):
        found.setdefault(example.reason or "kept", []).append(example)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "kept", item[0])))


def _choose(snapshot: Snapshot, per_reason: int) -> pl.DataFrame:
    """`per_reason` rows a reason, from as few parts as will do, by the hash of their ids."""
    judged = snapshot.samples.filter(pl.col("decision") != UNJUDGED)
    parts = judged["part"].unique(maintain_order=True).to_list()
    step = max(1, len(parts) // MAX_PARTS)
    preferred = parts[::step][:MAX_PARTS]
    near = judged.filter(pl.col("part").is_in(preferred))
    # A reason too rare to be in those parts is worth reading another part for.
    rare = judged.join(near.select("reason").unique(), on="reason", how="anti", nulls_equal=True)
    pool = pl.concat([near, _first(rare, per_reason)])
    order = [xxhash.xxh3_64_intdigest(name.encode()) for name in pool["sample_id"]]
    ordered = pool.with_columns(pl.Series("order", order, dtype=pl.UInt64)).sort("order")
    return _first(ordered, per_reason).drop("order")


def _first(rows: pl.DataFrame, per_reason: int) -> pl.DataFrame:
    return rows.filter(pl.int_range(pl.len()).over("reason") < per_reason)


def shown(snapshot: Snapshot, rows: pl.DataFrame, excerpt: bool = False) -> list[Example]:
    """Rows of `samples` with their text as safe HTML and what decided them."""
    texts = {row["sample_id"]: row for row in snapshot.texts(rows).rows(named=True)}
    measured = {row["sample_id"]: row for row in snapshot.measured(rows).rows(named=True)}
    draw = render_excerpt if excerpt else render
    made = []
    for row in rows.rows(named=True):
        text = texts.get(row["sample_id"])
        if text is None:
            continue
        metrics = measured.get(row["sample_id"], {})
        spans = {part: stretches(metrics, part) for part in ("thinking", "response")}
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
                cause=cause(snapshot.filters, row, metrics),
                stretches=[
                    f"{label}: {(text[part] or '')[start:end][:80]!r}"
                    for part, found in spans.items()
                    for start, end, label in found
                ],
            )
        )
    return made


def stretches(metrics: Mapping[str, Any], part: str) -> list[Stretch]:
    """The foreign stretches of `thinking` or `response`, as the language filter found them."""
    spans: Iterable[Mapping[str, Any]] = metrics.get(f"language_{part}_spans") or ()
    return [Stretch(span["start"], span["end"], span["language"]) for span in spans]


def cause(filters: Mapping[str, Filter], row: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """ "length_tokens 9,120, at most 8192": what the deciding rule saw and wanted."""
    judge = filters.get(row["filter"] or "")
    if judge is None:
        return str(row["finish_reason"]) if row["filter"] == "engine" else ""
    told = [rule for rule in judge.rules() if rule.reason == row["reason"]]
    return "; ".join(
        f"{rule.metric} is {in_short(metrics.get(rule.metric))}, wanted: {rule.bound}"
        for rule in told
    )
