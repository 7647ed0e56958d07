"""The very scheduler of a build, run against prompts whose success rates are made up or guessed.

The forecast predicts with it and the benchmarks measure with it: a policy is written down once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory.sampling.scheduling.scheduler import Scheduler, Ticket

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling

Draw = Callable[[Ticket], tuple[bool, int]]
"""What comes of a ticket: accepted or not, and the tokens it takes to its end."""


@dataclass(frozen=True)
class Simulated:
    """What each prompt got: samples drawn, accepted, and the tokens of all of them."""

    samples: NDArray[np.int64]
    accepted: NDArray[np.int64]
    tokens: NDArray[np.int64]
    aborted_tokens: NDArray[np.int64]

    def rows(self, per_prompt: int | None = None) -> int:
        """Rows of the corpus, at most `per_prompt` a prompt."""
        return int(np.minimum(self.accepted, per_prompt or 1 << 30).sum())

    @property
    def covered(self) -> int:
        """Prompts with an accepted sample."""
        return int((self.accepted > 0).sum())


def simulate(
    sampling: Sampling,
    prompts: int,
    draw: Draw,
    sources: Sequence[int] | None = None,
    capacity: int = 256,
) -> Simulated:
    """Run a policy to its end with `capacity` samples in flight, each a token a tick.

    Samples that become superfluous are aborted at that tick and cost what they had by then.
    """
    scheduler = Scheduler(sampling, prompts, sources)
    samples, accepted, tokens, aborted = ([0] * prompts for _ in range(4))
    now = serial = 0
    ends: list[tuple[int, int, Ticket]] = []
    flying: dict[Ticket, tuple[int, bool, int]] = {}  # when it began, what comes of it
    while True:
        while len(flying) < capacity and (ticket := scheduler.next()) is not None:
            hit, length = draw(ticket)
            flying[ticket] = (now, hit, length)
            heappush(ends, (now + length, serial, ticket))
            serial += 1
        if not flying:
            return Simulated(*map(np.array, (samples, accepted, tokens, aborted)))
        now, _, ticket = heappop(ends)
        if ticket not in flying:
            continue  # aborted
        _, hit, length = flying.pop(ticket)
        samples[ticket.prompt] += 1
        accepted[ticket.prompt] += hit
        tokens[ticket.prompt] += length
        scheduler.learn(ticket, hit, length)
        for extra in scheduler.surplus():
            began, _, _ = flying.pop(extra)
            samples[extra.prompt] += 1
            tokens[extra.prompt] += now - began
            aborted[extra.prompt] += now - began
            scheduler.learn(extra, False, now - began)
