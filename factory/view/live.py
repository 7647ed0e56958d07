"""The live status of a run: progress, speed and the latest samples."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from factory.core.yaml_files import read_yaml
from factory.report.examples import Example, build_examples
from factory.report.numbers import throughput
from factory.report.rejudge import rejudge
from factory.report.snapshot import UNJUDGED, Snapshot
from filters.base import INPUT_COLUMNS

LATEST = 3
"""Samples shown of each decision."""
NEWEST = 16
"""Unsealed samples judged here per request: a small run seals no part before its end."""


@dataclass(frozen=True)
class Status:
    """Counts, speed and latest samples of a run.

    `planned` is the number of samples to draw; None where the policy decides it while running.
    """

    state: str
    samples: int
    planned: int | None
    tokens: int
    kept: int
    rejected: int
    unjudged: int
    tokens_per_second: float | None
    tokens_per_accepted: float | None
    latest_accepted: list[Example] = field(default_factory=list)
    latest_rejected: list[Example] = field(default_factory=list)


class LiveStatus:
    """Computes the status of a run. Caches its verdicts on unsealed samples to judge each once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, str | None, str | None]] = OrderedDict()

    def status(self, snapshot: Snapshot) -> Status:
        samples = self._with_newest(snapshot)
        counted = dict(samples.group_by("decision").len().iter_rows())
        speeds = throughput(snapshot)[-3:]
        *_, latest = [{}, *speeds]  # counted by the build, which is ahead of the sealed verdicts
        accepted = latest.get("accepted")
        rates = [row["tokens_per_second"] for row in speeds]
        kept = samples.filter(pl.col("decision") == "keep")
        rejected = samples.filter(pl.col("decision").is_in(["drop", "undecided"]))
        return Status(
            state=snapshot.state,
            samples=samples.height,
            planned=_planned_samples(snapshot),
            tokens=int(samples["n_tokens"].cast(pl.Int64).sum()),
            kept=kept.height,
            rejected=rejected.height,
            unjudged=counted.get(UNJUDGED, 0),
            tokens_per_second=sum(rates) / len(rates) if rates else None,
            tokens_per_accepted=latest["tokens"] / accepted if accepted else None,
            latest_accepted=build_examples(snapshot, _select_latest(kept), excerpt=True),
            latest_rejected=build_examples(snapshot, _select_latest(rejected), excerpt=True),
        )

    def _with_newest(self, snapshot: Snapshot) -> pl.DataFrame:
        """Return the samples, with verdicts added to the newest unjudged ones."""
        samples = snapshot.samples.with_columns(pl.col("decision", "reason", "filter").cast(str))
        if snapshot.state != "running":
            return samples
        newest = samples.filter(pl.col("decision") == UNJUDGED).sort("created_at").tail(NEWEST)
        unknown = newest.filter(~pl.col("sample_id").is_in(list(self._known)))
        if unknown.height:
            inputs = snapshot.texts(unknown)
            if inputs.height:
                found = rejudge(snapshot, inputs.select(INPUT_COLUMNS))
                verdicts = found.verdicts
                if found.skipped:  # what no other filter drops is not known yet
                    verdicts = verdicts.filter(pl.col("decision") == "drop")
                for row in verdicts.select("sample_id", "decision", "reason", "filter").iter_rows():
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


def _select_latest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.top_k(LATEST, by="created_at").sort("created_at", descending=True)


def _planned_samples(snapshot: Snapshot) -> int | None:
    try:
        recipe: dict[str, Any] = read_yaml(snapshot.run / "recipe.yaml")
        sampling = recipe.get("sampling") or {}
    except (OSError, ValueError, AttributeError):
        return None
    if sampling.get("policy", "fixed") not in ("fixed", "beam", "tree"):
        return None
    n = sampling.get("n", 4)
    return n * snapshot.prompts.height if isinstance(n, int) else None
