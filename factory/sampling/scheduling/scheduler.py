"""Chooses the next sample to draw. Pure: no engine, no text, no clock; prompts are numbers.

`fixed`, `until` and `difficulty` draw each prompt in waves (factory.sampling.scheduling.policies).
`budget` picks the prompt with the highest score (factory.sampling.scheduling.budget). The
bookkeeping of tickets is the same for all policies and is done here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.sampling.scheduling.budget import Bandit
from factory.sampling.scheduling.policies import WAVE_POLICIES
from factory.sampling.scheduling.prompt_state import PromptState, Ticket
from factory.sampling.scheduling.teachers import Teachers
from factory.sampling.scheduling.waves import Waves

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling

__all__ = ["Scheduler", "Ticket"]


class Scheduler:
    """Hands out tickets and learns from their results.

    Every ticket ends in exactly one of `learn` (a judged sample) or `fail` (no sample). Tickets
    of an earlier process are added by `restore`, before the first `next`. `sources` gives each
    prompt's source as a number; `budget` learns one success rate per source. With several teachers
    the policy chooses the prompt, and then the price the teacher (factory.sampling.scheduling.
    teachers), which is the ticket's level.
    """

    def __init__(
        self, sampling: Sampling, prompts: int, sources: Sequence[int] | None = None
    ) -> None:
        self._state, self._most_tokens = PromptState(prompts), sampling.max_tokens
        self._teachers: Teachers | None = None
        if sampling.teachers:
            self._teachers = Teachers(sampling, prompts, sources)
        self._order: Waves | Bandit
        if sampling.policy == "budget":
            self._order = Bandit(self._state, sampling, sources, self._teachers)
        else:
            policy = WAVE_POLICIES[sampling.policy](sampling)
            self._order = Waves(self._state, policy, sampling.pending or 0)
        self._surplus: list[Ticket] = []
        self._taken_up = deque[Ticket]()
        self.ended = 0
        """Tickets that ended, including those of earlier processes."""
        self.accepted = 0
        """Accepted samples among them."""
        self.tokens = 0
        """Tokens generated for them, as far as reported."""

    def restore(
        self,
        drawn: Iterable[tuple[Ticket, bool | None, *tuple[int, ...]]],
        pending: Iterable[Ticket] = (),
    ) -> None:
        """Restore an earlier process's samples: (ticket, accepted), and where they are known the
        tokens that were generated and those of the prompt.

        `accepted` is None if unknown, which counts as not accepted. `pending` are those of the
        accepted ones whose verdicts are to come.
        """
        for ticket in pending:
            self._state.add_pending(ticket.prompt)
        held: dict[int, int] = {}
        hits: dict[int, int] = {}
        with_tokens, price = 0, 0.0
        for ticket, accepted, *spent in drawn:
            held[ticket.prompt] = held.get(ticket.prompt, 0) | 1 << ticket.index
            if accepted:
                hits[ticket.prompt] = hits.get(ticket.prompt, 0) | 1 << ticket.index
            tokens, prompt_tokens = (*spent, 0, 0)[:2]
            self.tokens += tokens
            with_tokens += bool(spent)
            if self._teachers is not None:
                price += self._teachers.restore(ticket, bool(accepted), tokens, prompt_tokens)
        for prompt, mask in held.items():
            accepted_mask = hits.get(prompt, 0)
            self._state.restore(prompt, mask, accepted_mask)
            self._order.restore(prompt, mask, accepted_mask)
            self.ended += mask.bit_count()
            self.accepted += accepted_mask.bit_count()
        if isinstance(self._order, Bandit):
            self._order.spend(with_tokens, self.tokens, price)

    def take_up(self, waiting: Iterable[Ticket]) -> None:
        """Go on with samples that an earlier process asked for and whose answers wait.

        They are the next tickets, and no other teacher is asked for them. After `restore`. Those of
        a prompt that has enough are left out.
        """
        for ticket in waiting:
            if self._order.take_up(ticket.prompt, ticket.index):
                self._taken_up.append(ticket)

    def next(self) -> Ticket | None:
        """Return the next sample to draw, or None if none is due until more samples are judged."""
        ticket = self._taken_up.popleft() if self._taken_up else self._choose()
        if ticket is not None and self._teachers is not None:
            self._teachers.start(ticket)
        return ticket

    def _choose(self) -> Ticket | None:
        ticket = self._order.next()
        if ticket is None or self._teachers is None:
            return ticket
        level = self._teachers.choose(ticket.prompt, self._state.accepted[ticket.prompt])
        return replace(ticket, level=level)

    def learn(
        self,
        ticket: Ticket,
        accepted: bool,
        tokens: int | None = None,
        prompt_tokens: int = 0,
        *,
        pending: bool = False,
    ) -> None:
        """Record a verdict. If `tokens` is None, a budget counts `max_tokens` for the sample.

        `pending`: the verdict is to come by `settle`, and the sample counts as accepted until then.
        """
        self.tokens += tokens or 0
        if pending:
            self._state.add_pending(ticket.prompt)
        self._end(ticket, accepted or pending, tokens, prompt_tokens)

    def settle(self, ticket: Ticket, accepted: bool) -> None:
        """Record the verdict of a pending sample."""
        self.accepted -= not accepted
        self._state.settle(ticket.prompt, accepted)
        if self._teachers is not None:
            self._teachers.settle(ticket, accepted)
        if isinstance(self._order, Waves) and self._order.settle(ticket.prompt):
            self._abort_surplus(ticket.prompt)

    def fail(self, ticket: Ticket) -> None:
        """Record a request that gives no sample."""
        self._end(ticket, False, 0)

    def set_gpu_hours(self, gpu_hours: float) -> None:
        """Set the GPU-hours of this run so far, including earlier processes."""
        if isinstance(self._order, Bandit):
            self._order.gpu_hours = gpu_hours

    def surplus(self) -> list[Ticket]:
        """Return the tickets in flight that are no longer needed. Each is returned once."""
        surplus, self._surplus = self._surplus, []
        return surplus

    def _end(
        self, ticket: Ticket, accepted: bool, tokens: int | None, prompt_tokens: int = 0
    ) -> None:
        prompt = ticket.prompt
        self.ended += 1
        self.accepted += accepted
        self._state.end(prompt, ticket.index, accepted)
        price = None
        if self._teachers is not None:
            spent = self._most_tokens if tokens is None else tokens
            price = self._teachers.end(ticket, accepted, spent, prompt_tokens)
        if self._order.learn(ticket, accepted, tokens, price):
            self._abort_surplus(prompt)

    def _abort_surplus(self, prompt: int) -> None:
        self._surplus += [Ticket(prompt, index) for index in self._state.in_flight(prompt)]
