"""Several teachers: the price per expected accepted row decides which one draws."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.recipe.sampling import Sampling
from factory.sampling.scheduling.scheduler import Scheduler, Ticket
from factory.sampling.scheduling.simulate import Simulated, simulate

TOKENS = 100
UNTIL = {"policy": "until", "accept": 1, "n": 16, "wave": 2, "give_up_after": 4}


def make_sampling(prices: list[float], **fields: Any) -> Sampling:
    teachers = [
        {"name": f"t{n}", "temperature": 0.5 + n / 10, "prices": {"per_million_tokens": price}}
        for n, price in enumerate(prices)
    ]
    return Sampling.model_validate({**UNTIL, "teachers": teachers, **fields})


def crowd(
    prices: list[float], rates: list[list[float]], **fields: Any
) -> tuple[Simulated, Counter[int]]:
    """Run prompts with the success rates `rates[prompt][teacher]`. Returns the samples by teacher
    too."""
    drawn: Counter[int] = Counter()

    def outcome(ticket: Ticket) -> tuple[bool, int]:
        drawn[ticket.level] += 1
        seed = f"{ticket.prompt}-{ticket.index}-{ticket.level}"
        return random.Random(seed).random() < rates[ticket.prompt][ticket.level], TOKENS

    found = simulate(make_sampling(prices, **fields), len(rates), outcome, None, capacity=16)
    return found, drawn


@pytest.mark.parametrize(
    ("prices", "rates", "best", "share"),
    [
        ([1, 10], [0.8, 0.9], 0, 0.95),  # good and cheap
        ([1, 10], [0.0, 1.0], 1, 0.45),  # the cheap one is useless: four tries a prompt at most
        ([1, 2], [0.2, 0.9], 1, 0.8),  # 5 against 2.2 per row
        ([2, 1], [0.9, 0.2], 0, 0.8),  # whatever their order
        ([1, 10], [0.3, 1.0], 0, 0.7),  # perfect, and still three times the price per row
        ([1, 1000], [0.3, 1.0], 0, 0.8),  # drawn only after `give_up_after` samples of the other
    ],
    ids=str,
)
def test_the_price_of_an_accepted_row_decides(
    prices: list[float], rates: list[float], best: int, share: float
) -> None:
    _, drawn = crowd(prices, [rates] * 400)
    assert drawn[best] >= share * sum(drawn.values()), drawn


def test_a_prompt_that_the_cheap_teacher_fails_on_gets_the_expensive_one() -> None:
    """Half the prompts are too hard for it. Without a second teacher they have no row."""
    rates = [[0.9, 0.95] if number % 2 else [0.0, 0.95] for number in range(300)]
    found, drawn = crowd([1, 6], rates)
    assert found.covered >= 295
    spent = drawn[0] + 6 * drawn[1]
    everything_expensive = 6 * 300 / 0.95
    assert spent < 0.85 * everything_expensive


def test_a_useless_teacher_costs_little_before_it_is_left() -> None:
    found, drawn = crowd([1, 10], [[0.0, 1.0]] * 2000)
    assert found.covered == 2000
    assert drawn[0] < 500, "the source's rate is known long before each prompt has tried it"


def test_each_source_has_its_own_best_teacher() -> None:
    drawn: Counter[tuple[int, int]] = Counter()

    def outcome(ticket: Ticket) -> tuple[bool, int]:
        source = ticket.prompt % 2
        drawn[source, ticket.level] += 1
        rate = 0.95 if source == ticket.level else 0.02
        return random.Random(f"{ticket.prompt}-{ticket.index}").random() < rate, TOKENS

    sources = [number % 2 for number in range(800)]
    simulate(make_sampling([1, 1.5]), 800, outcome, sources, capacity=16)
    assert drawn[0, 0] > 10 * drawn[0, 1]
    assert drawn[1, 1] > 4 * drawn[1, 0]


def test_no_teacher_gets_more_of_a_prompt_than_give_up_after() -> None:
    per_prompt: Counter[tuple[int, int]] = Counter()

    def outcome(ticket: Ticket) -> tuple[bool, int]:
        per_prompt[ticket.prompt, ticket.level] += 1
        return False, TOKENS

    found = simulate(make_sampling([1, 5]), 30, outcome, None, capacity=8)
    assert set(per_prompt.values()) == {4}
    assert found.samples.tolist() == [8] * 30


@pytest.mark.parametrize("money", [0.002, 0.01])
def test_a_budget_in_money_counts_each_teacher_at_its_price(money: float) -> None:
    budget = {"policy": "budget", "budget": {"money": money}, "accept": None, "give_up_after": None}
    _, drawn = crowd([1, 10], [[0.1, 0.9]] * 400, **budget)
    spent = (drawn[0] * 1 + drawn[1] * 10) * TOKENS / 1e6
    assert 0.9 * money <= spent <= 1.2 * money


def test_a_budget_buys_more_rows_than_either_teacher_alone() -> None:
    rates = [[0.9, 0.95] if number % 2 else [0.01, 0.95] for number in range(600)]
    budget = {"policy": "budget", "budget": {"money": 0.1}, "accept": 1, "give_up_after": None}
    both, _ = crowd([1, 6], rates, **budget)
    alone = [
        crowd([price, price], [[row[n]] * 2 for row in rates], **budget)[0]
        for n, price in enumerate((1, 6))
    ]
    assert both.covered > max(one.covered for one in alone)


def play(scheduler: Scheduler, steps: list[bool]) -> list[tuple[Ticket, int]]:
    """Answer one ticket after another. Returns the tickets with their teachers."""
    seen = []
    for accepted in steps:
        ticket = scheduler.next()
        if ticket is None:
            break
        seen.append((ticket, ticket.level))
        scheduler.learn(ticket, accepted, TOKENS, 10)
        scheduler.surplus()
    return seen


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.booleans(), min_size=1, max_size=60),
    cut=st.integers(0, 60),
    seed=st.integers(0, 5),
)
def test_the_choice_is_a_function_of_what_was_drawn(steps: list[bool], cut: int, seed: int) -> None:
    """The same verdicts give the same teachers; a process that restores them in any order too."""
    sampling = make_sampling([1, 3, 9], wave=1, accept=2)
    whole = play(Scheduler(sampling, 12), steps)
    assert whole == play(Scheduler(sampling, 12), steps)
    cut = min(cut, len(whole))
    done = [(ticket, step, TOKENS, 10) for (ticket, _), step in zip(whole, steps, strict=False)]
    earlier = done[:cut]
    random.Random(seed).shuffle(earlier)
    resumed, going_on = Scheduler(sampling, 12), Scheduler(sampling, 12)
    resumed.restore(earlier)
    play(going_on, steps[:cut])
    for prompt in range(12):
        assert choose(resumed, prompt) == choose(going_on, prompt)


BUDGET = {"policy": "budget", "budget": {"samples": 60}, "n": 8, "accept": 1, "give_up_after": None}


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.booleans(), min_size=1, max_size=40),
    change=st.sampled_from([{}, {"wave": 3, "accept": 2}, BUDGET]),
    flying=st.integers(1, 9),
    kept=st.data(),
)
def test_what_waits_in_a_batch_is_taken_up_first_and_drawn_once(
    steps: list[bool], change: dict[str, Any], flying: int, kept: st.DataObject
) -> None:
    """Whatever a killed process had in flight, with the teacher that it had asked."""
    sampling = make_sampling([1, 3, 9], **change)
    killed, resumed = Scheduler(sampling, 12), Scheduler(sampling, 12)
    seen = [ticket for ticket, _ in play(killed, steps)]
    done = [(ticket, step, TOKENS, 10) for ticket, step in zip(seen, steps, strict=False)]
    open_ones = [ticket for _ in range(flying) if (ticket := killed.next()) is not None]
    waiting = kept.draw(st.lists(st.sampled_from(open_ones), unique=True)) if open_ones else []
    resumed.restore(done)
    resumed.take_up(waiting)
    first = [resumed.next() for _ in waiting]
    assert [(one, one and one.level) for one in first] == [(one, one.level) for one in waiting]
    drawn = [ticket for ticket, *_ in done] + waiting
    for ticket in waiting:
        resumed.learn(ticket, False, TOKENS, 10)
    while (ticket := resumed.next()) is not None:
        drawn.append(ticket)
        resumed.learn(ticket, False, TOKENS, 10)
    assert len(set(drawn)) == len(drawn)
    assert resumed.ended == len(drawn)


def test_no_answer_is_taken_up_for_a_prompt_that_has_enough() -> None:
    scheduler = Scheduler(make_sampling([1, 10]), 2)
    scheduler.restore([(Ticket(0, 0, 0), True, TOKENS, 10)])
    scheduler.take_up([Ticket(0, 1, 1), Ticket(1, 0, 1)])
    first = scheduler.next()
    assert first == Ticket(1, 0)
    assert scheduler.next() is None  # its wave is not over
    assert first is not None
    scheduler.learn(first, False, TOKENS, 10)
    assert scheduler.next() == Ticket(1, 1)


def choose(scheduler: Scheduler, prompt: int) -> int:
    assert scheduler._teachers is not None
    return scheduler._teachers.choose(prompt, scheduler._state.accepted[prompt])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"give_up_after": None, "n": 8},
        {
            "policy": "budget",
            "budget": {"samples": 2000},
            "n": 8,
            "accept": 1,
            "give_up_after": None,
        },
    ],
    ids=["until", "no limit", "budget"],
)
def test_a_teacher_whose_requests_fail_is_left_although_they_cost_nothing(
    change: dict[str, Any],
) -> None:
    """A failed request and an empty answer have no tokens. That says nothing of its price."""
    drawn: Counter[int] = Counter()

    def outcome(ticket: Ticket) -> tuple[bool, int]:
        drawn[ticket.level] += 1
        return ticket.level == 1, TOKENS if ticket.level == 1 else 0

    found = simulate(make_sampling([1, 10], **change), 400, outcome, None, capacity=16)
    assert found.covered == 400
    assert drawn[0] < 200, "as many as of one that answers, and is wrong"


def test_a_pending_sample_that_is_rejected_within_a_wave_ends_no_build() -> None:
    """The wave was as large as it was because that sample counted as accepted."""
    sampling = make_sampling([1, 10], accept=5, n=10, wave=4, give_up_after=1)
    scheduler = Scheduler(sampling, 1)
    first = scheduler.next()
    assert first is not None
    scheduler.learn(first, False, TOKENS, 10, pending=True)
    flying = [scheduler.next(), scheduler.next()]
    scheduler.settle(first, False)
    flying += [scheduler.next(), scheduler.next()]
    levels = [ticket.level for ticket in flying if ticket is not None]
    assert len(levels) == 4
    assert 1 in levels, "it is tried before the other one draws again"
