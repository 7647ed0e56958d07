"""Rewards: in RL a completion is judged by the same code as a corpus.

R1-Zero uses accuracy and format with equal weight, without a neural model (v1 §2.2.2). Reasoning RL
adds language consistency (§2.3.2). A reward gives each completion a number, None if it does not
apply to the prompt, or NaN if it could not be decided (a verifier timeout). A completion with an
undecided part gets no reward and is left out of its group's mean, so that a slow verifier has no
effect on the policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import polars as pl
from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import Prompt
from factory.core.plugins import find_class
from factory.recipe.parsing import Strict
from filters import FILTERS, filter_class
from filters.base import BASE_COLUMNS, Filter
from filters.correctness import Correctness
from filters.format import format_reward
from filters.language import Language as LanguageFilter

Values = list[float | None]


class AwaitVerdicts(Protocol):
    """Waits for verdicts that other processes give."""

    def __call__(
        self, rows: pl.DataFrame, metrics: pl.DataFrame, wait_s: float
    ) -> Mapping[str, str]:
        """Return the states by sample id of those rows that are pending in `metrics` of
        `correctness` and whose verdicts come within `wait_s` seconds."""


class Batch(NamedTuple):
    """Completions to reward: the input frame of filters (`INPUT_COLUMNS`), and the prompts."""

    frame: pl.DataFrame
    prompts: Sequence[Prompt]  # one per row
    await_verdicts: AwaitVerdicts | None = None  # in a training

    def measure(self, filter_: Filter) -> pl.DataFrame:
        """Return the base columns and a filter's metrics, in the order of the completions."""
        base = self.frame.select(BASE_COLUMNS)
        metrics = filter_.measure(self.frame)
        return base.join(metrics, on="sample_id", how="left", maintain_order="left")


REWARDS = {
    "accuracy": "factory.recipe.rewards:AccuracyReward",
    "format": "factory.recipe.rewards:FormatReward",
    "language": "factory.recipe.rewards:LanguageReward",
    "overlong": "factory.recipe.rewards:OverlongReward",
    "filter": "factory.recipe.rewards:Filtered",
    "environment": "factory.recipe.rewards:EnvironmentReward",
    "model": "factory.recipe.model_rewards:RewardModelScore",
    "server": "factory.recipe.model_rewards:ServerScore",
    "steps": "factory.recipe.model_rewards:StepScores",
    "own": "factory.recipe.model_rewards:OwnScore",
}
"""Kind of reward → its class."""

GROUP = "factory.rewards"
"""Installed packages add rewards as entry points of this group."""


def reward_class(kind: str) -> type[Reward]:
    """The class behind a kind, an entry point's name, or `path/to/file.py:Class`.

    Raises PluginError.
    """
    return find_class(REWARDS, kind, Reward, GROUP)


class Reward(Strict):
    """One part of the reward. Its fields are its keys in a recipe."""

    SOURCE: ClassVar[str] = ""  # hash of the file that holds a reward that is not shipped
    REFERENCE: ClassVar[str] = ""  # what finds it again: path/to/file.py:Class, or an entry point

    kind: str
    BEST: ClassVar[float | None] = 1.0  # the maximum; None: no bound

    weight: float = Field(1.0, description="Weight of the part in the sum.")
    prompts: Literal["all", "verified", "unverified"] = Field(
        "all",
        description="Prompts to which the part applies: all, those with a verifier, or those "
        "without one (R1's general prompts).",
    )
    sources: tuple[str, ...] = Field(
        (), description="Names of the sources whose prompts the part applies to. Default: all."
    )
    domains: tuple[str, ...] = Field(
        (), description="Domains whose prompts the part applies to. Default: all."
    )
    meta: dict[str, Any] = Field(
        default_factory=dict,
        description="Values that a prompt's `meta` must have: `{topic: safety}`. Default: any.",
    )

    def applies_to(self, prompt: Prompt) -> bool:
        """Return True if the part is for this prompt. All given conditions must hold."""
        verified = prompt.verifier is not None
        return (
            (self.prompts == "all" or (self.prompts == "verified") == verified)
            and (not self.sources or prompt.source in self.sources)
            and (not self.domains or prompt.domain in self.domains)
            and all(key in prompt.meta and prompt.meta[key] == self.meta[key] for key in self.meta)
        )

    def score(self, batch: Batch) -> Values:
        """Return a number per completion; None: not applicable; NaN: undecided."""
        raise NotImplementedError

    def score_applicable(self, batch: Batch) -> Values:
        """Return `score` for the rows whose prompts the part applies to, None for the others."""
        applies = [self.applies_to(prompt) for prompt in batch.prompts]
        if not any(applies):
            return [None] * len(applies)
        chosen = [prompt for prompt, wanted in zip(batch.prompts, applies, strict=True) if wanted]
        rows = batch.frame.filter(pl.Series(applies))
        found = iter(self.score(Batch(rows, chosen, batch.await_verdicts)))
        return [next(found) if wanted else None for wanted in applies]


class AccuracyReward(Reward):
    """1 if the prompt's verifier judges the answer correct, otherwise 0.

    Answers that need algebra, a puzzle's scorer or a sandbox are judged in processes with a
    deadline.
    """

    kind: Literal["accuracy"] = "accuracy"
    think: Literal["required", "optional"] = Field(
        "required", description="`required`: an answer counts only after a closed think section."
    )
    deadline_s: float = Field(
        2.0, gt=0, description="Time limit for the algebra of one answer, in seconds."
    )
    unsafe_without_sandbox: bool = Field(
        False, description="Run programs without a sandbox. Only for disposable machines."
    )
    consensus: bool = Field(
        False,
        description="Reward agreement with a vote, where a source has votes instead of references "
        "(`vote` of kind `run`). A policy can then learn to agree on a wrong answer.",
    )
    later: tuple[str, ...] = Field(
        (),
        description="Kinds of verifiers whose verdicts other processes give, such as "
        "`[repository]`: `factory judge DIR --watch`, also on other machines that see the "
        "training's directory. With `rollouts.asynchronous` the policy is updated meanwhile.",
    )
    wait_s: float = Field(
        900.0,
        gt=0,
        description="Seconds to wait for such verdicts. A completion whose verdict has not come by "
        "then gets no reward.",
    )

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `later` the same as before there was one: a training goes on."""
        dumped: dict[str, Any] = dump(self)
        if not self.later:
            dumped.pop("later", None)
        dumped.pop("wait_s", None)  # it changes no verdict
        return dumped

    @property
    def filter(self) -> Correctness:
        """The filter whose verdicts are the rewards."""
        return Correctness(
            think=self.think,
            deadline_s=self.deadline_s,
            unsafe_without_sandbox=self.unsafe_without_sandbox,
            later=self.later,
        )

    @field_validator("later")
    @classmethod
    def _are_kinds(cls, later: tuple[str, ...]) -> tuple[str, ...]:
        return Correctness(later=later).later

    def score(self, batch: Batch) -> Values:
        metrics = batch.measure(self.filter)
        states = dict(metrics.select("sample_id", "correctness_state").iter_rows())
        if self.later and batch.await_verdicts is not None:
            states |= batch.await_verdicts(batch.frame, metrics, self.wait_s)
        rewards = {**_ACCURACY, **(_AGREEMENT if self.consensus else {})}
        return [rewards[states[name]] for name in batch.frame["sample_id"]]


_ACCURACY: Mapping[str, float | None] = {
    "correct": 1.0,
    "wrong": 0.0,
    "no_answer": 0.0,
    "unparseable": 0.0,
    "unverifiable": None,
    "consensus": None,
    "dissent": None,
    "bad_reference": math.nan,
    "timeout": math.nan,
    "error": math.nan,
    "pending": math.nan,
}


_AGREEMENT: Mapping[str, float | None] = {"consensus": 1.0, "dissent": 0.0}
"""Rewards by a vote, if the recipe takes them."""


def accuracy(state: str) -> float | None:
    """Return what a verdict earns: 1 or 0, or None where it says nothing of the answer."""
    earned = _ACCURACY.get(state)
    return None if earned is None or math.isnan(earned) else earned


class FormatReward(Reward):
    """1 for exactly one closed think section with an answer after it, otherwise 0."""

    kind: Literal["format"] = "format"
    answer_tags: bool = Field(
        False, description="The response must be `<answer>…</answer>`, as in R1-Zero's template."
    )

    def score(self, batch: Batch) -> Values:
        return [format_reward(text, answer_tags=self.answer_tags) for text in batch.frame["text"]]


class LanguageReward(Reward):
    """R1's language consistency: the share of the reasoning's words in the prompt's language.

    Reasoning without words scores 1. A sample without reasoning has no score.
    """

    kind: Literal["language"] = "language"

    def score(self, batch: Batch) -> Values:
        return batch.measure(LanguageFilter())["language_consistency"].to_list()


class EnvironmentReward(Reward):
    """What the environment gave at the end of an episode; 0 if it gave nothing."""

    kind: Literal["environment"] = "environment"
    BEST: ClassVar[float | None] = None

    def applies_to(self, prompt: Prompt) -> bool:
        return prompt.environment is not None and super().applies_to(prompt)

    def score(self, batch: Batch) -> Values:
        return [float(_last_reward(turns) or 0.0) for turns in batch.frame["turns"].to_list()]


def _last_reward(turns: Sequence[Mapping[str, Any]] | None) -> float | None:
    found: float | None = turns[-1]["reward"] if turns else None
    return found


class OverlongReward(Reward):
    """DAPO's soft length penalty (arXiv 2503.14476, eq. 13): 0, falling to -1 near the limit."""

    kind: Literal["overlong"] = "overlong"
    BEST: ClassVar[float | None] = 0.0

    max_tokens: int = Field(ge=2, description="Length in tokens with the full penalty.")
    buffer: int = Field(
        ge=1, description="Tokens before `max_tokens` over which the penalty grows."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.buffer >= self.max_tokens:
            raise ValueError("buffer must be smaller than max_tokens")
        return self

    def score(self, batch: Batch) -> Values:
        free = self.max_tokens - self.buffer
        return [-min(1.0, max(0.0, (n - free) / self.buffer)) for n in batch.frame["n_tokens"]]


class Filtered(Reward):
    """A filter as a reward: 1 if it keeps a completion, 0 if it drops it.

    With `metric` the reward is one of the filter's metrics, scaled linearly so that `zero_at`
    gives 0 and `one_at` gives 1 (either may be larger), and clipped to 0..1.
    """

    kind: Literal["filter"] = "filter"
    filter: dict[str, SerializeAsAny[Filter]] = Field(
        min_length=1, max_length=1, description="One filter, as in a recipe: `{readability: {}}`."
    )
    metric: str | None = Field(
        None, description="Metric of the filter to use instead of its verdict."
    )
    zero_at: float = Field(0.0, description="Value of the metric that gives 0.")
    one_at: float = Field(1.0, description="Value of the metric that gives 1.")

    @field_validator("filter", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"it must name one of the filters {', '.join(FILTERS)}")
        return {name: _filter(name, fields or {}) for name, fields in value.items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.zero_at == self.one_at:
            raise ValueError("zero_at and one_at must differ")
        return self

    def score(self, batch: Batch) -> Values:
        (filter_,) = self.filter.values()
        measured = batch.measure(filter_)
        if self.metric is None:
            decided = measured.select("sample_id").join(
                filter_.decide(measured), on="sample_id", how="left", maintain_order="left"
            )
            return [_DECISION[decision] for decision in decided["decision"]]
        if self.metric not in measured.columns:
            known = ", ".join(sorted(set(measured.columns) - set(BASE_COLUMNS)))
            what = f"is {self.metric!r}, which {next(iter(self.filter))} does not measure: {known}"
            raise RecipeError([Problem("metric", what)])
        stretched = (pl.col(self.metric).cast(pl.Float64) - self.zero_at) / (
            self.one_at - self.zero_at
        )
        return measured.select(stretched.clip(0.0, 1.0)).to_series().to_list()


def _filter(name: str, fields: Any) -> Filter:
    if isinstance(fields, dict) and "class" in fields:
        fields = dict(fields)
        name = str(fields.pop("class"))
    try:
        return filter_class(name).model_validate(fields)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{name}: {'; '.join(problems)}") from None


_DECISION: Mapping[str, float] = {"keep": 1.0, "drop": 0.0, "undecided": math.nan}
