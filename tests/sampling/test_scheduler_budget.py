from __future__ import annotations

import random
from typing import Any

import pytest

from factory.recipe.sampling import Budget, Prices, Sampling
from factory.sampling.scheduling.scheduler import Scheduler, Ticket
from factory.sampling.scheduling.simulate import Simulated, simulate


def crowd(rates: list[float], right: int = 100, wrong: int = 100, **fields: Any) -> Simulated:
    def outcome(ticket: Ticket) -> tuple[bool, int]:
        hit = random.Random(f"{ticket.prompt}-{ticket.index}").random() < rates[ticket.prompt]
        return hit, right if hit else wrong

    sources = [int(number >= len(rates) // 2) for number in range(len(rates))]
    sampling = Sampling.model_validate({"policy": "budget", "n": 16, **fields})
    return simulate(sampling, len(rates), outcome, sources, capacity=16)


BIMODAL = [0.9, 0.02] * 300


def test_accepted_rows_beat_an_even_spread_of_the_same_samples() -> None:
    found = crowd(BIMODAL, budget={"samples": 2400})
    assert found.samples.sum() == 2400
    assert found.rows() > 1.6 * 2400 * sum(BIMODAL) / len(BIMODAL)


def test_covering_spends_on_prompts_that_have_none() -> None:
    found = crowd([0.3] * 600, budget={"samples": 2000, "objective": "covered"})
    assert found.accepted.max() <= 2  # two of one prompt may be in flight together
    assert found.covered > 0.9 * 600


def test_covered_prompts_get_further_rows_once_all_have_their_chance() -> None:
    budget = {"samples": 10_000, "objective": "covered"}
    found = crowd([0.8] * 60, accept=3, budget=budget)
    assert found.rows(3) == 180


def test_a_source_that_never_succeeds_is_left_for_the_other() -> None:
    found = crowd([0.5] * 200 + [0.0] * 200, budget={"samples": 1200})
    assert found.samples[200:].sum() < 200


def test_the_more_a_first_row_is_worth_the_more_prompts_have_one() -> None:
    rates = [0.9] * 200 + [0.1] * 200
    runs = [crowd(rates, budget={"samples": 1600, "first_row": worth}) for worth in (1, 4, 30)]
    covered, rows = [run.covered for run in runs], [run.rows() for run in runs]
    assert covered == sorted(set(covered))
    assert rows == sorted(set(rows), reverse=True)


def test_cheap_samples_are_preferred_under_a_token_budget() -> None:
    def outcome(ticket: Ticket) -> tuple[bool, int]:
        hit = random.Random(f"{ticket.prompt}-{ticket.index}").random() < 0.5
        return hit, 10 if ticket.prompt < 200 else 1000

    sources = [int(number >= 200) for number in range(400)]
    fields = {"policy": "budget", "n": 16, "budget": {"tokens": 30_000}}
    found = simulate(Sampling.model_validate(fields), 400, outcome, sources, capacity=8)
    assert found.samples[:200].sum() > 20 * found.samples[200:].sum()


def test_giving_up_bounds_what_a_hopeless_prompt_gets() -> None:
    found = crowd([0.0] * 50, give_up_after=3, budget={"samples": 10_000})
    assert found.samples.tolist() == [3] * 50


def test_few_prompts_still_fill_an_engine() -> None:
    fields = {"policy": "budget", "n": 64, "wave": 8, "budget": {"samples": 500}}
    scheduler = Scheduler(Sampling.model_validate(fields), 3)
    flying = []
    while (ticket := scheduler.next()) is not None:
        flying.append(ticket)
    assert len(flying) == 24


def test_gpu_hours_end_a_run_when_told() -> None:
    fields = {"policy": "budget", "n": 4, "budget": {"gpu_hours": 2.0}}
    scheduler = Scheduler(Sampling.model_validate(fields), 9)
    assert scheduler.next() is not None
    scheduler.set_gpu_hours(1.9)
    assert scheduler.next() is not None
    scheduler.set_gpu_hours(2.0)
    assert scheduler.next() is None


def test_tokens_of_an_earlier_process_count() -> None:
    fields = {"policy": "budget", "n": 4, "budget": {"tokens": 1000}}
    scheduler = Scheduler(Sampling.model_validate(fields), 9)
    scheduler.restore([(Ticket(0, 0), True, 600), (Ticket(1, 0), False, 400)])
    assert scheduler.next() is None


def test_the_same_verdicts_give_the_same_choices() -> None:
    first, second = (crowd(BIMODAL, budget={"tokens": 90_000}) for _ in range(2))
    assert first.samples.tolist() == second.samples.tolist()


LIMITS = [
    # budget, prices, tokens, GPU-hours
    ({"tokens": 7}, {}, 7.0, float("inf")),
    ({"gpu_hours": 3}, {}, float("inf"), 3.0),
    ({"money": 6}, {"per_gpu_hour": 2}, float("inf"), 3.0),
    ({"money": 6}, {"per_million_tokens": 2}, 3e6, float("inf")),
    ({"money": 6, "tokens": 9}, {"per_million_tokens": 2}, 9.0, float("inf")),
    ({"samples": 5}, {"per_gpu_hour": 2}, float("inf"), float("inf")),
]


@pytest.mark.parametrize(("fields", "prices", "tokens", "hours"), LIMITS)
def test_limits(
    fields: dict[str, Any], prices: dict[str, Any], tokens: float, hours: float
) -> None:
    budget, costs = Budget.model_validate(fields), Prices.model_validate(prices)
    assert (budget.token_limit(costs), budget.gpu_hour_limit(costs)) == (tokens, hours)
