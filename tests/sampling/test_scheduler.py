from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factory.recipe.sampling import Sampling
from factory.sampling.scheduling.scheduler import Scheduler, Ticket

Outcome = Callable[[Ticket], bool | None]
"""Ticket → accepted, rejected, or None for a request without a sample."""


class Run:
    """Runs a scheduler to its end and collects every ticket."""

    def __init__(
        self,
        sampling: Sampling,
        prompts: int,
        outcome: Outcome,
        *,
        capacity: int = 7,
        seed: int = 0,
        before: Run | None = None,
        stop_after: int | None = None,
        tokens: int = 10,
    ) -> None:
        self.sampling = sampling
        self.scheduler = Scheduler(sampling, prompts, [number % 2 for number in range(prompts)])
        self.drawn: list[Ticket] = []
        self.ended: dict[Ticket, bool] = dict(before.ended) if before else {}
        self.surplus: list[Ticket] = []
        self.most_in_flight = 0
        self.scheduler.restore((t, accepted, tokens) for t, accepted in self.ended.items())
        rng = random.Random(seed)
        flying: list[Ticket] = []
        while stop_after is None or len(self.drawn) < stop_after:
            while len(flying) < capacity and (ticket := self.scheduler.next()) is not None:
                flying.append(ticket)
                self.drawn.append(ticket)
            self.most_in_flight = max(self.most_in_flight, len(flying))
            if not flying:
                break
            ticket = flying.pop(rng.randrange(len(flying)))
            accepted = outcome(ticket)
            self.ended[ticket] = accepted is True
            if accepted is None:
                self.scheduler.fail(ticket)
            else:
                self.scheduler.learn(ticket, accepted, tokens)
            for extra in self.scheduler.surplus():
                self.surplus.append(extra)
                flying.remove(extra)
                self.ended[extra] = False
                self.scheduler.learn(extra, False, tokens)

    def by_prompt(self) -> dict[int, list[int]]:
        found = defaultdict(list)
        for ticket in self.drawn:
            found[ticket.prompt].append(ticket.index)
        return found

    def accepted(self) -> Counter[int]:
        return Counter(ticket.prompt for ticket, accepted in self.ended.items() if accepted)

    def satisfied(self) -> set[int]:
        """Prompts with as many accepted samples as are asked for; none where all are drawn."""
        wanted = self.sampling.accept
        return {p for p, hits in self.accepted().items() if wanted is not None and hits >= wanted}


def lucky(rates: list[float], seed: int = 0) -> Outcome:
    """Sample j of prompt i always has the same result."""

    def outcome(ticket: Ticket) -> bool | None:
        chance = random.Random(f"{seed}-{ticket.prompt}-{ticket.index}")
        return None if chance.random() < 0.05 else chance.random() < rates[ticket.prompt]

    return outcome


@st.composite
def options(draw: st.DrawFn) -> Sampling:
    n = draw(st.integers(1, 12))
    policy = draw(st.sampled_from(["fixed", "until", "difficulty", "budget"]))
    fields: dict[str, Any] = {"policy": policy, "n": n, "wave": draw(st.integers(1, 6))}
    if policy != "fixed":
        fields["accept"] = draw(st.integers(1, n))
        fields["give_up_after"] = draw(st.none() | st.integers(1, n))
    if policy == "until" and fields["give_up_after"] is not None:
        fields["escalate"] = [{"temperature": 1.0}, {"max_tokens": 99}][: draw(st.integers(0, 2))]
    if policy == "budget":
        key = draw(st.sampled_from(["samples", "tokens"]))
        fields["budget"] = {
            key: draw(st.integers(1, 600)),
            "objective": draw(st.sampled_from(["accepted", "covered"])),
            "first_row": draw(st.sampled_from([1.0, 5.0])),
        }
    return Sampling.model_validate(fields)


RATES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(options(), RATES, st.integers(1, 40), st.integers(0, 5))
def test_every_ticket_ends_once_and_none_is_handed_out_twice(
    sampling: Sampling, rates: list[float], capacity: int, seed: int
) -> None:
    run = Run(sampling, len(rates), lucky(rates), capacity=capacity, seed=seed)
    assert len(set(run.drawn)) == len(run.drawn)
    assert set(run.ended) == set(run.drawn)
    assert run.scheduler.ended == len(run.drawn)
    assert run.scheduler.accepted == sum(run.accepted().values())
    assert run.scheduler.next() is None
    for indices in run.by_prompt().values():
        assert max(indices) < sampling.n
    assert set(run.surplus) <= set(run.drawn)


# The last prompt has enough while the rest of its first wave is not handed out yet.
HALF_A_WAVE = Sampling(policy="difficulty", n=2, accept=1, wave=2)


@settings(max_examples=80, deadline=None)
@given(options(), RATES, st.integers(0, 60), st.integers(0, 5))
@example(HALF_A_WAVE, [0.0, 0.0, 0.0, 0.9], 1, 0)
def test_an_interrupted_run_draws_what_the_whole_one_draws(
    sampling: Sampling, rates: list[float], stop_after: int, seed: int
) -> None:
    outcome = lucky(rates)
    first = Run(sampling, len(rates), outcome, seed=seed, stop_after=stop_after)
    second = Run(sampling, len(rates), outcome, seed=seed + 1, before=first)
    assert not set(first.ended) & set(second.drawn)
    if sampling.policy == "budget":
        return  # what it chooses depends on what it knew when
    assert not first.satisfied() & {ticket.prompt for ticket in second.drawn}
    whole = Run(sampling, len(rates), outcome, seed=seed + 2)
    for run in (first, second, whole):
        assert {ticket.prompt for ticket in run.surplus} <= run.satisfied()
    # Which sample of a last wave comes first, and so whether the others are drawn, is chance;
    # that it is the prompt's last wave is not.
    enough = second.satisfied()
    assert enough == whole.satisfied()
    apart = Counter(ticket.prompt for ticket in second.ended.keys() ^ whole.ended.keys())
    assert apart.keys() <= enough
    assert all(count <= sampling.wave for count in apart.values())


@settings(max_examples=50, deadline=None)
@given(options(), RATES, st.integers(1, 30))
def test_a_budget_is_not_exceeded_by_more_than_what_is_in_flight(
    sampling: Sampling, rates: list[float], capacity: int
) -> None:
    if sampling.budget is None:
        return
    run = Run(sampling, len(rates), lucky(rates), capacity=capacity, tokens=10)
    if sampling.budget.samples is not None:
        assert len(run.drawn) <= sampling.budget.samples
    if sampling.budget.tokens is not None:
        most = sampling.budget.tokens + 10 * run.most_in_flight
        assert run.scheduler.tokens <= most


@settings(max_examples=30, deadline=None)
@given(RATES, st.integers(1, 6), st.integers(0, 9))
def test_fixed_draws_the_same_whatever_the_order_of_arrival(
    rates: list[float], n: int, seed: int
) -> None:
    run = Run(Sampling(n=n), len(rates), lucky(rates), seed=seed)
    assert run.drawn == [Ticket(p, i) for p in range(len(rates)) for i in range(n)]


UNTIL = {"policy": "until", "n": 16, "accept": 2, "wave": 4}
WASTE = [
    # rate, settings, samples drawn of a prompt
    (1.0, UNTIL, 2),
    (0.0, UNTIL, 16),
    (0.0, {**UNTIL, "give_up_after": 6}, 6),
    (0.0, {**UNTIL, "give_up_after": 6, "escalate": [{"temperature": 1.0}]}, 12),
    (0.0, {**UNTIL, "give_up_after": 6, "escalate": [{"top_k": 9}, {"min_p": 0.1}]}, 16),
    (1.0, {"policy": "difficulty", "n": 16, "accept": 8, "wave": 4}, 4),
    (0.0, {"policy": "difficulty", "n": 16, "accept": 8, "wave": 4}, 16),
    (0.0, {"policy": "difficulty", "n": 16, "accept": 8, "wave": 4, "give_up_after": 8}, 8),
]


@pytest.mark.parametrize(("rate", "fields", "samples"), WASTE)
def test_samples_a_prompt(rate: float, fields: dict[str, Any], samples: int) -> None:
    drawn = []
    scheduler = Scheduler(Sampling.model_validate(fields), 1)
    while (ticket := scheduler.next()) is not None:
        drawn.append(ticket)
        scheduler.learn(ticket, rate == 1.0)
        scheduler.surplus()
    assert len(drawn) == samples


def test_a_wave_ends_before_the_next_begins_and_is_handed_out_in_a_row() -> None:
    scheduler = Scheduler(Sampling.model_validate(UNTIL), 2)
    first = [scheduler.next() for _ in range(5)]
    assert first == [Ticket(0, 0), Ticket(0, 1), Ticket(1, 0), Ticket(1, 1), None]
    scheduler.learn(Ticket(0, 0), False)
    assert scheduler.next() is None
    scheduler.learn(Ticket(0, 1), False)
    assert [scheduler.next() for _ in range(3)] == [Ticket(0, 2), Ticket(0, 3), None]


def test_samples_in_flight_are_surplus_once_enough_are_accepted() -> None:
    fields = {"policy": "until", "n": 9, "accept": 1, "wave": 4}
    scheduler = Scheduler(Sampling.model_validate(fields), 1)
    scheduler.restore((Ticket(0, index), False) for index in range(2))  # waves of 1 and 1
    first, second = Ticket(0, 2), Ticket(0, 3)
    assert [scheduler.next(), scheduler.next(), scheduler.next()] == [first, second, None]
    scheduler.learn(first, True)
    assert scheduler.surplus() == [second]
    assert scheduler.surplus() == []
    scheduler.learn(second, False)
    assert scheduler.next() is None


def test_levels_rise_with_barren_samples_and_stay_after_a_success() -> None:
    fields = {**UNTIL, "give_up_after": 4, "escalate": [{"temperature": 1.0}, {"max_tokens": 9}]}
    scheduler = Scheduler(Sampling.model_validate(fields), 1)
    levels = {}
    while (ticket := scheduler.next()) is not None:
        levels[ticket.index] = ticket.level
        scheduler.learn(ticket, ticket.index == 5)
    assert levels == {i: 0 if i < 4 else 1 for i in range(16)}


def test_a_restored_prompt_is_at_its_level() -> None:
    fields = {**UNTIL, "give_up_after": 4, "escalate": [{"temperature": 1.0}, {"max_tokens": 9}]}
    scheduler = Scheduler(Sampling.model_validate(fields), 1)
    scheduler.restore((Ticket(0, index), False) for index in range(8))
    ticket = scheduler.next()
    assert ticket is not None
    assert (ticket.index, ticket.level) == (8, 2)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_verdicts_that_come_later_end_as_those_that_come_at_once(data: st.DataObject) -> None:
    """Whenever verdicts come, a prompt gets enough accepted samples or all there are, and no more
    than the limit are pending beyond those that may be enough. A killed process changes nothing."""
    most, accept = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    fields = {"policy": "until", "n": 9, "accept": accept, "wave": data.draw(st.integers(1, 4))}
    sampling = Sampling.model_validate({**fields, "pending": most})
    right = data.draw(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 8))))
    scheduler, known = Scheduler(sampling, 3), dict[Ticket, bool]()
    flying, pending = list[Ticket](), list[Ticket]()
    while True:
        while len(flying) < 4 and (ticket := scheduler.next()) is not None:
            flying.append(ticket)
        unknown = Counter(ticket.prompt for ticket in [*flying, *pending])
        hits = Counter(ticket.prompt for ticket, accepted in known.items() if accepted)
        wave = fields["wave"]
        assert all(n <= max(most, accept + wave) for prompt, n in unknown.items()), (unknown, hits)
        if not flying and not pending:
            break
        some = flying if flying and (not pending or data.draw(st.booleans())) else pending
        ticket = some.pop(data.draw(st.integers(0, len(some) - 1)))
        if some is flying:
            scheduler.learn(ticket, False, pending=True)
            pending.append(ticket)
        else:
            known[ticket] = (ticket.prompt, ticket.index) in right
            scheduler.settle(ticket, known[ticket])
        for extra in scheduler.surplus():
            flying.remove(extra)
            known[extra] = False
            scheduler.fail(extra)
        if data.draw(st.integers(0, 9)) == 0:  # killed; what was in flight is drawn again
            scheduler, flying = Scheduler(sampling, 3), []
            drawn = [*known.items(), *((ticket, True) for ticket in pending)]
            scheduler.restore(drawn, pending)
    for prompt in range(3):
        own = [accepted for ticket, accepted in known.items() if ticket.prompt == prompt]
        assert sum(own) >= accept or len(own) == 9


def test_what_was_drawn_while_others_were_pending_is_no_end_after_a_kill() -> None:
    fields = {"policy": "until", "n": 9, "accept": 2, "wave": 1, "pending": 2}
    scheduler = Scheduler(Sampling.model_validate(fields), 1)
    pending = [Ticket(0, 0), Ticket(0, 1)]
    drawn = [*((ticket, True) for ticket in pending), *((Ticket(0, k), False) for k in (2, 3, 4))]
    scheduler.restore(drawn, pending)
    assert scheduler.next() is None  # as many are pending as may be
    for ticket in pending:
        scheduler.settle(ticket, False)
    left = []
    while (ticket := scheduler.next()) is not None:
        left.append(ticket.index)
        scheduler.learn(ticket, False)
    assert left == [5, 6, 7, 8]


def test_a_larger_n_goes_on_from_what_is_there() -> None:
    scheduler = Scheduler(Sampling(n=6), 2)
    scheduler.restore((Ticket(0, index), None) for index in (0, 1, 3))
    drawn = []
    while (ticket := scheduler.next()) is not None:
        drawn.append((ticket.prompt, ticket.index))
    assert drawn == [(0, 2), (0, 4), (0, 5)] + [(1, index) for index in range(6)]
    assert scheduler.ended == 3


def test_hard_prompts_get_more_accepted_samples_than_easy_ones() -> None:
    rates = [0.95] * 20 + [0.4] * 20
    fields = {"policy": "difficulty", "n": 32, "accept": 8, "wave": 4}
    run = Run(Sampling.model_validate(fields), 40, lucky(rates))
    accepted = run.accepted()
    easy, hard = (sum(accepted[p] for p in part) for part in (range(20), range(20, 40)))
    drawn = {p: len(indices) for p, indices in run.by_prompt().items()}
    assert hard > easy * 0.9
    assert sum(drawn[p] for p in range(20, 40)) > 2 * sum(drawn[p] for p in range(20))


def test_escalation_sets_what_it_names() -> None:
    sampling = Sampling.model_validate(
        {**UNTIL, "give_up_after": 4, "escalate": [{"temperature": 1.0, "model": "larger"}]}
    )
    assert sampling.at(0) is sampling
    assert sampling.at(1).temperature == 1.0
    assert sampling.at(1).max_tokens == sampling.max_tokens
    assert sampling.at(1).identity() != sampling.identity()
    assert sampling.identity() == Sampling().identity()


REFUSED = [
    ({"policy": "until"}, "accept"),
    ({"policy": "until", "accept": 5}, "raise n to at least accept"),
    ({"accept": 2}, "accept needs"),
    ({"policy": "budget"}, "budget"),
    ({"budget": {"tokens": 5}}, "go together"),
    ({"policy": "budget", "budget": {}}, "at least one"),
    ({"policy": "budget", "budget": {"money": 5}}, "prices"),
    ({"give_up_after": 2}, "give_up_after needs"),
    ({**UNTIL, "escalate": [{"top_k": 5}]}, "give_up_after"),
    ({**UNTIL, "give_up_after": 2, "escalate": [{}]}, "change something"),
    ({"temperature": 0}, "temperature 0"),
    ({"temprature": 1}, "temprature"),
]


@pytest.mark.parametrize(("fields", "word"), REFUSED)
def test_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Sampling.model_validate(fields)


def test_settings_that_change_no_sample_are_not_its_identity() -> None:
    plain = Sampling().identity()
    until = {**UNTIL, "give_up_after": 2, "early_stop": {}}
    assert Sampling.model_validate(until).identity() == plain
    cut = Sampling.model_validate({"early_stop": {"closed_answer": True}})
    assert cut.identity() == {**plain, "closed_answer": True}
