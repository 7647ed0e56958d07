"""The format of a completion: one closed think section, then an answer.

R1-Zero's second reward besides accuracy is this format (R1 §2.2.2), and R1's corpus and its
distilled models use it. `format_reward` makes the same decision for one text, for RL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from factory.core.think import split_think
from filters.base import Filter, Rule
from filters.limits import Scope, by_domain

CONTROL_TOKEN = r"<[|｜][\w▁-]{3,40}[|｜]>"
"""The format of most control tokens of chat templates: `<|im_start|>`, `<|eot_id|>`, and DeepSeek's
with non-ASCII bars. Inside a sample's text they would end or start a turn in the training row.
"""

SPECIAL_TOKENS = (
    "<start_of_turn>",  # Gemma
    "<end_of_turn>",
    "<end_of_utterance>",  # SmolVLM
    "[INST]",  # Mistral, Llama 2
    "[/INST]",
    "[gMASK]",  # GLM
)
"""Control tokens in other formats. `<s>` and `</s>` are missing, since they are also HTML."""

ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"

Thinking = Literal["as_asked", "required", "optional", "forbidden"]


class Format(Filter):
    """Requires exactly one think section and an answer after it, and no control tokens.

    `thinking: as_asked` requires a think section, but forbids it if `prompting.cot` marked the
    prompt to be answered without one. `optional` also keeps a sample without a think section or
    with an empty one, as R1 answers simple questions; a non-empty one must be well formed.
    `answer_tags` requires R1-Zero's template: the response is `<answer>…</answer>`.
    """

    thinking: Thinking | dict[Scope, Thinking] = Field(
        "as_asked",
        description="A think section is `required`, `optional`, `forbidden`, or `as_asked`: as the "
        "prompt's mark says, and required without a mark.",
    )
    answer_tags: bool = Field(
        False, description="The response must be `<answer>…</answer>`, as in R1-Zero's template."
    )
    special_tokens: tuple[str, ...] = Field(
        SPECIAL_TOKENS,
        description="Control tokens that must not occur in the text, in addition to all of the "
        "format `<|…|>`. An empty list allows all.",
    )

    VERSION = 3
    MEASURED: ClassVar[frozenset[str]] = frozenset({"answer_tags", "special_tokens"})

    def expressions(self) -> dict[str, pl.Expr]:
        response = pl.col("response").str.strip_chars()
        answer = response
        metrics = {"format_shape": pl.col("shape"), "format_asked": pl.col("cot")}
        if self.answer_tags:
            metrics["format_answer_tags"] = _answer_tags(response)
            answer = (
                response.str.strip_prefix(ANSWER_OPEN)
                .str.strip_suffix(ANSWER_CLOSE)
                .str.strip_chars()
            )
        special: pl.Expr = pl.lit(None, dtype=pl.String)
        if self.special_tokens:
            special = pl.col("text").str.extract(_control_pattern(self.special_tokens), 0)
        return metrics | {
            "format_empty_text": pl.col("text").fill_null("").str.strip_chars() == "",
            "format_empty_reasoning": pl.col("thinking").str.strip_chars() == "",
            "format_empty_answer": answer == "",
            "format_special_token": special,
        }

    def rules(self) -> Sequence[Rule]:
        shape, thinking = pl.col("format_shape"), by_domain(self.thinking)
        by_mark = pl.when(pl.col("format_asked").fill_null(True)).then(pl.lit("required"))
        thinking = (
            pl.when(thinking == "as_asked")
            .then(by_mark.otherwise(pl.lit("forbidden")))
            .otherwise(thinking)
        )
        forbidden = thinking == "forbidden"

        def shape_rule(reason: str, value: str, bound: str) -> Rule:
            return Rule(reason, (shape == value) & ~forbidden, "format_shape", bound)

        rules = [
            Rule("empty_text", pl.col("format_empty_text"), "format_empty_text", "some text"),
            Rule(
                "unexpected_think",
                forbidden & (shape != "no_think"),
                "format_shape",
                "no think section",
            ),
            Rule(
                "no_think",
                (thinking == "required") & (shape == "no_think"),
                "format_shape",
                "a think section",
            ),
            shape_rule("unopened_think", "no_open", "an opening <think>"),
            shape_rule("unclosed_think", "unclosed", "a closing </think>"),
            shape_rule("repeated_think", "repeated", "one think section"),
            shape_rule("text_before_think", "text_before", "nothing before <think>"),
            Rule(
                "empty_reasoning",
                (thinking == "required") & pl.col("format_empty_reasoning"),
                "format_empty_reasoning",
                "some reasoning",
            ),
        ]
        if self.answer_tags:
            tags = pl.col("format_answer_tags")
            rules += [
                Rule(
                    "no_answer_tags", tags == "missing", "format_answer_tags", "<answer>…</answer>"
                ),
                Rule(
                    "repeated_answer_tags", tags == "repeated", "format_answer_tags", "one answer"
                ),
                Rule(
                    "text_outside_answer",
                    tags == "outside",
                    "format_answer_tags",
                    "nothing outside <answer>…</answer>",
                ),
            ]
        return [
            *rules,
            Rule("empty_answer", pl.col("format_empty_answer"), "format_empty_answer", "an answer"),
            Rule(
                "special_token",
                pl.col("format_special_token").is_not_null(),
                "format_special_token",
                "no control token of a chat template",
            ),
        ]


def _answer_tags(response: pl.Expr) -> pl.Expr:
    """Return the state of the answer tags: ok, missing, repeated or outside (other text)."""
    opens = response.str.count_matches(ANSWER_OPEN, literal=True)
    closes = response.str.count_matches(ANSWER_CLOSE, literal=True)
    wraps = response.str.starts_with(ANSWER_OPEN) & response.str.ends_with(ANSWER_CLOSE)
    return (
        pl.when((opens == 0) | (closes == 0))
        .then(pl.lit("missing"))
        .when((opens > 1) | (closes > 1))
        .then(pl.lit("repeated"))
        .when(~wraps)
        .then(pl.lit("outside"))
        .when(response.is_not_null())
        .then(pl.lit("ok"))
    )


def _control_pattern(tokens: Sequence[str]) -> str:
    return "|".join([*map(re.escape, tokens), CONTROL_TOKEN])


def format_reward(
    text: str,
    *,
    answer_tags: bool = False,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
) -> float:
    """Return 1.0 if `Format` (thinking required) would keep `text`, otherwise 0.0.

    >>> format_reward("<think>2+2</think>4"), format_reward("4")
    (1.0, 0.0)
    """
    thinking, response, shape = split_think(text)
    if shape != "ok" or not (thinking or "").strip():
        return 0.0
    answer = (response or "").strip()
    if answer_tags:
        if answer.count(ANSWER_OPEN) != 1 or answer.count(ANSWER_CLOSE) != 1:
            return 0.0
        if not (answer.startswith(ANSWER_OPEN) and answer.endswith(ANSWER_CLOSE)):
            return 0.0
        answer = answer.removeprefix(ANSWER_OPEN).removesuffix(ANSWER_CLOSE).strip()
    controlled = special_tokens and re.search(_control_pattern(special_tokens), text)
    return float(bool(answer) and not controlled)
