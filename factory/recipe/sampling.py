"""The recipe's `sampling` section: how many samples a prompt gets, and how each is drawn."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Policy = Literal["fixed", "until", "budget", "difficulty"]

_SCHEDULING = {
    "policy", "n", "accept", "wave", "seed", "give_up_after", "escalate", "budget", "prices"
}  # fmt: skip
"""Keys that decide how many samples are drawn, or what they cost, and change none of them."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Escalation(_Options):
    """Settings for prompts that nothing came of so far; a key left out stays as it was."""

    temperature: float | None = Field(None, gt=0, le=2, description="Usually higher.")
    top_p: float | None = Field(None, gt=0, le=1, description="As `sampling.top_p`.")
    top_k: int | None = Field(None, ge=0, description="As `sampling.top_k`.")
    min_p: float | None = Field(None, ge=0, le=1, description="As `sampling.min_p`.")
    max_tokens: int | None = Field(None, ge=1, description="More, for answers that were cut.")
    model: str | None = Field(
        None, description="Another model, by the name a server gives it; `server` engines only."
    )

    @model_validator(mode="after")
    def _changes(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("an escalation must change something, such as temperature")
        return self

    def overrides(self) -> dict[str, Any]:
        """The sampling keys it sets."""
        return self.model_dump(exclude_none=True, exclude={"model"})


class Prices(_Options):
    """What sampling costs, for forecasts, reports and a budget of money. Changes no sample."""

    gpus: int | None = Field(
        None,
        ge=1,
        description="GPUs that sample, for GPU-hours. Default: those of the embedded engines by "
        "`engine.args` and `engine.replicas`; servers' are unknown, and count as one.",
    )
    per_gpu_hour: float | None = Field(None, gt=0, description="What a GPU costs an hour.")
    per_million_tokens: float | None = Field(
        None, gt=0, description="What a hosted API charges for a million generated tokens."
    )


class Budget(_Options):
    """What may be spent in all, earlier sessions of the same run included."""

    tokens: int | None = Field(None, ge=1, description="Generated tokens.")
    samples: int | None = Field(None, ge=1, description="Samples drawn.")
    gpu_hours: float | None = Field(
        None, gt=0, description="Hours of sampling times `sampling.prices.gpus`."
    )
    money: float | None = Field(None, gt=0, description="In the currency of `sampling.prices`.")
    objective: Literal["accepted", "covered"] = Field(
        "accepted", description="`accepted`: the most rows. `covered`: the most prompts with one."
    )
    first_row: float = Field(
        1.0,
        ge=1,
        description="`accepted`: what a prompt's first row is worth, counted in further rows. "
        "Above 1, rows spread over more prompts.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not any((self.tokens, self.samples, self.gpu_hours, self.money)):
            raise ValueError("set at least one of tokens, samples, gpu_hours and money")
        return self

    def token_limit(self, prices: Prices) -> float:
        """The tokens that `tokens` and `money` leave."""
        limits = [float(self.tokens)] if self.tokens else []
        if self.money and prices.per_million_tokens:
            limits.append(1e6 * self.money / prices.per_million_tokens)
        return min(limits, default=float("inf"))

    def gpu_hour_limit(self, prices: Prices) -> float:
        """The GPU-hours that `gpu_hours` and `money` leave."""
        limits = [self.gpu_hours] if self.gpu_hours else []
        if self.money and prices.per_gpu_hour:
            limits.append(self.money / prices.per_gpu_hour)
        return min(limits, default=float("inf"))


class EarlyStop(_Options):
    """Which generations are ended before their time; factory.sampling.early_stop says how."""

    loop: bool = Field(True, description="The text repeats itself.")
    language: bool = Field(True, description="The reasoning has left the prompt's language.")
    closed_answer: bool = Field(
        False,
        description="The answer is complete and the model goes on: the text is cut there and "
        "counts as ended. Changes samples, as a stop string does.",
    )
    every: int = Field(512, ge=16, description="Generated tokens between two looks at a sample.")


class Sampling(_Options):
    """How many samples a prompt gets, and with which settings each is drawn."""

    policy: Policy = Field(
        "fixed",
        description="`fixed`: `n` samples a prompt. `until`: waves until `accept` are accepted or "
        "`n` are drawn. `budget`: the next sample goes where it promises most, until the budget is "
        "spent. `difficulty`: the harder a prompt, the more accepted samples it gets, up to "
        "`accept` (DART's prop-to-difficulty).",
    )
    n: int = Field(4, ge=1, le=4096, description="Samples a prompt, at most.")
    accept: int | None = Field(
        None,
        ge=1,
        description="Accepted samples of a prompt that suffice. `difficulty`: of the hardest. "
        "`budget`: none if left out.",
    )
    wave: int = Field(4, ge=1, description="Samples a prompt has in flight at once, at most.")
    give_up_after: int | None = Field(
        None, ge=1, description="Samples without a single success after which a prompt is given up."
    )
    escalate: tuple[Escalation, ...] = Field(
        (),
        description="`until`: settings to try, in turn, before a prompt is given up; each gets "
        "`give_up_after` samples. `n` remains the limit over all.",
    )
    budget: Budget | None = Field(None, description="`budget` only: how much, and what for.")
    prices: Prices = Field(
        default_factory=Prices, description="What sampling costs. Changes no sample."
    )
    early_stop: EarlyStop | None = Field(
        None, description="End hopeless generations early. `{}` turns it on with its defaults."
    )
    temperature: float = Field(
        0.6,
        ge=0,
        le=2,
        description="R1's evaluations use 0.6; its rejection sampling is unpublished.",
    )
    top_p: float = Field(1.0, gt=0, le=1, description="0.95 is usual; halves the speed on CPU.")
    top_k: int = Field(0, ge=0, description="0: off. 50 costs nothing on CPU.")
    min_p: float = Field(0.0, ge=0, le=1, description="0: off.")
    repetition_penalty: float = Field(1.0, gt=0, le=2, description="1: off.")
    max_tokens: int = Field(16384, ge=1, description="Generated tokens a sample, at most.")
    stop: tuple[str, ...] = Field((), description="Stop strings beside the template's own.")
    seed: int = Field(0, ge=0, description="The engine's seed derives from it.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.accept is None and self.policy in ("until", "difficulty"):
            raise ValueError(
                f"policy: {self.policy} needs `accept`, the accepted samples that suffice"
            )
        if self.accept is not None and self.policy == "fixed":
            raise ValueError("accept needs `policy: until`, `budget` or `difficulty`")
        if self.accept is not None and self.accept > self.n:
            raise ValueError(f"accept is {self.accept} but n is {self.n}; n must be as large")
        if (self.policy == "budget") != (self.budget is not None):
            raise ValueError("policy: budget and the key budget: {...} go together")
        priced = self.prices.per_gpu_hour or self.prices.per_million_tokens
        if self.budget and self.budget.money and not priced:
            raise ValueError("budget.money needs prices.per_gpu_hour or prices.per_million_tokens")
        if self.give_up_after is not None and self.policy == "fixed":
            raise ValueError("give_up_after needs another policy than `fixed`")
        if self.escalate and (self.policy != "until" or self.give_up_after is None):
            raise ValueError("escalate needs `policy: until` and `give_up_after`")
        if self.temperature == 0 and self.n > 1:
            raise ValueError("temperature 0 draws the same sample every time; set n: 1 or raise it")
        return self

    def at(self, level: int) -> Sampling:
        """The settings of an escalation level; level 0 is the recipe's own."""
        return self.model_copy(update=self.escalate[level - 1].overrides()) if level else self

    def identity(self) -> dict[str, Any]:
        """The settings that change a sample."""
        settings = self.model_dump(mode="json", exclude=_SCHEDULING | {"early_stop"})
        if self.early_stop is not None and self.early_stop.closed_answer:
            settings["closed_answer"] = True
        return settings
