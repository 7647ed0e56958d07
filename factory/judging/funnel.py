"""The funnel: samples, tokens and prompts that each filter and reason removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from factory.core.errors import RunError
from factory.core.files import write_atomic
from factory.core.run_dir import read_manifest, sample_parts
from factory.judging.metrics import sample_key, scan_samples
from factory.judging.verdicts import load_verdicts
from factory.recipe.engines.options import TokenPrices


@dataclass(frozen=True)
class SampleCount:
    """Samples and the tokens generated for them."""

    samples: int = 0
    tokens: int = 0

    def add(self, other: SampleCount) -> SampleCount:
        return SampleCount(self.samples + other.samples, self.tokens + other.tokens)


@dataclass(frozen=True)
class Removal:
    """What one reason removed. `decision` is drop or undecided."""

    filter: str
    reason: str
    decision: str
    count: SampleCount


@dataclass(frozen=True)
class Group:
    """The totals of one source or domain."""

    prompts: int
    covered: int  # prompts with at least one kept sample
    drawn: SampleCount
    kept: SampleCount


@dataclass(frozen=True)
class TeacherCount:
    """What one teacher has drawn, and what it cost by the recipe's prices."""

    name: str
    drawn: SampleCount
    kept: SampleCount
    prompt_tokens: int
    price: float

    @property
    def share(self) -> float:
        return self.kept.samples / max(1, self.drawn.samples)

    @property
    def price_per_accepted(self) -> float | None:
        return self.price / self.kept.samples if self.kept.samples else None

    def add(self, other: TeacherCount) -> TeacherCount:
        """Return the counts of both, which are of one teacher in two runs."""
        return TeacherCount(
            self.name,
            self.drawn.add(other.drawn),
            self.kept.add(other.kept),
            self.prompt_tokens + other.prompt_tokens,
            self.price + other.price,
        )

    def to_row(self) -> dict[str, Any]:
        """Return the counts as a row of a table."""
        return {
            "teacher": self.name,
            "samples": self.drawn.samples,
            "accepted": self.kept.samples,
            "share": self.share,
            "tokens": self.drawn.tokens,
            "prompt_tokens": self.prompt_tokens,
            "price": self.price,
            "price_per_accepted": self.price_per_accepted,
        }


@dataclass(frozen=True)
class Funnel:
    """From generated samples to corpus rows. `rows` is None until a corpus was selected."""

    prompts: int
    drawn: SampleCount
    taken: list[Removal]
    kept: SampleCount
    by_source: dict[str, Group]
    by_domain: dict[str, Group]
    failures: dict[str, int] = field(default_factory=dict)
    rows: SampleCount | None = None
    by_teacher: list[TeacherCount] = field(default_factory=list)

    @property
    def undecided(self) -> SampleCount:
        counts = [removal.count for removal in self.taken if removal.decision == "undecided"]
        return SampleCount(sum(c.samples for c in counts), sum(c.tokens for c in counts))

    @property
    def tokens_per_accepted(self) -> float | None:
        """Generated tokens, including those of rejected samples, per kept sample."""
        return self.drawn.tokens / self.kept.samples if self.kept.samples else None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def save(self, run: Path) -> None:
        write_atomic(run / "funnel.json", self.to_json())


def measure_funnel(run: Path, stages: list[str], failures: dict[str, int]) -> Funnel:
    """Compute the funnel of a judged run. `stages` is the order of its filters."""
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
        Removal(
            row["filter"],
            row["reason"],
            row["decision"],
            SampleCount(row["samples"], row["tokens"]),
        )
        for row in reasons.sort("samples", "reason", descending=[True, False]).rows(named=True)
    ]
    taken.sort(key=lambda item: (item.decision == "undecided", order[item.filter]))
    kept = _count_kept(verdicts)
    prompts = pl.scan_parquet(run / "prompts.parquet").select(pl.len()).collect().item()
    return Funnel(
        prompts=prompts,
        drawn=SampleCount(**total),
        taken=taken,
        kept=kept,
        by_source=_group(run, verdicts, "source"),
        by_domain=_group(run, verdicts, "domain"),
        failures=failures,
        by_teacher=_count_teachers_of(run, verdicts),
    )


def _count_teachers_of(run: Path, verdicts: pl.LazyFrame) -> list[TeacherCount]:
    manifest, parts = read_manifest(run), sample_parts(run)
    if not manifest.get("teachers") or not parts:
        return []
    drawn = scan_samples(parts).select(sample_key(), "n_tokens", "n_prompt_tokens", "params_fp")
    decided = verdicts.select("sample_id", "decision")
    return count_teachers(manifest, drawn.join(decided, on="sample_id").collect())


def count_teachers(manifest: Mapping[str, Any], samples: pl.DataFrame) -> list[TeacherCount]:
    """Count the judged samples of each teacher; none where the recipe has no teachers.

    `samples` has params_fp, n_tokens, n_prompt_tokens and decision. The manifest has the teachers'
    prices and says whose settings a sample was drawn with.
    """
    prices = manifest.get("teachers")
    if not prices:
        return []
    names = {found: settings.get("teacher") for found, settings in manifest["params"].items()}
    keep = pl.col("decision").cast(pl.String) == "keep"
    tokens, prompt_tokens = (pl.col(n).cast(pl.Int64) for n in ("n_tokens", "n_prompt_tokens"))
    counted = samples.group_by(
        teacher=pl.col("params_fp").cast(pl.String).replace_strict(names, default=None)
    ).agg(
        drawn=pl.struct(samples=pl.len(), tokens=tokens.sum()),
        kept=pl.struct(samples=keep.sum(), tokens=tokens.filter(keep).sum()),
        prompt_tokens=prompt_tokens.sum(),
    )
    found = {row["teacher"]: row for row in counted.rows(named=True)}
    nothing = {"drawn": {}, "kept": {}, "prompt_tokens": 0}
    return [
        TeacherCount(
            name,
            SampleCount(**row["drawn"]),
            SampleCount(**row["kept"]),
            row["prompt_tokens"],
            TokenPrices(**own).cost(row["drawn"].get("tokens", 0), row["prompt_tokens"]) / 1e6,
        )
        for name, own in prices.items()
        for row in [found.get(name, nothing)]
    ]


def _count_kept(verdicts: pl.LazyFrame) -> SampleCount:
    kept = verdicts.filter(decision="keep").select(
        samples=pl.len(), tokens=pl.col("n_tokens").cast(pl.Int64).sum()
    )
    return SampleCount(**kept.collect().row(0, named=True))


def _group(run: Path, verdicts: pl.LazyFrame, key: str) -> dict[str, Group]:
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
            SampleCount(row["drawn"], row["drawn_tokens"]),
            SampleCount(row["kept"], row["kept_tokens"]),
        )
        for row in rows.rows(named=True)
    }


def load_funnel(run: Path) -> Funnel:
    """Load the funnel that a build saved. Raises RunError if there is none."""
    try:
        return _load(json.loads((run / "funnel.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{run} has no readable funnel.json ({error}); build it first") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{run / 'funnel.json'} is damaged ({type(error).__name__}: {error}). `factory repair "
            f"{run}` removes it, and the next build makes it again."
        ) from error


def _load(data: dict[str, Any]) -> Funnel:
    return Funnel(
        prompts=data["prompts"],
        drawn=SampleCount(**data["drawn"]),
        taken=[
            Removal(**{**item, "count": SampleCount(**item["count"])}) for item in data["taken"]
        ],
        kept=SampleCount(**data["kept"]),
        by_source=_load_groups(data["by_source"]),
        by_domain=_load_groups(data["by_domain"]),
        failures=data["failures"],
        rows=SampleCount(**data["rows"]) if data["rows"] else None,
        by_teacher=[  # absent in an older run
            TeacherCount(
                **{
                    **item,
                    "drawn": SampleCount(**item["drawn"]),
                    "kept": SampleCount(**item["kept"]),
                }
            )
            for item in data.get("by_teacher", [])
        ],
    )


def _load_groups(data: dict[str, Any]) -> dict[str, Group]:
    return {
        name: Group(
            item["prompts"],
            item["covered"],
            SampleCount(**item["drawn"]),
            SampleCount(**item["kept"]),
        )
        for name, item in data.items()
    }
