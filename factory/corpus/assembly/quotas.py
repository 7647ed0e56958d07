"""The contract by domain: which rows fill a quota, and what it would take where they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from factory.corpus.assembly.inputs import Input
from factory.corpus.selection import random_order
from factory.recipe.assembly import Balance, Quota


def fill(rows: pl.DataFrame, quota: Quota, balance: Balance, seed: int) -> pl.DataFrame:
    """As many of a domain's rows as its quota takes.

    Every prompt gives its first row (`nth` 0) before any gives its second; within that, by hash.
    Bands of difficulty take turns by their shares: sorting by (place in band) / share deals rows
    out to them in proportion, and what a band cannot give falls to the others.
    """
    edges, weights = list(balance.edges), balance.weights()
    band = pl.sum_horizontal(pl.lit(0), *(pl.col("pass_rate") >= edge for edge in edges))
    banded = rows.with_columns(
        band=pl.when(pl.col("pass_rate").is_null()).then(-1).otherwise(band.cast(pl.Int8)),
        order=random_order(rows["sample_id"], f"quota-{seed}"),
    ).sort("nth", "order", "sample_id")
    unknown = banded.filter(pl.col("band") == -1).height
    # Rows of unknown difficulty keep their own proportion: neither sought nor shunned.
    own = sum(weights) * unknown / max(rows.height - unknown, 1)
    shares = dict(enumerate(weights)) | {-1: own or 1.0}
    share = pl.col("band").replace_strict(shares, return_dtype=pl.Float64)
    dealt = banded.with_columns(
        turn=(pl.int_range(pl.len()).over("band") + 0.5) / share,
    ).sort("turn", "nth", "order", "sample_id")
    if quota.rows is not None:
        taken = dealt.head(quota.rows)
    else:
        before = pl.col("n_tokens").cast(pl.Int64).cum_sum() - pl.col("n_tokens")
        taken = dealt.filter(before < quota.tokens)
    return taken.select(rows.columns)


@dataclass(frozen=True)
class Shortfall:
    """A quota that could not be filled, and what would fill it."""

    domain: str
    unit: str  # rows or tokens
    wanted: int
    found: int
    rows_a_prompt: float | None  # the yield so far: rows that could be taken for a prompt asked
    extra_prompts: int | None  # None: nothing came of any so far
    extra_samples: int | None  # of the prompts at hand; None: no number of them will do
    samples_a_prompt: int | None  # at most so many of them for each

    def __str__(self) -> str:
        lacking = self.wanted - self.found
        words = f"{self.domain}: {self.found:,} of {self.wanted:,} {self.unit}, {lacking:,} short; "
        if self.extra_prompts is None:
            return words + "no run offers a row of this domain: add one to runs"
        words += (
            f"about {_number(self.extra_prompts, 'more prompt')} would do "
            f"(at {self.rows_a_prompt:.2f} rows a prompt)"
        )
        if self.extra_samples is None:
            return words + "; more samples of the same prompts would not"
        return words + (
            f", or about {_number(self.extra_samples, 'more sample')} of the same prompts "
            f"(up to {self.samples_a_prompt:,} each)"
        )


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"


def shortfall(
    domain: str,
    quota: Quota,
    found: pl.DataFrame,
    uncapped: pl.DataFrame,
    per_prompt: int | None,
    inputs: Sequence[Input],
) -> Shortfall | None:
    """None where `found`, the domain's rows after every selection, fills its quota.

    `uncapped` are the same before `per_prompt`: their numbers tell what a further sample yields.
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
    asked = max(_prompts_asked(domain, inputs), found["prompt_id"].n_unique())
    a_prompt = found.height / asked
    samples, each = _extra_samples(uncapped, per_prompt, lacking) or (None, None)
    return Shortfall(
        domain, unit, wanted, got, a_prompt, math.ceil(lacking / a_prompt), samples, each
    )


def _prompts_asked(domain: str, inputs: Sequence[Input]) -> int:
    """Prompts that the runs sampled for this domain, those that gave nothing included."""
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
    """Samples to draw in all and of each prompt, if its kept share stays what it was so far."""
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
