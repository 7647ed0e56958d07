"""How many samples a prompt gets, wave by wave: `fixed`, `until` and `difficulty`.

A wave is drawn when everything before it has ended, and its size is a function of how many samples
that was and how many were accepted. So what a prompt gets depends on its own verdicts alone: never
on the order in which prompts or samples finish, and not on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling


class WavePolicy(Protocol):
    """The rule of one policy."""

    def more(self, drawn: int, accepted: int) -> int:
        """The size of the wave after `drawn` samples, all of which ended; 0: the prompt is done."""

    def enough(self, accepted: int) -> bool:
        """Whether the samples still in flight are no longer wanted."""

    def level(self, drawn: int, accepted: int, level: int) -> int:
        """The escalation level of the next wave, that of the last one being `level`."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """`n` samples a prompt."""

    n: int

    def more(self, drawn: int, accepted: int) -> int:
        return max(0, self.n - drawn)

    def enough(self, accepted: int) -> bool:
        return False

    def level(self, drawn: int, accepted: int, level: int) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Until:
    """Samples until `accept` are accepted.

    A wave is what is still missing, so that no sample of an easy prompt is drawn in vain; where too
    few came of it, the next is larger, up to `wave`, so that a hard prompt does not wait for its
    samples one by one. Waves of prompts without a success end at multiples of `give_up_after`,
    where such a prompt goes up a level; one at the last level is given up.
    """

    n: int
    accept: int
    wave: int
    give_up_after: int | None
    levels: int

    def more(self, drawn: int, accepted: int) -> int:
        missing = self.accept - accepted
        if missing <= 0:
            return 0
        # Never more than the rate so far asks for, drawn * missing / accepted: accepted < accept.
        size = min(max(missing, drawn * missing // self.accept), self.wave, self.n - drawn)
        if self.give_up_after is not None and accepted == 0:
            if drawn >= self.give_up_after * (self.levels + 1):
                return 0
            size = min(size, self.give_up_after - drawn % self.give_up_after)
        return max(0, size)

    def enough(self, accepted: int) -> bool:
        return accepted >= self.accept

    def level(self, drawn: int, accepted: int, level: int) -> int:
        if accepted or self.give_up_after is None:
            return level
        return min(drawn // self.give_up_after, self.levels)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Accepted samples in proportion to a prompt's difficulty, its share of failures.

    DART-Math (arXiv 2407.13690, §3) gives the hardest query the most correct responses and every
    query at least one ("Prop2Diff"). It measures difficulty beforehand; here the first wave is the
    measurement, and each wave after it makes the estimate better. Laplace's rule keeps one failure
    in two samples from meaning much.
    """

    n: int
    accept: int
    wave: int
    give_up_after: int | None

    def more(self, drawn: int, accepted: int) -> int:
        if drawn == 0:
            return min(self.wave, self.n)
        if self.give_up_after is not None and accepted == 0 and drawn >= self.give_up_after:
            return 0
        failing = (drawn - accepted + 1) / (drawn + 2)
        target = max(1, round(self.accept * failing))
        return max(0, min(target - accepted, self.wave, self.n - drawn))

    def enough(self, accepted: int) -> bool:
        return accepted >= self.accept

    def level(self, drawn: int, accepted: int, level: int) -> int:
        return 0


def _until(options: Sampling) -> Until:
    assert options.accept is not None  # the schema asks for it
    levels = len(options.escalate)
    return Until(options.n, options.accept, options.wave, options.give_up_after, levels)


def _difficulty(options: Sampling) -> Difficulty:
    assert options.accept is not None  # the schema asks for it
    return Difficulty(options.n, options.accept, options.wave, options.give_up_after)


WAVE_POLICIES: dict[str, Callable[[Sampling], WavePolicy]] = {
    "fixed": lambda options: Fixed(options.n),
    "until": _until,
    "difficulty": _difficulty,
}
"""Recipe policy → its rule; `budget` chooses among prompts (scheduling.budget)."""
