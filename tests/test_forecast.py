from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from factory.recipe.sampling import Sampling
from factory.sampling.scheduling.forecast import (
    ALL,
    Rates,
    build_policies,
    choose_pilot,
    compare_forecast,
    fit_beta,
    forecast,
)

RATES = Rates(tokens_per_second=1000, gpus=8, per_gpu_hour=2.0)
SIZES = {"easy": 1500, "hard": 500}
PROMPTS = pl.DataFrame(
    [(f"{source}{number}", source) for source, size in SIZES.items() for number in range(size)],
    schema=["id", "source"],
    orient="row",
)
CHANCE = {"easy": (6.0, 1.0), "hard": (0.3, 1.5)}


def sampled(ids: list[str], n: int, seed: int = 0) -> pl.DataFrame:
    """Verdicts of `n` samples for each prompt: a prompt's chance depends on its id alone."""
    rows = []
    for prompt in ids:
        source = prompt.rstrip("0123456789")
        chance = random.Random(f"chance-{prompt}").betavariate(*CHANCE[source])
        for index in range(n):
            rng = random.Random(f"{seed}-{prompt}-{index}")
            hit = rng.random() < chance
            tokens = int(rng.lognormvariate(0, 0.3) * (500 if hit else 900))
            rows.append((prompt, source, "keep" if hit else "drop", tokens))
    schema = ["prompt_id", "source", "decision", "n_tokens"]
    return pl.DataFrame(rows, schema=schema, orient="row")


PILOT = sampled(choose_pilot(PROMPTS, 64), 4, seed=1)


def value(
    forecasts: pl.DataFrame, quantity: str, policy: str = "fixed", source: str = ALL
) -> float:
    row = forecasts.filter(policy=policy, source=source, quantity=quantity)
    return float(row["middle"].item())


def test_a_pilot_takes_of_every_source_in_proportion() -> None:
    tiny = pl.concat([PROMPTS, pl.DataFrame({"id": ["tiny0"], "source": ["tiny"]})])
    chosen = choose_pilot(tiny, 64)
    counts = {name: sum(c.startswith(name) for c in chosen) for name in ("easy", "hard", "tiny")}
    assert counts == {"easy": 48, "hard": 16, "tiny": 1}
    assert chosen == choose_pilot(tiny.sort("id", descending=True), 64)
    assert len(choose_pilot(PROMPTS.head(5), 64)) == 5


def test_the_forecast_holds_against_the_whole_run() -> None:
    found = forecast(PILOT, PROMPTS, {"fixed": Sampling(n=4)}, RATES, per_prompt=2)
    actual = compare_forecast(
        found, sampled(PROMPTS["id"].to_list(), 4), PROMPTS, "fixed", RATES, 2
    )
    assert actual["actual"].null_count() == 0
    whole = actual.filter(source=ALL)
    missed = whole.filter(~pl.col("inside"))["quantity"].to_list()
    assert missed == []
    off = whole.filter(quantity="tokens_per_row").select(pl.col("middle") / pl.col("actual")).item()
    assert off == pytest.approx(1, abs=0.15)


def test_a_larger_pilot_is_surer() -> None:
    def width(pilot: pl.DataFrame) -> float:
        found = forecast(pilot, PROMPTS, {"fixed": Sampling(n=4)}, RATES)
        row = found.filter(source=ALL, quantity="accepted").row(0, named=True)
        return float(row["high"] - row["low"])

    larger = sampled(choose_pilot(PROMPTS, 512), 4, seed=1)
    assert width(larger) < 0.7 * width(PILOT)


def test_policies_are_compared_on_the_same_pilot() -> None:
    options = build_policies(Sampling(n=8), tokens=8_000_000, per_prompt=2)
    assert list(options) == ["fixed", "until", "difficulty", "budget"]
    assert options["until"].accept == 2
    assert options["budget"].budget is not None
    assert options["budget"].budget.tokens == 4_000_000
    found = forecast(PILOT, PROMPTS, options, RATES, per_prompt=2)
    fixed, until = (value(found, "tokens_per_row", policy) for policy in ("fixed", "until"))
    assert until < 0.75 * fixed
    assert value(found, "rows", "until") == pytest.approx(value(found, "rows"), rel=0.05)
    assert value(found, "tokens", "budget") <= 4_100_000


def test_the_recipes_own_policy_is_kept_as_it_is() -> None:
    own = Sampling(policy="until", n=6, accept=3, wave=2, give_up_after=4)
    assert build_policies(own, 1000, None)["until"] is own


def test_quantities_belong_together() -> None:
    found = forecast(PILOT, PROMPTS, {"fixed": Sampling(n=4)}, RATES)
    assert value(found, "samples") == 4 * PROMPTS.height
    for source, size in SIZES.items():
        assert value(found, "samples", source=source) == pytest.approx(4 * size)
    assert value(found, "yield", source="easy") > 0.6 > 0.4 > value(found, "yield", source="hard")
    hours = RATES.gpu_hours(value(found, "tokens"))
    assert value(found, "gpu_hours") == pytest.approx(hours)
    assert value(found, "money") == pytest.approx(2 * hours)
    assert (found["low"] <= found["middle"]).all()
    assert (found["middle"] <= found["high"]).all()


def test_no_price_no_money() -> None:
    found = forecast(PILOT, PROMPTS, {"fixed": Sampling(n=2)}, Rates(1000))
    assert "money" not in found["quantity"].unique().to_list()


def test_a_source_the_pilot_missed_is_taken_to_be_like_the_rest() -> None:
    easy = PILOT.filter(source="easy")
    found = forecast(easy, PROMPTS, {"fixed": Sampling(n=2)}, RATES)
    assert value(found, "yield", source="hard") > 0.6


def test_a_pilot_without_a_success() -> None:
    none = PILOT.with_columns(decision=pl.lit("drop"))
    found = forecast(none, PROMPTS, {"fixed": Sampling(n=2)}, RATES)
    assert value(found, "rows") < 0.02 * 2 * PROMPTS.height


def test_the_same_pilot_gives_the_same_forecast() -> None:
    policies = {"until": Sampling(policy="until", n=4, accept=1)}
    first, second = (forecast(PILOT, PROMPTS, policies, RATES) for _ in range(2))
    assert first.equals(second)


PRIORS = [
    ([(4, 4)] * 30, 0.5, 8.0),  # all alike: a heavy prior
    ([(8, 0)] * 15 + [(0, 8)] * 15, 0.5, 0.25),  # one or the other: a light one
    ([(0, 8)] * 30, 0.05, 40.0),
]


@pytest.mark.parametrize(("counts", "mean", "weight"), PRIORS)
def test_the_prior_follows_the_shape(
    counts: list[tuple[int, int]], mean: float, weight: float
) -> None:
    alpha, beta = fit_beta(counts)
    assert alpha / (alpha + beta) == pytest.approx(mean, abs=0.05)
    assert np.sign(np.log(alpha + beta)) == np.sign(np.log(weight)) or mean < 0.1
