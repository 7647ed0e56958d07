"""`factory validate --pilot`: a small real run and a forecast of the whole run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import polars as pl
from rich.console import Console

from factory.build.build import record_start, sample
from factory.build.local_judges import run_local_judges
from factory.core.errors import Problem, RecipeError, SourceError
from factory.core.files import write_atomic
from factory.core.run_dir import RunDir, engine_seconds, save_prompts
from factory.judging.verdicts import all_filters, judge_run, load_verdicts
from factory.prompts.load import load_prompts
from factory.prompts.references import sound_prompts
from factory.recipe.build import Recipe
from factory.sampling.engines.placement import count_gpus
from factory.sampling.scheduling.forecast import ALL, Rates, build_policies, choose_pilot, forecast

SAMPLES = 4
"""Samples per pilot prompt: enough to distinguish easy from hard prompts, and cheap."""

SHOWN = {
    "yield": "yield",
    "rows": "rows",
    "covered": "prompts with a row",
    "tokens": "tokens",
    "tokens_per_row": "  per row",
    "gpu_hours": "GPU-hours",
    "gpu_hours_per_row": "  per row",
    "money": "money",
    "money_per_row": "  per row",
}
"""The quantities to print, in order, and their labels."""


def run_pilot(recipe: Recipe, run: Path, size: int, console: Console) -> Iterator[str]:
    """Sample `size` prompts in RUN/pilot and forecast the recipe under each policy.

    Yields the forecast as lines of text. Writes RUN/forecast.json, which the report later compares
    with the result. Raises as a build does, and SourceError if the pilot finished no sample.
    """
    import pyarrow.parquet as pq

    if recipe.sampling.teachers:
        what = "a pilot draws from one model, and cannot forecast a choice; leave out --pilot"
        raise RecipeError([Problem("sampling.teachers", what)])
    prompts = sound_prompts(load_prompts(recipe.sources).prompts, run)
    table = pl.DataFrame({"id": [p.id for p in prompts], "source": [p.source for p in prompts]})
    chosen = set(choose_pilot(table, size, recipe.sampling.seed))
    fixed = recipe.sampling.model_copy(
        update={
            "policy": recipe.sampling.policy if recipe.sampling.search else "fixed",
            "n": min(SAMPLES, recipe.sampling.n),
            "accept": None,
            "budget": None,
            "escalate": (),
            "give_up_after": None,
        }
    )
    small = recipe.model_copy(update={"sampling": fixed})
    small._written = recipe._written
    with RunDir(run / "pilot") as pilot:
        record_start(small, pilot)
        save_prompts(pilot.path, [prompt for prompt in prompts if prompt.id in chosen])
        sample(small, pilot, pq.read_table(pilot.path / "prompts.parquet"), console)
        run_local_judges(small, pilot.path)
        judge_run(pilot.path, all_filters(small), small.references)
    verdicts = load_verdicts(pilot.path).collect()
    if verdicts.is_empty():
        raise SourceError(f"the pilot finished no sample; see {pilot.path / 'failures.jsonl'}")
    spent = int(verdicts["n_tokens"].sum())
    rates = pilot_rates(recipe, spent, engine_seconds(pilot.path))
    tokens = spent * recipe.sampling.n * table.height // verdicts.height
    policies = build_policies(recipe.sampling, tokens, recipe.select.per_prompt)
    found = forecast(verdicts, table, policies, rates, recipe.select.per_prompt)
    own = found.filter(policy=recipe.sampling.policy, source=ALL)
    content = {
        # The report's name for accepted samples is `kept`.
        {"accepted": "kept"}.get(row["quantity"], row["quantity"]): {
            "value": row["middle"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in own.rows(named=True)
    } | {
        "policy": recipe.sampling.policy,
        "all": found.rows(named=True),
        "rates": asdict(rates),
        "per_prompt": recipe.select.per_prompt,
    }
    write_atomic(run / "forecast.json", json.dumps(content, indent=1) + "\n")
    yield from forecast_lines(found, recipe.sampling.policy, len(chosen), verdicts.height)


def pilot_rates(recipe: Recipe, tokens: int, seconds: float) -> Rates:
    """Return the pilot's speed over all its processes, and the recipe's prices."""
    prices = recipe.sampling.prices
    return Rates(
        tokens_per_second=max(tokens / seconds if seconds else 0.0, 1e-9),
        gpus=count_gpus(recipe.engine_spec),
        per_gpu_hour=prices.per_gpu_hour,
        per_million_tokens=prices.per_million_tokens,
    )


def forecast_lines(found: pl.DataFrame, policy: str, prompts: int, samples: int) -> Iterator[str]:
    """Format the forecast: each policy for all sources, then the recipe's policy by source."""
    yield f"forecast from {samples:,} samples of {prompts:,} prompts (middle, 90% interval):"
    for name in found["policy"].unique(maintain_order=True):
        mark = "  <- this recipe" if name == policy else ""
        yield f"policy {name}{mark}"
        yield from _quantities(found.filter(policy=name, source=ALL))
    sources = found.filter(pl.col("source") != ALL)["source"].unique(maintain_order=True)
    for source in sources if len(sources) > 1 else []:
        yield f"source {source}, policy {policy}"
        yield from _quantities(found.filter(policy=policy, source=source))


def _quantities(rows: pl.DataFrame) -> Iterator[str]:
    by_quantity = {row["quantity"]: row for row in rows.rows(named=True)}
    for quantity, name in SHOWN.items():
        if quantity in by_quantity:
            row = by_quantity[quantity]
            if math.isnan(row["middle"]):
                yield f"  {name:<18} {'not known':>12}   too few rows; sample more prompts"
                continue
            low, middle, high = (_number(row[key]) for key in ("low", "middle", "high"))
            yield f"  {name:<18} {middle:>12}   {low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
