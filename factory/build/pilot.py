"""`factory validate --pilot`: a small real run, and what it says of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import polars as pl
from rich.console import Console

from factory.build.build import begin, sample
from factory.build.local_judges import ask_judges
from factory.core.errors import SourceError
from factory.core.files import write_atomic
from factory.core.run_dir import RunDir, engine_seconds, save_prompts
from factory.judging.verdicts import all_filters, judge_run, load_verdicts
from factory.prompts.load import load_prompts
from factory.prompts.references import sound_prompts
from factory.recipe.build import Recipe
from factory.sampling.engines.placement import gpus_of
from factory.sampling.scheduling.forecast import ALL, Rates, alternatives, choose_pilot, forecast

SAMPLES = 4
"""Samples of each pilot prompt: enough to tell easy from hard, few enough to be cheap."""

SHOWN = {
    "yield": "yield",
    "rows": "rows",
    "covered": "prompts with a row",
    "tokens": "tokens",
    "tokens_per_row": "  a row",
    "gpu_hours": "GPU-hours",
    "gpu_hours_per_row": "  a row",
    "money": "money",
    "money_per_row": "  a row",
}
"""The quantities that are told, in this order, and what they are called."""


def run_pilot(recipe: Recipe, run: Path, size: int, console: Console) -> Iterator[str]:
    """Sample `size` prompts for real, in RUN/pilot, and forecast the recipe under each policy.

    Writes RUN/forecast.json, which the report later sets beside the outcome. Raises what a build
    raises, and SourceError where the pilot finished nothing.
    """
    import pyarrow.parquet as pq

    prompts = sound_prompts(load_prompts(recipe.sources).prompts, run)
    table = pl.DataFrame({"id": [p.id for p in prompts], "source": [p.source for p in prompts]})
    chosen = set(choose_pilot(table, size, recipe.sampling.seed))
    fixed = recipe.sampling.model_copy(
        update={
            "policy": "fixed",
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
        begin(small, pilot)
        save_prompts(pilot.path, [prompt for prompt in prompts if prompt.id in chosen])
        sample(small, pilot, pq.read_table(pilot.path / "prompts.parquet"), console)
        ask_judges(small, pilot.path)
        judge_run(pilot.path, all_filters(small), small.references)
    verdicts = load_verdicts(pilot.path).collect()
    if verdicts.is_empty():
        raise SourceError(f"the pilot finished no sample; {pilot.path / 'failures.jsonl'} says why")
    spent = int(verdicts["n_tokens"].sum())
    rates = pilot_rates(recipe, spent, engine_seconds(pilot.path))
    tokens = spent * recipe.sampling.n * table.height // verdicts.height
    policies = alternatives(recipe.sampling, tokens, recipe.select.per_prompt)
    found = forecast(verdicts, table, policies, rates, recipe.select.per_prompt)
    own = found.filter(policy=recipe.sampling.policy, source=ALL)
    content = {
        # The report knows what was accepted as `kept`.
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
    """The pilot's speed, over all its sittings, and the prices the recipe names."""
    prices = recipe.sampling.prices
    return Rates(
        tokens_per_second=max(tokens / seconds if seconds else 0.0, 1e-9),
        gpus=gpus_of(recipe.engine_spec),
        per_gpu_hour=prices.per_gpu_hour,
        per_million_tokens=prices.per_million_tokens,
    )


def forecast_lines(found: pl.DataFrame, policy: str, prompts: int, samples: int) -> Iterator[str]:
    """The forecast in words: every policy for the whole, then the recipe's own by source."""
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
    told = {row["quantity"]: row for row in rows.rows(named=True)}
    for quantity, name in SHOWN.items():
        if quantity in told:
            low, middle, high = (_number(told[quantity][key]) for key in ("low", "middle", "high"))
            yield f"  {name:<18} {middle:>12}   {low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
