"""A run while it is being built: how far it is, how fast, and what it did last."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import yaml

from factory.report.examples import Example, shown
from factory.report.numbers import throughput
from factory.report.rejudge import rejudge
from factory.report.snapshot import UNJUDGED, Snapshot
from filters.base import INPUT_COLUMNS

LAST = 3
NEWEST = 16
"""Unsealed samples judged here to show some: a small run seals nothing before its end."""


@dataclass(frozen=True)
class Status:
    """Where a run stands. `wanted` is None where the policy does not say how many it will draw."""

    state: str
    samples: int
    wanted: int | None
    tokens: int
    kept: int
    rejected: int
    unjudged: int
    tokens_per_second: float | None
    tokens_per_accepted: float | None
    accepted: list[Example] = field(default_factory=list)
    refused: list[Example] = field(default_factory=list)


class Watch:
    """Remembers the verdicts it made of unsealed samples, so that each is judged once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, str | None, str | None]] = OrderedDict()

    def status(self, snapshot: Snapshot) -> Status:
        samples = self._with_newest(snapshot)
        counted = dict(samples.group_by("decision").len().iter_rows())
        speeds = throughput(snapshot)[-3:]
        *_, latest = [{}, *speeds]  # its verdicts are the build's own, ahead of the sealed ones
        accepted = latest.get("accepted")
        seconds = [row["tokens_per_second"] for row in speeds]
        kept = samples.filter(pl.col("decision") == "keep")
        taken = samples.filter(pl.col("decision").is_in(["drop", "undecided"]))
        return Status(
            state=snapshot.state,
            samples=samples.height,
            wanted=_wanted(snapshot),
            tokens=int(samples["n_tokens"].cast(pl.Int64).sum()),
            kept=kept.height,
            rejected=taken.height,
            unjudged=counted.get(UNJUDGED, 0),
            tokens_per_second=sum(seconds) / len(seconds) if seconds else None,
            tokens_per_accepted=latest["tokens"] / accepted if accepted else None,
            accepted=shown(snapshot, _last(kept), excerpt=True),
            refused=shown(snapshot, _last(taken), excerpt=True),
        )

    def _with_newest(self, snapshot: Snapshot) -> pl.DataFrame:
        """The samples, with verdicts for the newest of those that have none."""
        samples = snapshot.samples.with_columns(pl.col("decision", "reason", "filter").cast(str))
        if snapshot.state != "running":
            return samples
        newest = samples.filter(pl.col("decision") == UNJUDGED).sort("created_at").tail(NEWEST)
        unknown = newest.filter(~pl.col("sample_id").is_in(list(self._known)))
        if unknown.height:
            inputs = snapshot.texts(unknown)
            if inputs.height:
                found = rejudge(snapshot, inputs.select(INPUT_COLUMNS)).verdicts
                for row in found.select("sample_id", "decision", "reason", "filter").iter_rows():
                    self._known[row[0]] = row[1:]
        while len(self._known) > 64 * NEWEST:
            self._known.popitem(last=False)
        known = pl.DataFrame(
            [(name, *verdict) for name, verdict in self._known.items()],
            schema=dict.fromkeys(("sample_id", "decision", "reason", "filter"), pl.String),
            orient="row",
        )
        unjudged = samples.filter(pl.col("decision") == UNJUDGED)
        return pl.concat(
            [
                samples.filter(pl.col("decision") != UNJUDGED),
                unjudged.update(known, on="sample_id", how="left"),
            ]
        )


def _last(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.top_k(LAST, by="created_at").sort("created_at", descending=True)


def _wanted(snapshot: Snapshot) -> int | None:
    try:
        recipe: dict[str, Any] = yaml.safe_load((snapshot.run / "recipe.yaml").read_text("utf-8"))
        sampling = recipe.get("sampling") or {}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    if sampling.get("policy", "fixed") != "fixed":
        return None
    n = sampling.get("n", 4)
    return n * snapshot.prompts.height if isinstance(n, int) else None
