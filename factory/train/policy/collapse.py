"""Detect that a policy has collapsed, by rules over the logged steps.

Training a collapsed policy further does not help, and each new checkpoint replaces a good one. So
the training stops, and the error names the step at which the collapse began.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from factory.recipe.grpo import Stop

MOSTLY = 0.5
"""Below this share of truncated completions, most completions end by themselves."""


class StepStats(NamedTuple):
    """The statistics of one step that the rules use."""

    step: int
    reward: float | None  # mean over the step's completions; None if no reward applied
    no_signal: float  # share of groups in which all rewards are equal
    format: float | None  # mean of the format reward; None if the recipe has none
    cut: float  # share of completions truncated by the token limit
    length: float  # mean tokens per completion

    @classmethod
    def from_log(cls, row: Mapping[str, Any], format_part: str | None) -> StepStats:
        """Parse a line of log.jsonl. `format_part` is the name of the format reward."""
        return cls(
            row["step"],
            _parse_number(row.get("reward")),
            _parse_number(row.get("frac_reward_zero_std")) or 0.0,
            _parse_number(row.get(f"rewards/{format_part}/mean")) if format_part else None,
            _parse_number(row.get("cut")) or 0.0,
            _parse_number(row.get("completions/mean_length")) or 0.0,
        )


def _parse_number(value: Any) -> float | None:
    """Return a finite number; None for others. The log stores NaN, a mean of nothing, as text."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


class Collapse(NamedTuple):
    """What went wrong, since which step, and the remedy."""

    what: str
    since: int
    remedy: str


_REMEDY_UNSTABLE = (
    "lower optimizer.learning_rate, raise beta or batch, and resume from an earlier checkpoint"
)
_REMEDY_TOO_HARD = (
    "the prompts are too hard for the model: cold-start it with SFT, or use easier prompts, more "
    "samples of each, or a higher temperature"
)


class CollapseDetector:
    """Checks the logged steps in order. `best` is the largest possible reward, if it is bounded."""

    def __init__(self, rules: Stop, best: float | None, log_every: int = 1) -> None:
        self.rules = rules
        self.best = best
        self._no_signal_limit = -(-(rules.no_signal or 1) // log_every)
        self._recent: deque[StepStats] = deque(maxlen=-(-rules.over // log_every))
        self._no_signal_steps = 0  # consecutive steps without a signal
        self._no_signal_since = 0
        self._had_signal = False  # in any step
        self._had_format = False  # the format reward once reached `format_from`
        self._had_ends = False  # most completions once ended by themselves

    def update(self, step: StepStats) -> Collapse | None:
        """Add the next logged step. Returns the collapse; None while there is none."""
        self._recent.append(step)
        return self._check_signal(step) or self._check_window()

    def _check_signal(self, step: StepStats) -> Collapse | None:
        done = step.reward is not None and self.best is not None and step.reward > self.best - 1e-6
        if (step.reward is not None and step.no_signal < 1) or done:
            self._no_signal_steps, self._had_signal = 0, True
            return None
        if not self._no_signal_steps:
            self._no_signal_since = step.step
        self._no_signal_steps += 1
        if self.rules.no_signal is None or self._no_signal_steps < self._no_signal_limit:
            return None
        if step.reward is None:
            what = "no completion was given any reward: no part applies, or none could be decided"
            remedy = "check `undecided` in log.jsonl, and the recipe's rewards"
            return Collapse(what, self._no_signal_since, remedy)
        what = f"the rewards did not differ in any group: every completion earns {step.reward:g}"
        remedy = _REMEDY_UNSTABLE if self._had_signal else _REMEDY_TOO_HARD
        return Collapse(what, self._no_signal_since, remedy)

    def _check_window(self) -> Collapse | None:
        if len(self._recent) < (self._recent.maxlen or 1):
            return None
        since = self._recent[0].step
        formats = [step.format for step in self._recent if step.format is not None]
        if formats:
            mean = sum(formats) / len(formats)
            self._had_format = self._had_format or mean >= self.rules.format_from
            low = self.rules.format_below
            if low is not None and self._had_format and mean < low:
                return Collapse(f"the format reward fell to {mean:.3f}", since, _REMEDY_UNSTABLE)
        cut = sum(step.cut for step in self._recent) / len(self._recent)
        self._had_ends = self._had_ends or cut < MOSTLY
        if self.rules.runaway is not None and self._had_ends and cut >= self.rules.runaway:
            what = f"{cut:.0%} of the completions reach rollouts.max_tokens"
            remedy = f"{_REMEDY_UNSTABLE}; or raise max_tokens if the texts are sound"
            return Collapse(what, since, remedy)
        length = sum(step.length for step in self._recent) / len(self._recent)
        if self.rules.empty is not None and length < self.rules.empty:
            what = f"completions have {length:.1f} tokens on average"
            return Collapse(what, since, _REMEDY_UNSTABLE)
        return None
