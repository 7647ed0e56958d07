"""Runs the build's own scheduler on simulated prompts with given success rates.

The forecast and the benchmarks use it, so that each policy is implemented once.
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
"""Ticket → (accepted, tokens to its end)."""


@dataclass(frozen=True)
class Simulated:
    """The result per prompt: samples drawn and accepted, tokens, tokens of aborted samples."""

    samples: NDArray[np.int64]
    accepted: NDArray[np.int64]
    tokens: NDArray[np.int64]
    aborted_tokens: NDArray[np.int64]

    def rows(self, per_prompt: int | None = None) -> int:
        """Return the rows of the corpus, at most `per_prompt` per prompt."""
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
    """Run a policy to its end with `capacity` samples in flight, one token per sample and tick.

    Samples that are no longer needed are aborted at that tick. They cost the tokens so far.
    """
    scheduler = Scheduler(sampling, prompts, sources)
    samples, accepted, tokens, aborted = ([0] * prompts for _ in range(4))
    now = serial = 0
    ends: list[tuple[int, int, Ticket]] = []
    flying: dict[Ticket, tuple[int, bool, int]] = {}  # start tick, accepted, tokens
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
