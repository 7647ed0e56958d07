"""How many samples, tokens and prompts each filter and reason took. Made from the verdicts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from factory.core.errors import RunError
from factory.core.files import write_atomic
from factory.judging.verdicts import load_verdicts


@dataclass(frozen=True)
class Count:
    """Samples and the tokens generated for them."""

    samples: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Taken:
    """What one reason took: `decision` says whether they were dropped or left undecided."""

    filter: str
    reason: str
    decision: str
    count: Count


@dataclass(frozen=True)
class Group:
    """One source, or one domain: what went in and what came out."""

    prompts: int
    covered: int  # prompts with at least one kept sample
    drawn: Count
    kept: Count


@dataclass(frozen=True)
class Funnel:
    """From samples drawn to corpus rows. `rows` is None until a corpus was selected."""

    prompts: int
    drawn: Count
    taken: list[Taken]
    kept: Count
    by_source: dict[str, Group]
    by_domain: dict[str, Group]
    failures: dict[str, int] = field(default_factory=dict)
    rows: Count | None = None

    @property
    def undecided(self) -> Count:
        counts = [taken.count for taken in self.taken if taken.decision == "undecided"]
        return Count(sum(c.samples for c in counts), sum(c.tokens for c in counts))

    @property
    def tokens_per_accepted(self) -> float | None:
        """Generated tokens, the rejected ones included, for each sample kept."""
        return self.drawn.tokens / self.kept.samples if self.kept.samples else None

    def save(self, run: Path) -> None:
        write_atomic(run / "funnel.json", json.dumps(asdict(self), indent=2) + "\n")


def measure_funnel(run: Path, stages: list[str], failures: dict[str, int]) -> Funnel:
    """The funnel of a judged run; `stages` is the order of its filters."""
    verdicts = load_verdicts(run)
    count = {"samples": pl.len(), "tokens": pl.col("n_tokens").cast(pl.Int64).sum()}
    total = verdicts.select(**count).collect().row(0, named=True)
    reasons = (
        verdicts.filter(pl.col("decision") != "keep")
        .group_by("filter", "reason", "decision")
        .agg(**count)
        .collect()
    )
    order = {stage: position for position, stage in enumerate(stages)}
    taken = [
        Taken(row["filter"], row["reason"], row["decision"], Count(row["samples"], row["tokens"]))
        for row in reasons.sort("samples", "reason", descending=[True, False]).rows(named=True)
    ]
    taken.sort(key=lambda item: (item.decision == "undecided", order[item.filter]))
    kept = _kept(verdicts)
    prompts = pl.scan_parquet(run / "prompts.parquet").select(pl.len()).collect().item()
    return Funnel(
        prompts=prompts,
        drawn=Count(**total),
        taken=taken,
        kept=kept,
        by_source=_groups(run, verdicts, "source"),
        by_domain=_groups(run, verdicts, "domain"),
        failures=failures,
    )


def _kept(verdicts: pl.LazyFrame) -> Count:
    kept = verdicts.filter(decision="keep").select(
        samples=pl.len(), tokens=pl.col("n_tokens").cast(pl.Int64).sum()
    )
    return Count(**kept.collect().row(0, named=True))


def _groups(run: Path, verdicts: pl.LazyFrame, key: str) -> dict[str, Group]:
    keep = pl.col("decision") == "keep"
    tokens = pl.col("n_tokens").cast(pl.Int64)
    sampled = verdicts.group_by(key).agg(
        drawn=pl.len(),
        drawn_tokens=tokens.sum(),
        kept=keep.sum(),
        kept_tokens=tokens.filter(keep).sum(),
        covered=pl.col("prompt_id").filter(keep).n_unique(),
    )
    asked = pl.scan_parquet(run / "prompts.parquet").group_by(key).agg(prompts=pl.len())
    rows = asked.join(sampled, on=key, how="left").fill_null(0).sort(key).collect()
    return {
        row[key]: Group(
            row["prompts"],
            row["covered"],
            Count(row["drawn"], row["drawn_tokens"]),
            Count(row["kept"], row["kept_tokens"]),
        )
        for row in rows.rows(named=True)
    }


def load_funnel(run: Path) -> Funnel:
    """The funnel a build saved. Raises RunError where there is none."""
    try:
        data: dict[str, Any] = json.loads((run / "funnel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{run} has no readable funnel.json ({error}); build it first") from error
    return Funnel(
        prompts=data["prompts"],
        drawn=Count(**data["drawn"]),
        taken=[Taken(**{**item, "count": Count(**item["count"])}) for item in data["taken"]],
        kept=Count(**data["kept"]),
        by_source=_load_groups(data["by_source"]),
        by_domain=_load_groups(data["by_domain"]),
        failures=data["failures"],
        rows=Count(**data["rows"]) if data["rows"] else None,
    )


def _load_groups(data: dict[str, Any]) -> dict[str, Group]:
    return {
        name: Group(item["prompts"], item["covered"], Count(**item["drawn"]), Count(**item["kept"]))
        for name, item in data.items()
    }
