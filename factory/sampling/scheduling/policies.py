"""How many samples a prompt gets, wave by wave: `fixed`, `until` and `difficulty`.

A wave is drawn when all samples before it have ended. Its size is a function of the number of
samples so far and the number accepted. So a prompt's samples depend on its own verdicts only, not
on the order in which prompts or samples finish, nor on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling


class WavePolicy(Protocol):
    """The rule of one policy: the size and the level of each wave."""

    def more(self, drawn: int, accepted: int) -> int:
        """Return the size of the wave after `drawn` ended samples; 0: the prompt is done."""

    def enough(self, accepted: int) -> bool:
        """Return whether the samples still in flight are no longer needed."""

    def level(self, drawn: int, accepted: int, level: int) -> int:
        """Return the escalation level of the next wave; `level` is that of the last wave."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """`n` samples per prompt."""

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

    The first wave has as many samples as are needed, so that easy prompts waste none. If too few
    are accepted, the next wave is larger, up to `wave`, so that hard prompts need few rounds. The
    waves of a prompt without a success end at multiples of `give_up_after`. There it moves up one
    escalation level, or is given up after the last level. Teachers count as levels: each gets as
    many samples. Their waves do not grow (`grows`): another teacher's rate is another one.
    """

    n: int
    accept: int
    wave: int
    give_up_after: int | None
    levels: int
    grows: bool

    def more(self, drawn: int, accepted: int) -> int:
        missing = self.accept - accepted
        if missing <= 0:
            return 0
        # At most what the rate so far predicts, drawn * missing / accepted, as accepted < accept.
        size = max(missing, drawn * missing // self.accept) if self.grows else missing
        size = min(size, self.wave, self.n - drawn)
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

    DART-Math (arXiv 2407.13690, §3, "Prop2Diff") gives the hardest query the most correct responses
    and every query at least one. It measures difficulty beforehand. Here the first wave measures
    it, and each further wave improves the estimate. Laplace's rule of succession smooths it.
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
    assert options.accept is not None  # the schema requires it
    levels = len(options.escalate) or max(0, len(options.teachers) - 1)
    return Until(
        options.n,
        options.accept,
        options.wave,
        options.give_up_after,
        levels,
        grows=not options.teachers,
    )


def _difficulty(options: Sampling) -> Difficulty:
    assert options.accept is not None  # the schema requires it
    return Difficulty(options.n, options.accept, options.wave, options.give_up_after)


WAVE_POLICIES: dict[str, Callable[[Sampling], WavePolicy]] = {
    "fixed": lambda options: Fixed(options.n),
    "beam": lambda options: Fixed(options.n),
    "tree": lambda options: Fixed(options.n),
    "until": _until,
    "difficulty": _difficulty,
}
"""Recipe policy → its rule. `budget` compares prompts and is in scheduling.budget."""
