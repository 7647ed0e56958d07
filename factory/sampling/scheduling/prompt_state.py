"""Sampling state of every prompt, in a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ticket:
    """One sample to draw: the prompt's row in prompts.parquet and the sample's index.

    `level` is the number of escalations so far. `Sampling.at(level)` returns the settings to use.
    """

    prompt: int
    index: int
    level: int = field(default=0, compare=False)  # not part of the identity


class PromptState:
    """Per prompt: indices drawn and restored, and counts of ended and accepted samples.

    A pending sample, whose verdict comes later, is counted as accepted until it is known.

    Arrays hold what every prompt has. Bit masks, kept only while needed, hold what few prompts
    have. 800,000 prompts take about 5 MB; one set per prompt would take 170 MB.
    """

    def __init__(self, prompts: int) -> None:
        self.prompts = prompts
        self.ended = array("H", bytes(2 * prompts))
        self.accepted = array("H", bytes(2 * prompts))
        self.open: dict[int, int] = {}  # prompt → mask of the indices in flight
        self.pending: dict[int, int] = {}  # prompt → samples counted as accepted and not known
        self._next = array("H", bytes(2 * prompts))
        self._held: dict[int, int] = {}  # prompt → mask of restored indices, until all are passed

    def restore(self, prompt: int, held: int, accepted: int) -> None:
        """Restore an earlier process's samples: masks of its indices and of the accepted ones."""
        self._held[prompt] = held
        self.ended[prompt] = held.bit_count()
        self.accepted[prompt] = accepted.bit_count()

    def next_index(self, prompt: int, limit: int) -> int:
        """Return the lowest index below `limit` that was not drawn yet, or -1 if there is none."""
        index = self._next[prompt]
        held = self._held.get(prompt)
        if held is not None:
            while held >> index & 1:
                index += 1
        return index if index < limit else -1

    def reserve(self, prompt: int, index: int) -> None:
        """Mark an index as in flight."""
        self._next[prompt] = index + 1
        self.open[prompt] = self.open.get(prompt, 0) | 1 << index
        held = self._held.get(prompt)
        if held is not None and not held >> index:
            del self._held[prompt]

    def take_up(self, prompt: int, index: int) -> None:
        """Mark an index as in flight since an earlier process. After `restore`."""
        self._held[prompt] = self._held.get(prompt, 0) | 1 << index
        self.open[prompt] = self.open.get(prompt, 0) | 1 << index

    def end(self, prompt: int, index: int, accepted: bool) -> None:
        """Mark an index in flight as ended."""
        left = self.open[prompt] & ~(1 << index)
        if left:
            self.open[prompt] = left
        else:
            del self.open[prompt]
        self.ended[prompt] += 1
        self.accepted[prompt] += accepted

    def add_pending(self, prompt: int) -> None:
        """Note that an accepted sample is only taken for one until its verdict comes."""
        self.pending[prompt] = self.pending.get(prompt, 0) + 1

    def settle(self, prompt: int, accepted: bool) -> None:
        """Note the verdict of a pending sample."""
        self.pending[prompt] -= 1
        if not self.pending[prompt]:
            del self.pending[prompt]
        self.accepted[prompt] -= not accepted

    def known(self, prompt: int) -> int:
        """Return the number of accepted samples, without those that are pending."""
        return self.accepted[prompt] - self.pending.get(prompt, 0)

    def in_flight(self, prompt: int) -> Iterator[int]:
        """Yield the indices in flight, lowest first."""
        return set_bits(self.open.get(prompt, 0))


def set_bits(mask: int) -> Iterator[int]:
    """Yield the positions of the set bits, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
