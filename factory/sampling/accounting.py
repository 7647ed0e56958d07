"""Token accounting: tokens by endpoint or replica, and by source and sample outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

OUTCOMES = ("accepted", "rejected", "undecided", "aborted", "early_stopped")
"""Possible outcomes of a sample. `aborted`: its prompt already had enough accepted samples."""

_CUT = {"abort": "aborted", "early_stop": "early_stopped"}
_DECIDED = {"keep": "accepted", "drop": "rejected"}


def outcome_expr() -> pl.Expr:
    """Polars expression for the outcome of each row (columns `decision`, `finish_reason`)."""
    decided = pl.col("decision").replace_strict(_DECIDED, default="undecided")
    return pl.coalesce(pl.col("finish_reason").replace_strict(_CUT, default=None), decided)


def classify_outcome(decision: str, finish_reason: str) -> str:
    """Return the outcome of one sample: one of `OUTCOMES`."""
    return _CUT.get(finish_reason) or _DECIDED.get(decision, "undecided")


class Ledger:
    """Samples and tokens of a run in progress, by source and outcome."""

    def __init__(self) -> None:
        self.samples: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.tokens: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, source: str, outcome: str, tokens: int) -> None:
        """Count one sample of `source`."""
        self.samples[source][outcome] += 1
        self.tokens[source][outcome] += tokens

    def totals(self) -> tuple[Counter[str], Counter[str]]:
        """Return samples and tokens by outcome, summed over all sources."""
        return sum(self.samples.values(), Counter()), sum(self.tokens.values(), Counter())


def token_account(
    verdicts: pl.DataFrame | pl.LazyFrame, seconds: float | None = None
) -> pl.DataFrame:
    """Return one row per source and one row `all` for the whole run.

    Columns: `source`, `samples`, `tokens`; two columns per outcome, such as `rejected_samples`
    and `rejected_tokens`; and `tokens_per_accepted`, which divides all tokens by the accepted
    samples. If `seconds` (sampling time) is given, `seconds_per_accepted` is added. Each source
    gets a share of the time in proportion to its tokens.
    """
    narrow = verdicts.lazy().select(
        "source", tokens=pl.col("n_tokens").cast(pl.Int64), outcome=outcome_expr().cast(pl.String)
    )
    every = pl.concat([narrow, narrow.with_columns(source=pl.lit("all"))])
    masks = [(name, pl.col("outcome") == name) for name in OUTCOMES]
    account = every.group_by("source").agg(
        samples=pl.len(),
        tokens=pl.col("tokens").sum(),
        **{f"{name}_samples": mask.sum() for name, mask in masks},
        **{f"{name}_tokens": pl.col("tokens").filter(mask).sum() for name, mask in masks},
    )
    accepted = pl.when(pl.col("accepted_samples") > 0).then("accepted_samples")
    account = account.with_columns(tokens_per_accepted=pl.col("tokens") / accepted)
    if seconds is not None:
        whole = pl.col("tokens").filter(pl.col("source") == "all").first()
        share = pl.col("tokens") / whole
        account = account.with_columns(seconds_per_accepted=seconds * share / accepted)
    return account.sort(pl.col("source") == "all", "source").collect()


def worker_account(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per endpoint or replica from a run's log, summed over all processes.

    Entries of one process are cumulative, so only its last entry counts. A new process starts
    with an `engine_started` event.
    """
    rows: dict[str, dict[str, Any]] = {}
    entries: list[Mapping[str, Any]] = []
    for event in [*events, {"event": "engine_started"}]:
        if event["event"] != "engine_started":
            entries = event.get("workers", entries)
            continue
        for entry in entries:
            empty = {"name": entry["name"], "samples": 0, "tokens": 0, "seconds": 0.0, "faults": 0}
            row = rows.setdefault(entry["name"], empty)
            for key in ("samples", "tokens", "seconds"):
                row[key] += entry[key]
            row["faults"] += sum(entry["faults"].values())
        entries = []
    for row in rows.values():
        row["tokens_per_second"] = row["tokens"] / row["seconds"] if row["seconds"] else 0.0
    return list(rows.values())
