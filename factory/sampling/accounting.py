"""Where tokens came from, by endpoint or replica, and where they went: accepted, rejected,
undecided, aborted, stopped early; by source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

FATES = ("accepted", "rejected", "undecided", "aborted", "early_stopped")
"""What became of a sample. Aborted: superfluous, since its prompt had enough."""

_CUT = {"abort": "aborted", "early_stop": "early_stopped"}
_DECIDED = {"keep": "accepted", "drop": "rejected"}


def fate() -> pl.Expr:
    """The fate of each row of a verdict table (`decision`, `finish_reason`)."""
    decided = pl.col("decision").replace_strict(_DECIDED, default="undecided")
    return pl.coalesce(pl.col("finish_reason").replace_strict(_CUT, default=None), decided)


def fate_of(decision: str, finish_reason: str) -> str:
    """The fate of one sample."""
    return _CUT.get(finish_reason) or _DECIDED.get(decision, "undecided")


class Ledger:
    """The account of a run in progress: samples and tokens by source and fate."""

    def __init__(self) -> None:
        self.samples: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.tokens: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, source: str, fate: str, tokens: int) -> None:
        self.samples[source][fate] += 1
        self.tokens[source][fate] += tokens

    def whole(self) -> tuple[Counter[str], Counter[str]]:
        """Samples and tokens by fate, over all sources."""
        return sum(self.samples.values(), Counter()), sum(self.tokens.values(), Counter())


def token_account(
    verdicts: pl.DataFrame | pl.LazyFrame, seconds: float | None = None
) -> pl.DataFrame:
    """One row a source and one, `all`, for the whole.

    Columns: source; samples and tokens; for each of `FATES` its samples and its tokens, as in
    `rejected_tokens`; tokens_per_accepted, all tokens counted. With the `seconds` that sampling
    took, seconds_per_accepted too, a source's share being that of its tokens.
    """
    narrow = verdicts.lazy().select(
        "source", tokens=pl.col("n_tokens").cast(pl.Int64), fate=fate().cast(pl.String)
    )
    every = pl.concat([narrow, narrow.with_columns(source=pl.lit("all"))])
    of = [(name, pl.col("fate") == name) for name in FATES]
    account = every.group_by("source").agg(
        samples=pl.len(),
        tokens=pl.col("tokens").sum(),
        **{f"{name}_samples": own.sum() for name, own in of},
        **{f"{name}_tokens": pl.col("tokens").filter(own).sum() for name, own in of},
    )
    accepted = pl.when(pl.col("accepted_samples") > 0).then("accepted_samples")
    account = account.with_columns(tokens_per_accepted=pl.col("tokens") / accepted)
    if seconds is not None:
        whole = pl.col("tokens").filter(pl.col("source") == "all").first()
        share = pl.col("tokens") / whole
        account = account.with_columns(seconds_per_accepted=seconds * share / accepted)
    return account.sort(pl.col("source") == "all", "source").collect()


def worker_account(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each endpoint or replica did, from a run's log: one row each, over all sittings.

    Within a sitting each entry tells the whole so far, so the last counts.
    """
    rows: dict[str, dict[str, Any]] = {}
    sitting: list[Mapping[str, Any]] = []
    for event in [*events, {"event": "engine_started"}]:
        if event["event"] != "engine_started":
            sitting = event.get("workers", sitting)
            continue
        for told in sitting:
            empty = {"name": told["name"], "samples": 0, "tokens": 0, "seconds": 0.0, "faults": 0}
            row = rows.setdefault(told["name"], empty)
            for key in ("samples", "tokens", "seconds"):
                row[key] += told[key]
            row["faults"] += sum(told["faults"].values())
        sitting = []
    for row in rows.values():
        row["tokens_per_second"] = row["tokens"] / row["seconds"] if row["seconds"] else 0.0
    return list(rows.values())
