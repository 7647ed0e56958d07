"""What judging again changes, in numbers and in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_SHOWN = 5


@dataclass(frozen=True)
class Flip:
    """A sample whose verdict changes. `was` is a state, or of a log the reward."""

    id: str
    prompt: str
    was: str
    now: str
    was_reward: float | None
    now_reward: float | None


@dataclass
class Difference:
    """What judging again changes, and what it costs."""

    log: str
    verdicts: int
    again: int  # to be given again
    versions: dict[str, int] = field(default_factory=dict)  # "math-3 -> math-4": how many
    cpu_s: float | None = None  # expected from the recorded costs; None: none is recorded
    spent_s: float = 0.0
    judged: bool = False  # False: an estimate, and nothing below is known
    states: dict[str, int] = field(default_factory=dict)  # afterwards
    flips: list[Flip] = field(default_factory=list)
    has_rows: bool = False  # a log of others has no corpus
    rows_in: list[str] = field(default_factory=list)
    rows_out: list[str] = field(default_factory=list)
    rates: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)  # prompt: samples that it would get next
    unread: list[str] = field(default_factory=list)  # rows that cannot be used, and why

    def lines(self) -> Iterator[str]:
        """Format it for people."""
        cost = "no cost is recorded" if self.cpu_s is None else f"about {self.cpu_s:,.3g} CPU s"
        yield f"{self.log}: {self.verdicts:,} verdicts, {self.again:,} to give again ({cost})"
        for versions, count in sorted(self.versions.items()):
            yield f"  {count:,} {versions}"
        if self.unread:
            yield f"{len(self.unread):,} rows cannot be used"
            yield from (f"  {why}" for why in self.unread[:_SHOWN])
        if self.judged:
            yield from self._changes()

    def _changes(self) -> Iterator[str]:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()))
        yield f"verdicts    {len(self.flips):,} change in {self.spent_s:,.3g} CPU s; now {states}"
        groups: dict[tuple[str, str], list[str]] = {}
        for flip in self.flips:
            groups.setdefault((flip.was, flip.now), []).append(flip.id)
        for (was, now), names in sorted(groups.items(), key=lambda group: -len(group[1])):
            yield f"  {len(names):,} {was} -> {now}: {', '.join(names[:_SHOWN])}"
        rewards = Counter(
            f"{_show(flip.was_reward)} -> {_show(flip.now_reward)}"
            for flip in self.flips
            if flip.was_reward != flip.now_reward
        )
        kinds = "".join(f", {count:,} {kind}" for kind, count in rewards.most_common())
        yield f"rewards     {rewards.total():,} change{kinds}"
        if self.has_rows:
            yield f"rows        {len(self.rows_in):,} more, {len(self.rows_out):,} fewer"
        yield f"pass rates  {len(self.rates):,} prompts change"
        yield f"samples     {len(self.more):,} prompts need more"
        yield from (f"  {prompt}: {n:,} next" for prompt, n in list(self.more.items())[:_SHOWN])


def _show(reward: float | None) -> str:
    return "undecided" if reward is None else f"{reward:g}"
