"""Quotas per domain: which rows fill a quota, and what would fill it if they don't."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from factory.corpus.assembly.inputs import Input
from factory.corpus.selection import random_order
from factory.recipe.assembly import Balance, Quota


def fill_quota(rows: pl.DataFrame, quota: Quota, balance: Balance, seed: int) -> pl.DataFrame:
    """Return as many rows of a domain as its quota allows.

    Every prompt gives its first row (`nth` 0) before any prompt gives its second; otherwise rows
    are ordered by hash. Bands of difficulty get rows in proportion to their shares: rows are sorted
    by (position in band) / share. If a band has too few rows, the other bands fill the gap.
    """
    edges, weights = list(balance.edges), balance.weights()
    band = pl.sum_horizontal(pl.lit(0), *(pl.col("pass_rate") >= edge for edge in edges))
    banded = rows.with_columns(
        band=pl.when(pl.col("pass_rate").is_null()).then(-1).otherwise(band.cast(pl.Int8)),
        order=random_order(rows["sample_id"], f"quota-{seed}"),
    ).sort("nth", "order", "sample_id")
    unknown = banded.filter(pl.col("band") == -1).height
    # Rows of unknown difficulty keep their own proportion.
    own = sum(weights) * unknown / max(rows.height - unknown, 1)
    shares = dict(enumerate(weights)) | {-1: own or 1.0}
    share = pl.col("band").replace_strict(shares, return_dtype=pl.Float64)
    dealt = banded.with_columns(
        turn=(pl.int_range(pl.len()).over("band") + 0.5) / share,
    ).sort("turn", "nth", "order", "sample_id")
    if quota.rows is not None:
        chosen = dealt.head(quota.rows)
    else:
        before = pl.col("n_tokens").cast(pl.Int64).cum_sum() - pl.col("n_tokens")
        chosen = dealt.filter(before < quota.tokens)
    return chosen.select(rows.columns)


@dataclass(frozen=True)
class Shortfall:
    """A quota that could not be filled, and what would fill it."""

    domain: str
    unit: str  # rows or tokens
    wanted: int
    found: int
    rows_a_prompt: float | None  # the yield so far: usable rows per sampled prompt
    extra_prompts: int | None  # None: no yield so far
    extra_samples: int | None  # of the same prompts; None: no number is enough
    samples_a_prompt: int | None  # maximum extra samples per prompt

    def __str__(self) -> str:
        lacking = self.wanted - self.found
        text = f"{self.domain}: {self.found:,} of {self.wanted:,} {self.unit}, {lacking:,} short; "
        if self.extra_prompts is None:
            return text + "no run has rows of this domain: add one to runs"
        text += (
            f"about {_number(self.extra_prompts, 'more prompt')} would fill it "
            f"(at {self.rows_a_prompt:.2f} rows per prompt)"
        )
        if self.extra_samples is None:
            return text + "; more samples of the same prompts would not"
        return text + (
            f", or about {_number(self.extra_samples, 'more sample')} of the same prompts "
            f"(up to {self.samples_a_prompt:,} each)"
        )


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"


def measure_shortfall(
    domain: str,
    quota: Quota,
    found: pl.DataFrame,
    uncapped: pl.DataFrame,
    per_prompt: int | None,
    inputs: Sequence[Input],
) -> Shortfall | None:
    """Return the shortfall, or None if `found` (the domain's selected rows) fills the quota.

    `uncapped` are the rows before the `per_prompt` limit: they give the yield of further samples.
    """
    unit = "rows" if quota.rows is not None else "tokens"
    tokens = int(found["n_tokens"].sum())
    wanted, got = (quota.rows, found.height) if quota.rows else (quota.tokens or 0, tokens)
    assert wanted is not None
    if got >= wanted:
        return None
    if not found.height:
        return Shortfall(domain, unit, wanted, 0, None, None, None, None)
    lacking = wanted - got
    if unit == "tokens":
        lacking = math.ceil(lacking * found.height / max(tokens, 1))
    asked = max(_count_prompts(domain, inputs), found["prompt_id"].n_unique())
    a_prompt = found.height / asked
    samples, each = _extra_samples(uncapped, per_prompt, lacking) or (None, None)
    return Shortfall(
        domain, unit, wanted, got, a_prompt, math.ceil(lacking / a_prompt), samples, each
    )


def _count_prompts(domain: str, inputs: Sequence[Input]) -> int:
    """Return the number of prompts sampled for this domain, including those without rows."""
    asked = 0
    for given in inputs:
        wanted = given.source.domains
        if given.funnel is None or (wanted and domain not in wanted):
            continue
        groups, names = given.funnel.by_domain, [domain]
        if given.source.sources:
            groups, names = given.funnel.by_source, list(given.source.sources)
        asked += sum(groups[name].prompts for name in names if name in groups)
    return asked


def _extra_samples(
    rows: pl.DataFrame, per_prompt: int | None, lacking: int
) -> tuple[int, int] | None:
    """Return the samples needed in total and per prompt, if each prompt's yield stays the same."""
    drawn = rows.group_by("prompt_id", "run").agg(
        kept=pl.len(), drawn=pl.col("n_samples").max().cast(pl.Int64)
    )
    prompts = drawn.group_by("prompt_id").agg(pl.col("kept", "drawn").sum())
    prompts = prompts.filter(pl.col("drawn") > 0)
    rate = (prompts["kept"] / prompts["drawn"]).clip(0, 1).to_numpy()
    cap = math.inf if per_prompt is None else float(per_prompt)
    room = np.maximum(cap - prompts["kept"].to_numpy(), 0.0)
    if not rate.size or room.sum() < lacking:
        return None

    def gained(each: int) -> float:
        return float(np.minimum(room, each * rate).sum())

    high = 1
    while gained(high) < lacking:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if gained(middle) >= lacking else (middle, high)
    return math.ceil(np.minimum(room / rate, high).sum()), high
