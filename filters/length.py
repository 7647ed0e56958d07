"""How long a sample is, in the model's own tokens first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import polars as pl
from pydantic import Field

from filters.base import Filter, Rule
from filters.limits import Count, Counts, Share, by_domain, in_words

Ratio = Annotated[float, Field(ge=0)]


class Length(Filter):
    """Cut off, too long, too short, or out of proportion.

    `min_tokens_when_hard: {0.25: 400}` asks at least 400 tokens of an answer to a question that at
    most a quarter of the samples got right: a short right answer to a hard question is a guess.
    """

    # R1's SFT context (v2 supplement): a trainer cuts what is longer, and the answer is at the end.
    max_tokens: Counts | None = Field(32_768, description="Generated tokens, at most.")
    min_tokens: Counts | None = Field(None, description="Generated tokens, at least.")
    max_characters: Counts | None = Field(None, description="Characters of the text, at most.")
    min_characters: Counts | None = Field(None, description="Characters of the text, at least.")
    # Off: R1 published neither, and what is right for a proof is wrong for an essay.
    min_ratio: Ratio | None = Field(
        None, description="Characters of reasoning for one of the answer, at least."
    )
    max_ratio: Ratio | None = Field(
        None, description="Characters of reasoning for one of the answer, at most."
    )
    # A sample that ended at the token limit has no end to learn from.
    truncated: bool = Field(True, description="Drop samples that the token limit ended.")
    min_tokens_when_hard: dict[Share, Count] = Field(
        default_factory=dict,
        description="Pass rate → the tokens at least, where a question's is not above it.",
    )

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
                rules.append(Rule(reason, above, metric, in_words("at most", limit)))
        floors = (
            ("too_short", "n_tokens", self.min_tokens),
            ("too_few_characters", "length_characters", self.min_characters),
            ("too_little_reasoning", "length_ratio", self.min_ratio),
        )
        for reason, metric, floor in floors:
            if floor is not None:
                below = pl.col(metric) < by_domain(floor)
                rules.append(Rule(reason, below, metric, in_words("at least", floor)))
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
