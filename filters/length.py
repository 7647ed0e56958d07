"""Length of samples, in the model's own tokens and in characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import polars as pl
from pydantic import Field, model_validator

from filters.base import Filter, Rule
from filters.limits import Counts, NonNegative, Share, by_domain, contradictions, format_bound

Ratio = Annotated[float, Field(ge=0)]


class Length(Filter):
    """Drops samples that are cut off, too long, too short, or out of proportion.

    `min_tokens_when_hard: {0.25: 400}` requires at least 400 tokens if at most a quarter of the
    prompt's samples are correct: a short correct answer to a hard question is likely a guess.
    """

    # R1's SFT context (v2 supplement). Trainers cut longer texts, with the answer at the end.
    max_tokens: Counts | None = Field(32_768, description="Maximum number of generated tokens.")
    min_tokens: Counts | None = Field(None, description="Minimum number of generated tokens.")
    max_characters: Counts | None = Field(None, description="Maximum number of characters.")
    min_characters: Counts | None = Field(None, description="Minimum number of characters.")
    # Off by default: R1 published no values, and they depend on the kind of text.
    min_ratio: Ratio | None = Field(
        None, description="Minimum ratio of characters of reasoning to characters of the answer."
    )
    max_ratio: Ratio | None = Field(
        None, description="Maximum ratio of characters of reasoning to characters of the answer."
    )
    # A sample cut off by the token limit has no end to learn from.
    truncated: bool = Field(True, description="Drop samples cut off by the token limit.")
    min_tokens_when_hard: dict[Share, NonNegative] = Field(
        default_factory=dict,
        description="Pass rate → minimum tokens for prompts with at most this pass rate.",
    )

    @model_validator(mode="after")
    def _floors_are_below_limits(self) -> Self:
        for what in ("tokens", "characters", "ratio"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            for scope, floor, limit in contradictions(low, high):
                at = "" if scope is None else f" of {scope}"
                raise ValueError(
                    f"min_{what}{at} is {floor} and max_{what} is {limit}, so nothing could be "
                    f"kept; lower min_{what} or raise max_{what}"
                )
        return self

    def expressions(self) -> dict[str, pl.Expr]:
        reasoning = pl.col("thinking").str.len_chars()
        answer = pl.col("response").str.len_chars()
        return {
            "length_characters": pl.col("text").str.len_chars(),
            "length_reasoning": reasoning,
            "length_answer": answer,
            "length_ratio": pl.when(answer > 0).then(reasoning / answer),
        }

    def rules(self) -> Sequence[Rule]:
        rules = []
        if self.truncated:
            rules.append(
                Rule(
                    "truncated",
                    pl.col("finish_reason") == "length",
                    "finish_reason",
                    "an end before the token limit",
                )
            )
        limits = (
            ("too_long", "n_tokens", self.max_tokens),
            ("too_many_characters", "length_characters", self.max_characters),
            ("too_much_reasoning", "length_ratio", self.max_ratio),
        )
        for reason, metric, limit in limits:
            if limit is not None:
                above = pl.col(metric) > by_domain(limit)
                rules.append(Rule(reason, above, metric, format_bound("at most", limit)))
        floors = (
            ("too_short", "n_tokens", self.min_tokens),
            ("too_few_characters", "length_characters", self.min_characters),
            ("too_little_reasoning", "length_ratio", self.min_ratio),
        )
        for reason, metric, floor in floors:
            if floor is not None:
                below = pl.col(metric) < by_domain(floor)
                rules.append(Rule(reason, below, metric, format_bound("at least", floor)))
        for pass_rate, floor in sorted(self.min_tokens_when_hard.items()):
            rules.append(
                Rule(
                    "too_short_for_question",
                    (pl.col("pass_rate") <= pass_rate) & (pl.col("n_tokens") < floor),
                    "n_tokens",
                    f"at least {floor} where the pass rate is at most {pass_rate}",
                )
            )
        return rules
