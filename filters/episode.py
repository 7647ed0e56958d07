"""Episodes that teach bad habits: calls that can't be read, calls of nothing, calls in a circle.

Reads the turns: the model's own, and what it was shown. A prompt with tools and without an
environment is an episode of one turn.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import Field, field_validator

from filters.base import Filter, Rule
from filters.limits import NonNegative
from filters.tool_calls.parsing import parse_turn

_METRICS = pl.Schema(
    {
        "episode_turns": pl.Int32,
        "episode_calls": pl.Int32,
        "episode_malformed": pl.Int32,
        "episode_unknown_tools": pl.Int32,
        "episode_same_call": pl.Int32,
        "episode_same_error": pl.Int32,
        "episode_early_answer": pl.Boolean,
        "episode_invented": pl.Boolean,
    }
)

_ERROR = re.compile(r'\s*(?:\{\s*"error"|error\b|traceback \(most recent)', re.IGNORECASE)
_ANSWER = re.compile(r"\\boxed\s*\{|<answer>")
_INVENTED = re.compile(r"</?tool_response>|<\|im_start\|>|<\|start_header_id\|>|<｜tool▁output")


class Episode(Filter):
    """Drops episodes with calls of unknown tools, malformed or repeated calls, or too many turns.

    An error that the model corrects is no fault: only the same one again and again is.
    """

    MEASURED: ClassVar[frozenset[str]] = frozenset({"tool_format"})

    tool_format: str = Field("auto", description="As `sampling.episode.tool_format`.")
    max_turns: NonNegative | None = Field(
        None, description="Maximum number of the model's turns. Default: that of the sampling."
    )
    max_unknown_tools: NonNegative | None = Field(
        0, description="Maximum number of calls of tools that are not offered."
    )
    max_malformed: NonNegative | None = Field(
        0, description="Maximum number of calls that can't be read."
    )
    max_same_call: NonNegative | None = Field(
        2, description="Maximum number of calls of one tool with the same arguments."
    )
    max_same_error: NonNegative | None = Field(
        2, description="Maximum number of observations with the same error."
    )
    early_answer: bool = Field(
        True, description="Drop episodes with a boxed or tagged answer in a turn that still calls."
    )
    invented: bool = Field(
        True, description="Drop episodes in which the model wrote an observation itself."
    )

    @field_validator("tool_format")
    @classmethod
    def _known(cls, tool_format: str) -> str:
        parse_turn("", tool_format)
        return tool_format

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        rows = [
            measure_episode(turns, tools, text, self.tool_format)
            for turns, tools, text in samples.select("turns", "tools", "text").iter_rows()
        ]
        metrics = pl.DataFrame(rows, schema=_METRICS, orient="row")
        return samples.select("sample_id").hstack(metrics)

    def rules(self) -> Sequence[Rule]:
        limits = {
            "unknown_tool": ("episode_unknown_tools", self.max_unknown_tools),
            "malformed_call": ("episode_malformed", self.max_malformed),
            "same_call": ("episode_same_call", self.max_same_call),
            "same_error": ("episode_same_error", self.max_same_error),
            "too_many_turns": ("episode_turns", self.max_turns),
        }
        rules = [
            Rule(reason, pl.col(metric) > limit, metric, f"at most {limit}")
            for reason, (metric, limit) in limits.items()
            if limit is not None
        ]
        cut = pl.col("finish_reason") == "max_turns"
        rules.append(Rule("too_many_turns", cut, "finish_reason", "ended before the last turn"))
        if self.early_answer:
            early = pl.col("episode_early_answer")
            rules.append(Rule("early_answer", early, "episode_early_answer", "no"))
        if self.invented:
            invented = pl.col("episode_invented")
            rules.append(Rule("invented_observation", invented, "episode_invented", "no"))
        return rules


def measure_episode(
    turns: Sequence[Mapping[str, Any]] | None, tools: str | None, text: str, tool_format: str
) -> tuple[Any, ...]:
    """Return the metrics of one sample, in the order of `_METRICS`."""
    turns = turns or [{"role": "assistant", "text": text}]
    own = [parse_turn(turn["text"], tool_format) for turn in turns if turn["role"] == "assistant"]
    said = [turn["text"] for turn in turns if turn["role"] == "assistant"]
    calls = [call for turn in own for call in turn.calls]
    listed = [*([tools] if tools else []), *(t["text"] for t in turns if t["role"] == "tools")]
    offered = _names(listed)
    same = Counter(json.dumps([call.name, call.arguments], sort_keys=True) for call in calls)
    errors = Counter(
        turn["text"] for turn in turns if turn["role"] == "tool" and _ERROR.match(turn["text"])
    )
    return (
        len(own),
        len(calls),
        sum(len(turn.malformed) for turn in own),
        sum(call.name not in offered for call in calls) if offered is not None else 0,
        max(same.values(), default=0),
        max(errors.values(), default=0),
        any(turn.calls and _ANSWER.search(turn.content) is not None for turn in own),
        any(_INVENTED.search(text) is not None for text in said),
    )


def _names(listed: Sequence[str]) -> frozenset[str] | None:
    if not listed:
        return None
    tools = [tool for text in listed for tool in json.loads(text)]
    return frozenset(tool.get("function", tool).get("name", "") for tool in tools)
