"""The recipe's `sampling.search` section: how a tree of continuations grows, and what values it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.core.content_hash import content_hash
from factory.core.plugins import find_class
from filters.judges.process_model import Aggregate, ProcessModel
from filters.judges.reward_model import RewardModel
from filters.reasoning_steps import STOPS

SearchRule = Literal["paragraphs", "lines", "sentences", "equations"]
"""Rules of filters.reasoning_steps by which a model can be stopped after a step."""

GROUP = "factory.scorers"
"""Installed packages add scorers as entry points of this group."""


class Scorer(Protocol):
    """Scores texts that may go on: a class of your own, created without arguments."""

    def score(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return a score between 0 and 1 for each text, a turn or the start of one."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Value(_Options):
    """Who says how good a prefix is: exactly one of the four, and whether it sees a whole turn."""

    process_model: ProcessModel | None = Field(
        None, description="A process reward model (`kind: reward_model`, `shape: stepwise`)."
    )
    by: Aggregate = Field(
        "last",
        description="`process_model` only: the value by the scores of the steps so far: `min`, "
        "`product`, `last` or `mean`.",
    )
    reward_model: RewardModel | None = Field(
        None, description="A reward model of whole answers; its score goes through a sigmoid."
    )
    reference: str | None = Field(
        None,
        alias="class",
        description="One of your own: `path/to/file.py:Class` with a method `score(question, "
        "texts)`, run as code.",
    )
    verifier: bool = Field(
        False,
        description="The prompt's own verifier, for training data. It knows the answer, so an "
        "evaluation refuses it.",
    )
    rollouts: int = Field(
        0,
        ge=0,
        description="Complete turns that are drawn from each prefix; its value is the mean of "
        "their scores. 0: the prefix itself is scored.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        named = [self.process_model, self.reward_model, self.reference, self.verifier or None]
        if sum(one is not None for one in named) != 1:
            raise ValueError("give exactly one of process_model, reward_model, class and verifier")
        if self.verifier and not self.rollouts:
            raise ValueError("verifier judges complete turns only; set rollouts, such as 2")
        if self.process_model is None and "by" in self.model_fields_set:
            raise ValueError("by needs process_model")
        return self

    @field_validator("reference")
    @classmethod
    def _loads(cls, reference: str | None) -> str | None:
        if reference is not None:
            find_class({}, reference, Scorer, GROUP)  # type: ignore[type-abstract]
        return reference

    def identity(self) -> dict[str, Any]:
        """Return what changes a value: a local model by its content, a class by its source."""
        found = self.model_dump(mode="json", exclude_defaults=True, exclude={"reference"})
        for name, model in (
            ("process_model", self.process_model),
            ("reward_model", self.reward_model),
        ):
            if model is not None:
                found[name]["model"] = _identify_model(model.model)
        if self.reference is not None:
            scorer = find_class({}, self.reference, Scorer, GROUP)  # type: ignore[type-abstract]
            found["class"] = [scorer.__name__, getattr(scorer, "SOURCE", "")]
        return found


def _identify_model(name: str) -> str:
    folder = Path(name).expanduser()
    return content_hash(folder) if folder.is_dir() else name


class Search(_Options):
    """A search for one answer over steps: `policy: beam` or `tree`."""

    rule: SearchRule = Field(
        "lines", description="Where a step ends. The model is stopped there and goes on."
    )
    width: int = Field(4, ge=1, le=256, description="Continuations drawn from a prefix.")
    beams: int = Field(4, ge=1, le=256, description="`beam` only: prefixes that are kept.")
    diverse: bool = Field(
        False,
        description="`beam` only: beams never compete, each keeps the best of its own "
        "continuations (DVTS).",
    )
    expansions: int = Field(
        32, ge=1, le=100_000, description="`tree` only: prefixes that are continued, at most."
    )
    exploration: float = Field(
        1.0, ge=0, description="`tree` only: weight of rarely tried continuations (PUCT's c)."
    )
    max_steps: int = Field(
        32, ge=1, le=10_000, description="Steps on a path; the last one is the rest of the turn."
    )
    step_tokens: int = Field(
        512, ge=1, description="Maximum number of tokens of a step; a longer one is cut there."
    )
    tokens: int | None = Field(
        None,
        ge=1,
        description="Generated tokens after which a search grows no more, rollouts included. The "
        "last round and the end of the answer may go beyond.",
    )
    value: Value = Field(description="What says how good a prefix is.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width == 1 and not self.beams > 1:
            raise ValueError("width and beams are both 1, so there is nothing to choose from")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings at which the model is stopped after a step."""
        return STOPS[self.rule]

    @property
    def token_limit(self) -> float:
        return float("inf") if self.tokens is None else self.tokens

    def most_tokens(self, policy: str, max_tokens: int) -> int:
        """Return the most tokens that one search may generate, by a policy, with paths of at most
        `max_tokens`."""
        rounds = self.max_steps if policy == "beam" else self.expansions
        draws = self.width * (self.beams if policy == "beam" else 1)
        one_round = draws * (self.step_tokens + self.value.rollouts * max_tokens)
        ends = (draws + 1) * max_tokens  # those of the last step, and the rest of the best prefix
        grown = rounds * one_round
        return ends + (grown if self.tokens is None else min(grown, self.tokens + one_round))

    def identity(self) -> dict[str, Any]:
        """Return the settings that change a sample."""
        return self.model_dump(mode="json", exclude={"value"}) | {"value": self.value.identity()}
