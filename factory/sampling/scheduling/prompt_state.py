"""What is known of every prompt while it is sampled, in a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ticket:
    """A sample to draw: the prompt's number in prompts.parquet and the sample's index.

    `level` counts the escalations so far: `Sampling.at(level)` are the settings to draw it with.
    """

    prompt: int
    index: int
    level: int = field(default=0, compare=False)  # what a sample is drawn with, not which it is


class Book:
    """Indices drawn and held, counts of what ended and was accepted.

    Arrays for what every prompt has; bit masks, kept only while they say something, for what few
    have. 800,000 prompts take some 5 MB, where a set for each would take 170.
    """

    def __init__(self, prompts: int) -> None:
        self.prompts = prompts
        self.ended = array("H", bytes(2 * prompts))
        self.accepted = array("H", bytes(2 * prompts))
        self.open: dict[int, int] = {}  # prompt → mask of the indices in flight
        self._next = array("H", bytes(2 * prompts))
        self._held: dict[int, int] = {}  # prompt → mask of restored indices, while any lies ahead

    def hold(self, prompt: int, held: int, accepted: int) -> None:
        """Take up what an earlier process drew: masks of its indices and of those accepted."""
        self._held[prompt] = held
        self.ended[prompt] = held.bit_count()
        self.accepted[prompt] = accepted.bit_count()

    def free(self, prompt: int, limit: int) -> int:
        """The lowest index below `limit` not drawn yet; -1 if there is none."""
        index = self._next[prompt]
        held = self._held.get(prompt)
        if held is not None:
            while held >> index & 1:
                index += 1
        return index if index < limit else -1

    def take(self, prompt: int, index: int) -> None:
        """An index was handed out."""
        self._next[prompt] = index + 1
        self.open[prompt] = self.open.get(prompt, 0) | 1 << index
        held = self._held.get(prompt)
        if held is not None and not held >> index:
            del self._held[prompt]

    def end(self, prompt: int, index: int, accepted: bool) -> None:
        """What was handed out came to an end."""
        left = self.open[prompt] & ~(1 << index)
        if left:
            self.open[prompt] = left
        else:
            del self.open[prompt]
        self.ended[prompt] += 1
        self.accepted[prompt] += accepted

    def in_flight(self, prompt: int) -> Iterator[int]:
        """The indices handed out that have not ended."""
        return bits(self.open.get(prompt, 0))


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
