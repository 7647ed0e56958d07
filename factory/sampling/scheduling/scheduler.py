"""Who gets the next sample. Pure: it knows prompts by number, and neither engine, text nor clock.

`fixed`, `until` and `difficulty` give each prompt its waves (factory.sampling.scheduling.policies);
`budget` looks for the prompt that promises most (factory.sampling.scheduling.budget). What it hands
out and how that ends is the same for all of them, and is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from factory.sampling.scheduling.budget import Bandit
from factory.sampling.scheduling.policies import WAVE_POLICIES
from factory.sampling.scheduling.prompt_state import Book, Ticket
from factory.sampling.scheduling.waves import Waves

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling

__all__ = ["Scheduler", "Ticket"]


class Scheduler:
    """Hands out tickets and learns from what becomes of them.

    Every ticket ends in exactly one of `learn` (a judged sample) or `fail` (no sample, ever). A
    ticket of an earlier process counts as learned through `restore`, before the first `next`.
    `sources` numbers each prompt's source; `budget` learns a success rate for each.
    """

    def __init__(
        self, sampling: Sampling, prompts: int, sources: Sequence[int] | None = None
    ) -> None:
        self._book = Book(prompts)
        self._order: Waves | Bandit
        if sampling.policy == "budget":
            self._order = Bandit(self._book, sampling, sources)
        else:
            self._order = Waves(self._book, WAVE_POLICIES[sampling.policy](sampling))
        self._surplus: list[Ticket] = []
        self.ended = 0
        """Tickets that ended, those of earlier processes included."""
        self.accepted = 0
        """Accepted samples among them."""
        self.tokens = 0
        """Tokens generated for them, as far as they were told."""

    def restore(self, drawn: Iterable[tuple[Ticket, bool | None, *tuple[int, ...]]]) -> None:
        """Take up what an earlier process drew: (ticket, accepted) or (ticket, accepted, tokens).

        `accepted` is None where it is not known, which counts as not accepted.
        """
        held: dict[int, int] = {}
        hits: dict[int, int] = {}
        told = 0
        for ticket, accepted, *tokens in drawn:
            held[ticket.prompt] = held.get(ticket.prompt, 0) | 1 << ticket.index
            if accepted:
                hits[ticket.prompt] = hits.get(ticket.prompt, 0) | 1 << ticket.index
            self.tokens += sum(tokens)
            told += len(tokens)
        for prompt, mask in held.items():
            accepted_mask = hits.get(prompt, 0)
            self._book.hold(prompt, mask, accepted_mask)
            self._order.restore(prompt, mask, accepted_mask)
            self.ended += mask.bit_count()
            self.accepted += accepted_mask.bit_count()
        if isinstance(self._order, Bandit):
            self._order.spend(told, self.tokens)

    def next(self) -> Ticket | None:
        """The next sample to draw; None while none is due (more may come as samples are judged)."""
        return self._order.next()

    def learn(self, ticket: Ticket, accepted: bool, tokens: int | None = None) -> None:
        """A sample was judged. `tokens` it took; a budget counts `max_tokens` where it is None."""
        self.tokens += tokens or 0
        self._end(ticket, accepted, tokens)

    def fail(self, ticket: Ticket) -> None:
        """A request gave no sample and never will."""
        self._end(ticket, False, 0)

    def elapsed(self, gpu_hours: float) -> None:
        """Tell the GPU-hours this run has taken so far, earlier processes included."""
        if isinstance(self._order, Bandit):
            self._order.gpu_hours = gpu_hours

    def surplus(self) -> list[Ticket]:
        """Tickets in flight that are no longer wanted, each told once."""
        surplus, self._surplus = self._surplus, []
        return surplus

    def _end(self, ticket: Ticket, accepted: bool, tokens: int | None) -> None:
        prompt = ticket.prompt
        self.ended += 1
        self.accepted += accepted
        self._book.end(prompt, ticket.index, accepted)
        if self._order.learn(ticket, accepted, tokens):
            self._surplus += [Ticket(prompt, index) for index in self._book.in_flight(prompt)]
