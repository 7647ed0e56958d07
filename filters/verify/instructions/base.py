"""A check of one instruction: whether a response follows it, and how it is said to a model.

The instructions are those of IFEval (arXiv 2311.07911, Table 1) and some more; the rules and words
are this project's own. A check that people could count in two ways answers only where both ways
agree: `well-known` is one word or two, so 99 or 100 words are undecided for "at least 100".
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from filters.verify.truth import Truth


class Finding(NamedTuple):
    """Whether an instruction was followed (None: it cannot be said), and what was seen."""

    followed: Truth
    seen: str = ""


class Check(BaseModel):
    """Base of the checks. Its fields are the keys of an instruction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check: Any

    def judge(self, response: str) -> Finding:
        """Whether a response follows the instruction. Never raises; linear in the text."""
        raise NotImplementedError

    def describe(self) -> str:
        """The instruction as a sentence for a model."""
        raise NotImplementedError


class Bounds(Check):
    """A check of a number: at_least, at_most, or exactly."""

    at_least: int | None = Field(None, ge=0, le=100_000)
    at_most: int | None = Field(None, ge=0, le=100_000)
    exactly: int | None = Field(None, ge=0, le=100_000)

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.at_least is None and self.at_most is None and self.exactly is None:
            raise ValueError("needs at_least, at_most or exactly")
        if self.exactly is not None and (self.at_least, self.at_most) != (None, None):
            raise ValueError("exactly excludes at_least and at_most")
        if None not in (self.at_least, self.at_most) and self.at_least > self.at_most:  # type: ignore[operator]
            raise ValueError(f"at_least {self.at_least} is more than at_most {self.at_most}")
        return self

    def within(self, low: int, high: int | None = None) -> Finding:
        """The finding for a number that is between `low` and `high`, both included."""
        high = low if high is None else high
        floor = self.exactly if self.exactly is not None else self.at_least or 0
        limit = self.exactly if self.exactly is not None else self.at_most
        seen = str(low) if low == high else f"{low} to {high}"
        if high < floor or (limit is not None and low > limit):
            return Finding(False, f"{seen}, {self.bound()} wanted")
        if low >= floor and (limit is None or high <= limit):
            return Finding(True, seen)
        return Finding(None, f"{seen}, {self.bound()} wanted")

    def bound(self) -> str:
        """The bound in words: `at least 3`."""
        if self.exactly is not None:
            return f"exactly {self.exactly}"
        parts = [f"at least {self.at_least}"] if self.at_least is not None else []
        parts += [f"at most {self.at_most}"] if self.at_most is not None else []
        return " and ".join(parts)
