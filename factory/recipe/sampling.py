"""The recipe's `sampling` section: how many samples a prompt gets, and their settings."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.recipe.engines.options import Overrides, Teacher
from factory.recipe.search import Search
from filters.tool_calls.parsing import parse_turn

Policy = Literal["fixed", "until", "budget", "difficulty", "beam", "tree"]

SEARCHES = frozenset({"beam", "tree"})
"""Policies that search for each of `n` answers over steps."""

_ONLY = {"beam": {"beams", "diverse"}, "tree": {"expansions", "exploration"}}

_SCHEDULING = {
    "policy", "n", "accept", "wave", "pending", "seed", "give_up_after", "escalate", "budget",
    "prices", "teachers",
}  # fmt: skip
"""Keys that decide the number or the cost of samples, but don't change a sample."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Escalation(Overrides):
    """Settings for prompts without an accepted sample so far. Other keys stay the same."""

    model: str | None = Field(
        None, description="Another model, by its name on the server; `server` engines only."
    )

    @model_validator(mode="after")
    def _changes(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("an escalation must change something, such as temperature")
        return self


class Prices(_Options):
    """Costs of sampling, for forecasts, reports and a budget in money. They change no sample."""

    gpus: int | None = Field(
        None,
        ge=1,
        description="Number of GPUs for GPU-hours. Default: those of the embedded engines by "
        "`engine.args` and `engine.replicas`. Servers count as one GPU.",
    )
    per_gpu_hour: float | None = Field(None, gt=0, description="Price of one GPU-hour.")
    per_million_tokens: float | None = Field(
        None, gt=0, description="Price of one million generated tokens on a hosted API."
    )


class Budget(_Options):
    """Limits on the total cost, including earlier sessions of the same run."""

    tokens: int | None = Field(None, ge=1, description="Maximum number of generated tokens.")
    samples: int | None = Field(None, ge=1, description="Maximum number of samples.")
    gpu_hours: float | None = Field(
        None, gt=0, description="Maximum GPU-hours: hours of sampling times `sampling.prices.gpus`."
    )
    money: float | None = Field(
        None, gt=0, description="Maximum cost, in the currency of `sampling.prices`."
    )
    objective: Literal["accepted", "covered"] = Field(
        "accepted",
        description="Goal. `accepted`: as many rows as possible. `covered`: as many prompts with a "
        "row as possible.",
    )
    first_row: float = Field(
        1.0,
        ge=1,
        description="`accepted` only: value of a prompt's first row, relative to a further row. "
        "Above 1, rows are spread over more prompts.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not any((self.tokens, self.samples, self.gpu_hours, self.money)):
            raise ValueError("set at least one of tokens, samples, gpu_hours and money")
        return self

    def token_limit(self, prices: Prices) -> float:
        """Return the token limit set by `tokens` and `money`."""
        limits = [float(self.tokens)] if self.tokens else []
        if self.money and prices.per_million_tokens:
            limits.append(1e6 * self.money / prices.per_million_tokens)
        return min(limits, default=float("inf"))

    def gpu_hour_limit(self, prices: Prices) -> float:
        """Return the limit on GPU-hours set by `gpu_hours` and `money`."""
        limits = [self.gpu_hours] if self.gpu_hours else []
        if self.money and prices.per_gpu_hour:
            limits.append(self.money / prices.per_gpu_hour)
        return min(limits, default=float("inf"))


class EarlyStop(_Options):
    """Rules that stop generations early; see factory.sampling.early_stop."""

    loop: bool = Field(True, description="Stop when the text repeats itself.")
    language: bool = Field(
        True, description="Stop when the reasoning has left the prompt's language."
    )
    closed_answer: bool = Field(
        False,
        description="Stop when the answer is complete and the model continues. The text is cut "
        "there and counts as ended. Like a stop string, this changes samples.",
    )
    every: int = Field(512, ge=16, description="Generated tokens between two checks of a sample.")


class EpisodeLimits(_Options):
    """Limits of an episode: a sample of a prompt with an environment."""

    max_turns: int = Field(16, ge=1, description="Maximum number of the model's turns.")
    max_tokens: int = Field(
        32768,
        ge=1,
        description="Maximum number of generated tokens of all turns; `sampling.max_tokens` is the "
        "limit of one.",
    )
    tool_format: str = Field(
        "auto",
        description="How the model writes tool calls: `auto`, `hermes` (Qwen), `llama`, `mistral`, "
        "`deepseek`, `pythonic`, `openai` or `json`.",
    )
    step_cpu_s: float = Field(
        20.0, gt=0, description="CPU seconds that one step of an environment may take."
    )
    step_s: float = Field(
        120.0,
        gt=0,
        description="Seconds that one step may take while it waits, for a server for instance.",
    )
    memory_mb: int = Field(4096, ge=64, description="Memory of an environment's process, in MB.")
    concurrency: int = Field(
        256, ge=1, description="Maximum number of episodes, and of their processes, at once."
    )

    @field_validator("tool_format")
    @classmethod
    def _known(cls, tool_format: str) -> str:
        parse_turn("", tool_format)
        return tool_format

    def identity(self) -> dict[str, Any]:
        """Return the settings that change a sample and are not the defaults."""
        return self.model_dump(
            mode="json",
            include={"max_turns", "max_tokens", "tool_format"},
            exclude_defaults=True,
        )


class Sampling(_Options):
    """The number of samples per prompt and their settings."""

    policy: Policy = Field(
        "fixed",
        description="`fixed`: `n` samples per prompt. `until`: waves until `accept` are accepted "
        "or `n` are drawn. `budget`: the next sample is drawn from the prompt with the highest "
        "expected value, until the budget is spent. `difficulty`: harder prompts get more accepted "
        "samples, up to `accept` (DART's prop-to-difficulty). `beam` and `tree`: each of `n` "
        "samples is the best answer of a search over steps; `search` has its settings.",
    )
    n: int = Field(4, ge=1, le=4096, description="Maximum number of samples per prompt.")
    accept: int | None = Field(
        None,
        ge=1,
        description="Number of accepted samples that is enough for a prompt. `difficulty`: for the "
        "hardest prompts. `budget`: optional.",
    )
    wave: int = Field(4, ge=1, description="Maximum number of a prompt's samples in flight.")
    pending: int | None = Field(
        None,
        ge=1,
        description="`until` only: maximum number of a prompt's samples that are pending. Up to "
        "there, more than may be enough are drawn while nothing else is due. Default: no more than "
        "may be enough.",
    )
    give_up_after: int | None = Field(
        None, ge=1, description="Samples without a success after which a prompt is given up."
    )
    escalate: tuple[Escalation, ...] = Field(
        (),
        description="`until` only: settings to try one after another before a prompt is given up. "
        "Each gets `give_up_after` samples. `n` is the limit over all settings.",
    )
    teachers: tuple[Teacher, ...] = Field(
        (),
        description="`until` and `budget` only: several models or engines. Each next sample comes "
        "from the one with the lowest price per expected accepted row. Each gets `give_up_after` "
        "samples of a prompt without a success.",
    )
    budget: Budget | None = Field(None, description="`budget` only: the limits and the goal.")
    search: Search | None = Field(
        None, description="`beam` and `tree` only: how a search grows and what values a prefix."
    )
    prices: Prices = Field(
        default_factory=Prices, description="Costs of sampling. They change no sample."
    )
    early_stop: EarlyStop | None = Field(
        None, description="Stop hopeless generations early. `{}` enables it with its defaults."
    )
    temperature: float = Field(
        0.6,
        ge=0,
        le=2,
        description="R1's evaluations use 0.6; its rejection sampling is unpublished.",
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Usual is 0.95. Below 1 it halves the speed on a CPU."
    )
    top_k: int = Field(0, ge=0, description="0: off. It has no cost on a CPU.")
    min_p: float = Field(0.0, ge=0, le=1, description="0: off.")
    repetition_penalty: float = Field(1.0, gt=0, le=2, description="1: off.")
    max_tokens: int = Field(
        16384, ge=1, description="Maximum number of generated tokens per sample."
    )
    stop: tuple[str, ...] = Field((), description="Stop strings in addition to the template's.")
    seed: int = Field(0, ge=0, description="Random seed. The engine's seed is derived from it.")
    episode: EpisodeLimits = Field(
        default_factory=EpisodeLimits, description="Limits of samples that are episodes."
    )
    keep: tuple[Literal["token_ids", "logprobs"], ...] = Field(
        (),
        description="What to keep of every generated token, in `turns` of the samples: its id, its "
        "log-probability. Embedded engines only.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.accept is None and self.policy in ("until", "difficulty"):
            raise ValueError(
                f"policy: {self.policy} needs `accept`, the accepted samples that are enough"
            )
        if self.accept is not None and not self.by_verdict:
            raise ValueError("accept needs `policy: until`, `budget` or `difficulty`")
        if self.accept is not None and self.accept > self.n:
            raise ValueError(
                f"accept is {self.accept} but n is {self.n}; raise n to at least accept"
            )
        if (self.policy == "budget") != (self.budget is not None):
            raise ValueError("policy: budget and the key budget: {...} go together")
        priced = self.prices.per_gpu_hour or self.prices.per_million_tokens
        if self.budget and self.budget.money and not (priced or self.teachers):
            raise ValueError("budget.money needs prices.per_gpu_hour or prices.per_million_tokens")
        if self.pending is not None and self.policy != "until":
            raise ValueError("pending needs `policy: until`")
        if self.give_up_after is not None and not self.by_verdict:
            raise ValueError("give_up_after needs `policy: until`, `budget` or `difficulty`")
        if self.escalate and (self.policy != "until" or self.give_up_after is None):
            raise ValueError("escalate needs `policy: until` and `give_up_after`")
        if self.temperature == 0 and self.n > 1:
            raise ValueError(
                "temperature 0 gives the same sample every time; set n: 1 or a higher temperature"
            )
        return self

    @model_validator(mode="after")
    def _fits_teachers(self) -> Self:
        if not self.teachers:
            return self
        if self.policy not in ("until", "budget"):
            raise ValueError("teachers need `policy: until` or `budget`, which choose by verdicts")
        if len(self.teachers) == 1:
            raise ValueError("teachers: name at least two, the recipe's own model among them")
        if self.escalate:
            raise ValueError(
                "escalate and teachers both set what comes next; give a teacher the "
                "settings of an escalation"
            )
        if self.prices.per_gpu_hour or self.prices.per_million_tokens:
            raise ValueError("prices stand with the teachers: sampling.teachers[].prices")
        twice = [name for name, n in Counter(own.name for own in self.teachers).items() if n > 1]
        if twice:
            raise ValueError(f"teachers: the name {twice[0]} is there twice; rename one")
        return self

    @model_validator(mode="after")
    def _fits_search(self) -> Self:
        if (self.policy in SEARCHES) != (self.search is not None):
            raise ValueError("policy: beam (or tree) and the key search: {...} go together")
        if self.search is None:
            return self
        for policy, keys in _ONLY.items():
            other = keys & self.search.model_fields_set
            if other and policy != self.policy:
                raise ValueError(f"search.{min(other)} needs `policy: {policy}`")
        for name in ("early_stop", "keep"):
            if getattr(self, name):
                raise ValueError(f"{name} does not go with `policy: {self.policy}`; leave it out")
        if self.temperature == 0:
            raise ValueError("a search needs a temperature above 0: all continuations are equal")
        return self

    @property
    def by_verdict(self) -> bool:
        """Whether the next sample of a prompt depends on verdicts."""
        return self.policy in ("until", "budget", "difficulty")

    @property
    def most_tokens(self) -> int:
        """The most tokens of one sample that is no episode."""
        if self.search is None:
            return self.max_tokens
        return self.search.most_tokens(self.policy, self.max_tokens)

    def at(self, level: int) -> Sampling:
        """Return the settings of an escalation level; level 0 is the recipe as written."""
        return self.model_copy(update=self.escalate[level - 1].overrides()) if level else self

    def identity(self) -> dict[str, Any]:
        """Return the settings that change a sample."""
        left_out = _SCHEDULING | {"early_stop", "episode", "keep", "search"}
        settings = self.model_dump(mode="json", exclude=left_out)
        if self.search is not None:
            settings["search"] = {"policy": self.policy, **self.search.identity()}
        if episode := self.episode.identity():
            settings["episode"] = episode
        if self.early_stop is not None and self.early_stop.closed_answer:
            settings["closed_answer"] = True
        return settings
