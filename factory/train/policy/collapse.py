"""When a policy has collapsed: rules over the steps so far, and what to say.

A collapsed policy earns nothing more however long it is trained, and each further checkpoint takes
the place of a good one. So the training stops, and names the step from which things went wrong.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from factory.recipe.grpo import Stop

MOSTLY = 0.5
"""A share below this counts as "most completions ended by themselves"."""


class Step(NamedTuple):
    """What the rules look at in one step."""

    step: int
    reward: float | None  # mean over the step's completions; None: no reward applied
    no_signal: float  # share of groups in which all rewards are equal
    format: float | None  # the format reward's mean; None where a recipe has none
    cut: float  # share of completions that the token limit ended
    length: float  # mean tokens of a completion

    @classmethod
    def of(cls, row: Mapping[str, Any], format_part: str | None) -> Step:
        """From a line of log.jsonl."""
        return cls(
            row["step"],
            _number(row.get("reward")),
            _number(row.get("frac_reward_zero_std")) or 0.0,
            _number(row.get(f"rewards/{format_part}/mean")) if format_part else None,
            _number(row.get("cut")) or 0.0,
            _number(row.get("completions/mean_length")) or 0.0,
        )


def _number(value: Any) -> float | None:
    """A mean of nothing is no number; log.jsonl holds it as text."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


class Collapse(NamedTuple):
    """What went wrong, from which step on, and what to do about it."""

    what: str
    since: int
    remedy: str


_GENTLER = (
    "lower optimizer.learning_rate, raise beta or batch, and go on from an earlier checkpoint"
)
_WARMER = (
    "such prompts are too hard or too far from what the model writes: cold-start it with SFT, take "
    "easier prompts, more samples of each, or a higher temperature"
)


class Watch:
    """Sees every logged step in order. `best` is the most a completion can earn, where known."""

    def __init__(self, rules: Stop, best: float | None, log_every: int = 1) -> None:
        self.rules = rules
        self.best = best
        self._patience = -(-(rules.no_signal or 1) // log_every)
        self._recent: deque[Step] = deque(maxlen=-(-rules.over // log_every))
        self._silent = 0  # steps in a row without signal
        self._silent_since = 0
        self._spoke = False  # some step had a signal
        self._formatted = False
        self._ended = False

    def see(self, step: Step) -> Collapse | None:
        """What has collapsed by this step; None while nothing has."""
        self._recent.append(step)
        return self._no_signal(step) or self._over_the_window()

    def _no_signal(self, step: Step) -> Collapse | None:
        done = step.reward is not None and self.best is not None and step.reward > self.best - 1e-6
        if (step.reward is not None and step.no_signal < 1) or done:
            self._silent, self._spoke = 0, True
            return None
        if not self._silent:
            self._silent_since = step.step
        self._silent += 1
        if self.rules.no_signal is None or self._silent < self._patience:
            return None
        if step.reward is None:
            what = "no completion was given any reward: no part applies, or none could be decided"
            return Collapse(what, self._silent_since, "see `undecided` in log.jsonl, and rewards")
        what = f"in no group did the rewards differ: every completion earns {step.reward:g}"
        remedy = _GENTLER if self._spoke else _WARMER
        return Collapse(what, self._silent_since, remedy)

    def _over_the_window(self) -> Collapse | None:
        if len(self._recent) < (self._recent.maxlen or 1):
            return None
        since = self._recent[0].step
        formats = [step.format for step in self._recent if step.format is not None]
        if formats:
            mean = sum(formats) / len(formats)
            self._formatted = self._formatted or mean >= self.rules.format_from
            low = self.rules.format_below
            if low is not None and self._formatted and mean < low:
                return Collapse(f"the format reward fell to {mean:.3f}", since, _GENTLER)
        cut = sum(step.cut for step in self._recent) / len(self._recent)
        self._ended = self._ended or cut < MOSTLY
        if self.rules.runaway is not None and self._ended and cut >= self.rules.runaway:
            what = f"{cut:.0%} of the completions run into rollouts.max_tokens"
            return Collapse(what, since, f"{_GENTLER}; or raise max_tokens if the texts are sound")
        length = sum(step.length for step in self._recent) / len(self._recent)
        if self.rules.empty is not None and length < self.rules.empty:
            return Collapse(f"completions have {length:.1f} tokens on average", since, _GENTLER)
        return None
