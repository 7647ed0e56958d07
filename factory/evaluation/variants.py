"""How much a model's results depend on the wording of the prompt (`prompting.variants`).

Every sample got one of the variants, by a hash of its prompt and number. Each variant is compared
with the mean of all on the same prompts, which is much narrower than two independent intervals. The
spread is the best variant's mean minus the worst's. Some spread arises by chance: it is measured by
dealing out the variants again among each prompt's samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.core.run_dir import read_manifest, sample_parts
from factory.evaluation.estimators import MeanEstimate, Resampling
from factory.judging.verdicts import load_verdicts, verdict_column

Floats = NDArray[np.float64]

SHUFFLES = 400
"""Number of times that the variants are dealt out again."""

VARIANT = "prompting.variant"
"""The key of a sample's settings in run.json that names its variant."""


@dataclass(frozen=True)
class VariantResult:
    """One wording: its mean of pass@1, and that minus the mean of all variants, by prompt."""

    samples: int
    mean: MeanEstimate
    difference: MeanEstimate


@dataclass(frozen=True)
class VariantSpread:
    """The results of all variants, and the spread of their means.

    `chance` is the spread to expect where the wording makes no difference (the mean), and
    `chance_high` its 95th percentile. `prompts` counts those with a sample of each of two variants
    at least.
    """

    prompts: int
    spread: float
    chance: float
    chance_high: float
    variants: dict[str, VariantResult]


def load_variant_spread(data: dict[str, Any] | None) -> VariantSpread | None:
    """Return the spread that `asdict` made a mapping of."""
    if data is None:
        return None
    variants = {
        name: VariantResult(
            one["samples"], MeanEstimate(**one["mean"]), MeanEstimate(**one["difference"])
        )
        for name, one in data["variants"].items()
    }
    return VariantSpread(**{**data, "variants": variants})


def measure_spread(run: Path, scores: pl.DataFrame, resampling: Resampling) -> VariantSpread | None:
    """Return the spread of pass@1 over the variants of a judged run; None for a run without any.

    Only prompts of `scores` count, and of each only its first k samples.
    """
    names = {
        key: str(settings[VARIANT])
        for key, settings in read_manifest(run).get("params", {}).items()
        if VARIANT in settings
    }
    if not names:
        return None
    decision = pl.col(verdict_column("correctness")).struct.field("decision")
    drawn = pl.scan_parquet(sample_parts(run)).select("prompt_id", "index", "params_fp")
    right = load_verdicts(run).select(
        "prompt_id",
        "index",
        right=pl.when(decision == "keep").then(1.0).when(decision == "drop").then(0.0),
    )
    rows = (
        right.join(drawn, on=("prompt_id", "index"))
        .with_columns(variant=pl.col("params_fp").replace_strict(names, default=None))
        .collect()
        .join(scores.select("prompt_id", "k"), on="prompt_id")
        .filter((pl.col("index") < pl.col("k")) & pl.col("right").is_not_null())
        .drop_nulls("variant")
        .sort("prompt_id", "index")
    )
    return summarize_variants(rows, list(dict.fromkeys(names.values())), resampling)


def summarize_variants(
    rows: pl.DataFrame, names: list[str], resampling: Resampling
) -> VariantSpread | None:
    """Return the spread over `names` of samples with columns prompt_id, variant, right.

    A prompt with samples of one variant alone says nothing about the others and is left out of the
    differences and the spread. Returns None where no prompt has two variants.
    """
    prompts = rows["prompt_id"].unique(maintain_order=True)
    place = {name: number for number, name in enumerate(prompts)}
    at = np.array([place[name] for name in rows["prompt_id"]], dtype=np.int64)
    which = np.array([names.index(name) for name in rows["variant"]], dtype=np.int64)
    right = rows["right"].to_numpy().astype(np.float64)
    table = _tabulate(at, which, right, len(prompts), len(names))
    paired = (~np.isnan(table)).sum(axis=1) >= 2
    if not paired.any():
        return None
    differences = _center(table[paired])
    means = resampling.estimate(table, [(0.0, 1.0)] * len(names))
    apart = resampling.estimate(differences, [(-1.0, 1.0)] * len(names))
    draw = np.random.default_rng(resampling.seed)
    chance = [
        _spread(_center(_tabulate(at, _deal(which, at, draw), right, *table.shape)[paired]))
        for _ in range(SHUFFLES)
    ]
    counts = np.bincount(which, minlength=len(names))
    return VariantSpread(
        prompts=int(paired.sum()),
        spread=_spread(differences),
        chance=float(np.nanmean(chance)),
        chance_high=float(np.nanquantile(chance, 0.95)),
        variants={
            name: VariantResult(int(count), mean, difference)
            for name, count, mean, difference in zip(names, counts, means, apart, strict=True)
        },
    )


def describe_spread(found: VariantSpread) -> str:
    """Return the spread in one sentence."""
    more = "more" if found.spread > found.chance_high else "no more"
    spread, chance, high = (
        f"{100 * value:.1f}" for value in (found.spread, found.chance, found.chance_high)
    )
    return (
        f"The wording of the prompt moves pass@1 by {spread} points from the worst variant to the "
        f"best, on {found.prompts:,} prompts with two variants or more. That is {more} than chance "
        f"allows: where the wording makes no difference, {chance} points are to be expected, and "
        f"{high} are reached in 5% of cases."
    )


def _tabulate(
    at: NDArray[np.int64], which: NDArray[np.int64], right: Floats, prompts: int, variants: int
) -> Floats:
    """Return the mean of every prompt and variant; NaN where there is no sample."""
    cell = at * variants + which
    size = prompts * variants
    total = np.bincount(cell, weights=right, minlength=size)
    count = np.bincount(cell, minlength=size)
    with np.errstate(invalid="ignore"):
        table: Floats = (total / count).reshape(prompts, variants)
    return table


def _center(table: Floats) -> Floats:
    """Return every cell minus the mean of its prompt's variants."""
    known = ~np.isnan(table)
    mean = np.where(known, table, 0.0).sum(axis=1) / np.maximum(1, known.sum(axis=1))
    centered: Floats = table - mean[:, None]
    return centered


def _spread(differences: Floats) -> float:
    """Return the largest minus the smallest mean difference of a variant."""
    known = ~np.isnan(differences)
    counts = known.sum(axis=0)
    sums = np.where(known, differences, 0.0).sum(axis=0)
    means = sums[counts > 0] / counts[counts > 0]
    return float(np.ptp(means))


def _deal(
    which: NDArray[np.int64], at: NDArray[np.int64], draw: np.random.Generator
) -> NDArray[np.int64]:
    """Return the variants, shuffled among the samples of each prompt. `at` is sorted."""
    order = np.lexsort((draw.random(len(which)), at))
    dealt: NDArray[np.int64] = which[order]
    return dealt
