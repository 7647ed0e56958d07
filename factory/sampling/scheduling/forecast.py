"""Predicts yield and cost of a whole run from a small real pilot, with intervals.

Each prompt of the pilot shows how often prompts like it succeed and how long their samples are. One
bootstrap replicate resamples the pilot's prompts with replacement, draws a success rate for each
from its Beta posterior (the prior is fitted to the prompts of its source), and runs the build's own
scheduler on a population of such prompts. Many replicates give the interval. It covers the sampling
error of a small pilot. It does not cover a slower engine or prompts unlike the pilot's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import lgamma

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.recipe.sampling import Budget, Sampling
from factory.sampling.scheduling.scheduler import Ticket
from factory.sampling.scheduling.simulate import Draw, simulate

REPLICATES = 60
DRAWS, MIN_PROMPTS = 80_000, 200
"""Simulated samples per policy (about), and the minimum number of prompts in a population. The
sampling error of 200 prompts is small compared to that of a pilot of 64."""
LOW, HIGH = 0.05, 0.95
"""The interval is the middle 90% of the replicates."""

ALL = "all"
"""The value of the `source` column for the whole recipe."""


@dataclass(frozen=True)
class Rates:
    """The cost of tokens: the pilot's speed, and prices where known."""

    tokens_per_second: float
    gpus: int = 1
    per_gpu_hour: float | None = None
    per_million_tokens: float | None = None

    def gpu_hours(self, tokens: float) -> float:
        return self.gpus * tokens / self.tokens_per_second / 3600

    def money(self, tokens: float) -> float | None:
        """Return the cost in money by the known prices, or None if none is known."""
        if self.per_gpu_hour is None and self.per_million_tokens is None:
            return None
        by_hour = (self.per_gpu_hour or 0.0) * self.gpu_hours(tokens)
        return by_hour + (self.per_million_tokens or 0.0) * tokens / 1e6


def choose_pilot(prompts: pl.DataFrame, size: int, seed: int = 0) -> list[str]:
    """Choose `size` prompts (columns id, source) in proportion to the sources, at least one each.

    Returns their ids.
    """
    order = prompts.sort("id").sample(fraction=1.0, shuffle=True, seed=seed)
    share = size / max(1, prompts.height)
    chosen = order.filter(
        pl.int_range(pl.len()).over("source")
        < (pl.len().over("source") * share).round().clip(lower_bound=1)
    )
    return chosen["id"].to_list()


def build_policies(sampling: Sampling, tokens: int, per_prompt: int | None) -> dict[str, Sampling]:
    """Return the recipe's policy and comparable settings of the other policies, by name.

    `tokens` is the expected cost of `n` samples per prompt. If the recipe has no budget, the
    `budget` policy gets half of it.
    """
    if sampling.search is not None:  # a sample of a search costs what no plain sample does
        return {sampling.policy: sampling}
    accept = sampling.accept or min(per_prompt or sampling.n, sampling.n)
    base = sampling.model_dump(exclude={"policy", "accept", "budget", "escalate", "give_up_after"})
    budget = sampling.budget or Budget(tokens=max(1, tokens // 2))
    limit = {"give_up_after": sampling.give_up_after}
    others = {
        "fixed": base,
        "until": {**base, **limit, "accept": accept},
        "difficulty": {**base, **limit, "accept": accept},
        "budget": {**base, **limit, "accept": accept, "budget": budget},
    }
    found = {name: Sampling.model_validate({**o, "policy": name}) for name, o in others.items()}
    return {**found, sampling.policy: sampling}


def forecast(
    pilot: pl.DataFrame,
    prompts: pl.DataFrame,
    policies: Mapping[str, Sampling],
    rates: Rates,
    per_prompt: int | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the forecast: columns policy, source, quantity, low, middle, high.

    `pilot` is a verdict table (prompt_id, source, decision, n_tokens). `prompts` are the recipe's
    prompts (id, source). `per_prompt` is the maximum number of corpus rows per prompt. See
    `compute_quantities` for the quantities.
    """
    sizes = dict(prompts.group_by("source").len().sort("source").iter_rows())
    population = _Population(pilot, list(sizes))
    rows = []
    for name, sampling in policies.items():
        rng = np.random.default_rng(seed)
        replicates = [
            _replicate(population, sampling, list(sizes.values()), rates, per_prompt, rng)
            for _ in range(REPLICATES)
        ]
        for number, source in enumerate([*sizes, ALL]):
            for quantity in replicates[0][number]:
                values = [one[number][quantity] for one in replicates]
                low, middle, high = np.quantile(np.array(values), (LOW, 0.5, HIGH)).tolist()
                rows.append((name, source, quantity, low, middle, high))
    columns = ["policy", "source", "quantity", "low", "middle", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def compare_forecast(
    forecasts: pl.DataFrame,
    verdicts: pl.DataFrame,
    prompts: pl.DataFrame,
    policy: str,
    rates: Rates,
    per_prompt: int | None = None,
) -> pl.DataFrame:
    """Compare a forecast with the finished run.

    Returns the forecast's rows for `policy` with the columns `actual` and `inside` (the interval
    covers the actual value). `rates.tokens_per_second` must be the finished run's own speed.
    """
    keep = pl.col("decision") == "keep"
    by_prompt = verdicts.group_by("prompt_id").agg(
        samples=pl.len(), accepted=keep.sum(), tokens=pl.col("n_tokens").cast(pl.Int64).sum()
    )
    found = prompts.select("source", prompt_id="id").join(by_prompt, on="prompt_id", how="left")
    found = found.fill_null(0)
    rows = []
    for source in [*sorted(found["source"].unique()), ALL]:
        own = found if source == ALL else found.filter(source=source)
        samples = own["samples"].to_numpy().astype(np.int64)
        accepted = own["accepted"].to_numpy().astype(np.int64)
        tokens = float(own["tokens"].sum())
        actual = compute_quantities(samples, accepted, tokens, 1.0, rates, per_prompt)
        rows += [(source, name, value) for name, value in actual.items()]
    outcome = pl.DataFrame(rows, schema=["source", "quantity", "actual"], orient="row")
    return (
        forecasts.filter(policy=policy)
        .join(outcome, on=["source", "quantity"], how="left", maintain_order="left")
        .with_columns(inside=pl.col("actual").is_between(pl.col("low"), pl.col("high")))
    )


def compute_quantities(
    samples: NDArray[np.int64],
    accepted: NDArray[np.int64],
    tokens: float,
    scale: float,
    rates: Rates,
    per_prompt: int | None,
) -> dict[str, float]:
    """Compute the forecast's quantities from per-prompt counts; each prompt stands for `scale`."""
    drawn, kept = float(samples.sum()), float(accepted.sum())
    rows = float(np.minimum(accepted, per_prompt or 1 << 30).sum()) * scale
    total = tokens * scale
    hours, money = rates.gpu_hours(total), rates.money(total)
    per_row = 1 / rows if rows else float("nan")
    found = {
        "samples": drawn * scale,
        "accepted": kept * scale,
        "yield": kept / drawn if drawn else float("nan"),
        "rows": rows,
        "covered": float((accepted > 0).sum()) * scale,
        "tokens": total,
        "tokens_per_row": total * per_row,
        "gpu_hours": hours,
        "gpu_hours_per_row": hours * per_row,
    }
    if money is not None:
        found |= {"money": money, "money_per_row": money * per_row}
    return found


@dataclass(frozen=True)
class _Seen:
    """One pilot prompt: counts of verdicts and sample lengths in tokens."""

    hits: int
    misses: int
    lengths: tuple[list[int], list[int]]  # of the misses, of the hits


class _Population:
    """The pilot's prompts by source, with pooled lengths for prompts that lack them."""

    def __init__(self, pilot: pl.DataFrame, sources: Sequence[str]) -> None:
        pilot = pilot.with_columns(hit=pl.col("decision") == "keep").sort("prompt_id")
        everyone = _summarize_prompts(pilot)
        self.prompts = [
            _summarize_prompts(pilot.filter(source=name)) or everyone for name in sources
        ]
        self.lengths = [_pool_lengths(seen, everyone) for seen in self.prompts]

    def draw(self, sizes: Sequence[int], rng: np.random.Generator) -> tuple[Draw, list[int]]:
        """Return a simulated population with `sizes` prompts per source.

        The first item draws a sample of a prompt, the second is each prompt's source number.
        """
        like: list[tuple[int, _Seen]] = []
        chances: list[float] = []
        for source, size in enumerate(sizes):
            seen = self.prompts[source]
            resampled = [seen[number] for number in rng.integers(len(seen), size=len(seen))]
            alpha, beta = fit_beta([(prompt.hits, prompt.misses) for prompt in resampled])
            # One rate per resampled prompt: all copies of a pilot prompt share it.
            rates = [rng.beta(alpha + prompt.hits, beta + prompt.misses) for prompt in resampled]
            for number in rng.integers(len(resampled), size=size).tolist():
                like.append((source, resampled[number]))
                chances.append(rates[number])
        uniform = random.Random(int(rng.integers(1 << 32))).random  # numpy is slow here

        def outcome(ticket: Ticket) -> tuple[bool, int]:
            source, prompt = like[ticket.prompt]
            hit = uniform() < chances[ticket.prompt]
            lengths = prompt.lengths[hit]
            if not lengths:
                lengths = self.lengths[source][hit]
            return hit, lengths[int(uniform() * len(lengths))]

        return outcome, [source for source, _ in like]


def _summarize_prompts(pilot: pl.DataFrame) -> list[_Seen]:
    found = []
    for _, own in pilot.group_by("prompt_id", maintain_order=True):
        lengths = [own.filter(hit=hit)["n_tokens"].to_list() for hit in (False, True)]
        found.append(_Seen(len(lengths[1]), len(lengths[0]), (lengths[0], lengths[1])))
    return found


def _pool_lengths(seen: Sequence[_Seen], everyone: Sequence[_Seen]) -> tuple[list[int], list[int]]:
    """Return lengths of misses and of hits.

    If a source has none, those of all sources are used, then those of the other outcome.
    """

    def of(hit: int) -> list[int]:
        for prompts, kind in ((seen, hit), (everyone, hit), (everyone, 1 - hit)):
            lengths = [length for prompt in prompts for length in prompt.lengths[kind]]
            if lengths:
                return lengths
        return [1]

    return of(0), of(1)


def fit_beta(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return the maximum-likelihood Beta prior, from a grid, for (hits, misses) per prompt."""

    alike = Counter(counts)

    def likelihood(alpha: float, beta: float) -> float:
        norm = lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
        return sum(
            n * (norm + lgamma(alpha + h) + lgamma(beta + m) - lgamma(alpha + beta + h + m))
            for (h, m), n in alike.items()
        )

    means = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
    weights = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
    grid = [(mean * weight, (1 - mean) * weight) for mean, weight in product(means, weights)]
    return max(grid, key=lambda prior: likelihood(*prior))


def _replicate(
    population: _Population,
    sampling: Sampling,
    sizes: Sequence[int],
    rates: Rates,
    per_prompt: int | None,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Simulate the whole run once. Returns the quantities of each source, then of all."""
    total = sum(sizes)
    size = min(total, max(MIN_PROMPTS, DRAWS // (REPLICATES * sampling.n)))
    share = [max(1, round(size * own / total)) for own in sizes]
    draw, sources = population.draw(share, rng)
    scaled = _scale_budget(sampling, sum(share) / total, rates)
    run = simulate(scaled, len(sources), draw, sources, capacity=max(1, len(sources) // 16))
    numbers = np.array(sources)
    found = []
    for source, own in enumerate(sizes):
        mine = numbers == source
        scale = own / share[source]
        tokens = float(run.tokens[mine].sum())
        samples, accepted = run.samples[mine], run.accepted[mine]
        found.append(compute_quantities(samples, accepted, tokens, scale, rates, per_prompt))
    return [*found, _sum_sources(found, rates)]


def _sum_sources(parts: Sequence[Mapping[str, float]], rates: Rates) -> dict[str, float]:
    """Add up the quantities of several sources, each at full size."""
    whole = {
        name: sum(part[name] for part in parts)
        for name in ("samples", "accepted", "rows", "covered", "tokens", "gpu_hours")
    }
    rows = whole["rows"] or float("nan")
    found = {
        **whole,
        "yield": whole["accepted"] / whole["samples"] if whole["samples"] else float("nan"),
        "tokens_per_row": whole["tokens"] / rows,
        "gpu_hours_per_row": whole["gpu_hours"] / rows,
    }
    money = rates.money(whole["tokens"])
    return found if money is None else {**found, "money": money, "money_per_row": money / rows}


def _scale_budget(sampling: Sampling, share: float, rates: Rates) -> Sampling:
    """Scale the budget to a share of the prompts, in tokens or samples, as there is no clock."""
    if sampling.budget is None:
        return sampling
    budget, prices = sampling.budget, sampling.prices
    limits = [budget.token_limit(prices)]
    limits.append(budget.gpu_hour_limit(prices) * 3600 * rates.tokens_per_second / rates.gpus)
    tokens, samples = min(limits), budget.samples
    parts = {
        "tokens": max(1, int(tokens * share)) if tokens != float("inf") else None,
        "samples": max(1, int(samples * share)) if samples is not None else None,
        "gpu_hours": None,
        "money": None,
    }
    return sampling.model_copy(update={"budget": budget.model_copy(update=parts)})
