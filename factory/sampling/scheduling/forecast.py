"""From a small real pilot: what the whole run will give and cost, and how sure that is.

Each prompt of the pilot says how often its like succeeds and how long its samples run. A guess at
the whole takes the pilot's prompts anew, with repetition (the bootstrap), gives each a success rate
that its verdicts allow (a Beta posterior, its prior fitted to the prompts of its source), and lets
the build's own scheduler sample a crowd of them. Many guesses give the interval. It covers what a
small pilot leaves open, not an engine that will be slower or prompts that are unlike the pilot's.
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

GUESSES = 60
DRAWS, LEAST = 80_000, 200
"""Simulated samples for one policy, about, and the least number of prompts in a crowd: the chance
in a crowd of 200 is small beside what a pilot of 64 leaves open."""
LOW, HIGH = 0.05, 0.95
"""The interval is the middle 90% of the guesses."""

ALL = "all"
"""Stands in the `source` column for the whole recipe."""


@dataclass(frozen=True)
class Rates:
    """What tokens cost: the speed the pilot had, and prices where they are known."""

    tokens_per_second: float
    gpus: int = 1
    per_gpu_hour: float | None = None
    per_million_tokens: float | None = None

    def gpu_hours(self, tokens: float) -> float:
        return self.gpus * tokens / self.tokens_per_second / 3600

    def money(self, tokens: float) -> float | None:
        """By whichever prices there are; None where there is none."""
        if self.per_gpu_hour is None and self.per_million_tokens is None:
            return None
        by_hour = (self.per_gpu_hour or 0.0) * self.gpu_hours(tokens)
        return by_hour + (self.per_million_tokens or 0.0) * tokens / 1e6


def choose_pilot(prompts: pl.DataFrame, size: int, seed: int = 0) -> list[str]:
    """Ids of `size` prompts (columns id, source): every source in proportion, none left out."""
    order = prompts.sort("id").sample(fraction=1.0, shuffle=True, seed=seed)
    share = size / max(1, prompts.height)
    chosen = order.filter(
        pl.int_range(pl.len()).over("source")
        < (pl.len().over("source") * share).round().clip(lower_bound=1)
    )
    return chosen["id"].to_list()


def alternatives(sampling: Sampling, tokens: int, per_prompt: int | None) -> dict[str, Sampling]:
    """The recipe's policy and what the others would be in its place.

    `tokens` is what `n` samples of every prompt are expected to take: where the recipe names no
    budget, the one shown is half of it.
    """
    accept = sampling.accept or min(per_prompt or sampling.n, sampling.n)
    base = sampling.model_dump(exclude={"policy", "accept", "budget", "escalate", "give_up_after"})
    budget = sampling.budget or Budget(tokens=max(1, tokens // 2))
    patience = {"give_up_after": sampling.give_up_after}
    others = {
        "fixed": base,
        "until": {**base, **patience, "accept": accept},
        "difficulty": {**base, **patience, "accept": accept},
        "budget": {**base, **patience, "accept": accept, "budget": budget},
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
    """policy, source, quantity, low, middle, high: see `quantities` for the quantities.

    `pilot` is a verdict table (prompt_id, source, decision, n_tokens), `prompts` the recipe's
    prompts (id, source), `per_prompt` the rows the corpus takes of one prompt at most.
    """
    sizes = dict(prompts.group_by("source").len().sort("source").iter_rows())
    crowd = _Crowd(pilot, list(sizes))
    rows = []
    for name, sampling in policies.items():
        rng = np.random.default_rng(seed)
        guesses = [
            _guess(crowd, sampling, list(sizes.values()), rates, per_prompt, rng)
            for _ in range(GUESSES)
        ]
        for number, source in enumerate([*sizes, ALL]):
            for quantity in guesses[0][number]:
                values = [guess[number][quantity] for guess in guesses]
                low, middle, high = np.quantile(np.array(values), (LOW, 0.5, HIGH)).tolist()
                rows.append((name, source, quantity, low, middle, high))
    columns = ["policy", "source", "quantity", "low", "middle", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def against(
    forecasts: pl.DataFrame,
    verdicts: pl.DataFrame,
    prompts: pl.DataFrame,
    policy: str,
    rates: Rates,
    per_prompt: int | None = None,
) -> pl.DataFrame:
    """Forecast and outcome of a finished run: the forecast's rows for `policy`, `actual`, `inside`.

    `rates.tokens_per_second` is the finished run's own speed.
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
        actual = quantities(samples, accepted, tokens, 1.0, rates, per_prompt)
        rows += [(source, name, value) for name, value in actual.items()]
    outcome = pl.DataFrame(rows, schema=["source", "quantity", "actual"], orient="row")
    return (
        forecasts.filter(policy=policy)
        .join(outcome, on=["source", "quantity"], how="left", maintain_order="left")
        .with_columns(inside=pl.col("actual").is_between(pl.col("low"), pl.col("high")))
    )


def quantities(
    samples: NDArray[np.int64],
    accepted: NDArray[np.int64],
    tokens: float,
    scale: float,
    rates: Rates,
    per_prompt: int | None,
) -> dict[str, float]:
    """What a forecast is about, from what each prompt got; every prompt stands for `scale`."""
    drawn, kept = float(samples.sum()), float(accepted.sum())
    rows = float(np.minimum(accepted, per_prompt or 1 << 30).sum()) * scale
    total = tokens * scale
    hours, money = rates.gpu_hours(total), rates.money(total)
    a_row = 1 / rows if rows else float("nan")
    found = {
        "samples": drawn * scale,
        "accepted": kept * scale,
        "yield": kept / drawn if drawn else float("nan"),
        "rows": rows,
        "covered": float((accepted > 0).sum()) * scale,
        "tokens": total,
        "tokens_per_row": total * a_row,
        "gpu_hours": hours,
        "gpu_hours_per_row": hours * a_row,
    }
    if money is not None:
        found |= {"money": money, "money_per_row": money * a_row}
    return found


@dataclass(frozen=True)
class _Seen:
    """One pilot prompt: verdicts and lengths."""

    hits: int
    misses: int
    lengths: tuple[list[int], list[int]]  # of the misses, of the hits


class _Crowd:
    """The pilot's prompts by source, and what is taken where a prompt says nothing."""

    def __init__(self, pilot: pl.DataFrame, sources: Sequence[str]) -> None:
        pilot = pilot.with_columns(hit=pl.col("decision") == "keep").sort("prompt_id")
        everyone = _seen(pilot)
        self.prompts = [_seen(pilot.filter(source=name)) or everyone for name in sources]
        self.lengths = [_pooled(seen, everyone) for seen in self.prompts]

    def draw(self, sizes: Sequence[int], rng: np.random.Generator) -> tuple[Draw, list[int]]:
        """Prompts like the pilot's, `sizes` of each source: outcomes and each prompt's source."""
        like: list[tuple[int, _Seen]] = []
        chances: list[float] = []
        for source, size in enumerate(sizes):
            seen = self.prompts[source]
            again = [seen[number] for number in rng.integers(len(seen), size=len(seen))]
            alpha, beta = fit_beta([(prompt.hits, prompt.misses) for prompt in again])
            # A rate is guessed once for each: all who are like a prompt share what it says of them.
            guessed = [rng.beta(alpha + prompt.hits, beta + prompt.misses) for prompt in again]
            for number in rng.integers(len(again), size=size).tolist():
                like.append((source, again[number]))
                chances.append(guessed[number])
        uniform = random.Random(int(rng.integers(1 << 32))).random  # numpy's is slow one at a time

        def outcome(ticket: Ticket) -> tuple[bool, int]:
            source, prompt = like[ticket.prompt]
            hit = uniform() < chances[ticket.prompt]
            lengths = prompt.lengths[hit]
            if not lengths:
                lengths = self.lengths[source][hit]
            return hit, lengths[int(uniform() * len(lengths))]

        return outcome, [source for source, _ in like]


def _seen(pilot: pl.DataFrame) -> list[_Seen]:
    found = []
    for _, own in pilot.group_by("prompt_id", maintain_order=True):
        lengths = [own.filter(hit=hit)["n_tokens"].to_list() for hit in (False, True)]
        found.append(_Seen(len(lengths[1]), len(lengths[0]), (lengths[0], lengths[1])))
    return found


def _pooled(seen: Sequence[_Seen], everyone: Sequence[_Seen]) -> tuple[list[int], list[int]]:
    """Lengths of misses and of hits; where a source has none, all sources', or the other kind's."""

    def of(hit: int) -> list[int]:
        for prompts, kind in ((seen, hit), (everyone, hit), (everyone, 1 - hit)):
            lengths = [length for prompt in prompts for length in prompt.lengths[kind]]
            if lengths:
                return lengths
        return [1]

    return of(0), of(1)


def fit_beta(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The Beta prior, of a grid, under which (hits, misses) of a source's prompts are likeliest."""

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


def _guess(
    crowd: _Crowd,
    sampling: Sampling,
    sizes: Sequence[int],
    rates: Rates,
    per_prompt: int | None,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """One guess at the whole: the quantities of each source, then of all."""
    total = sum(sizes)
    size = min(total, max(LEAST, DRAWS // (GUESSES * sampling.n)))
    share = [max(1, round(size * own / total)) for own in sizes]
    draw, sources = crowd.draw(share, rng)
    scaled = _scaled(sampling, sum(share) / total, rates)
    run = simulate(scaled, len(sources), draw, sources, capacity=max(1, len(sources) // 16))
    numbers = np.array(sources)
    found = []
    for source, own in enumerate(sizes):
        mine = numbers == source
        scale = own / share[source]
        tokens = float(run.tokens[mine].sum())
        samples, accepted = run.samples[mine], run.accepted[mine]
        found.append(quantities(samples, accepted, tokens, scale, rates, per_prompt))
    return [*found, _sum(found, rates)]


def _sum(parts: Sequence[Mapping[str, float]], rates: Rates) -> dict[str, float]:
    """The whole of several sources, each already at its full size."""
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


def _scaled(sampling: Sampling, share: float, rates: Rates) -> Sampling:
    """A budget for a part of the prompts, in tokens or samples: a simulation has no clock."""
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
