"""What the model itself said in an episode, as filters read it: never an observation.

Of a sample with several assistant turns

- `response` is that of the last turn: the final answer, for the verifiers,
- `thinking` is everything that the model said before it, in all turns, without tool calls,
- `text` is all assistant turns as written,
- `shape` is that of the last turn, or of the first turn whose think section is malformed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from factory.core.think import Shape, split_think
from filters.tool_calls.parsing import parse_turn

_WELL_FORMED: frozenset[Shape] = frozenset({"ok", "no_think"})


def use_own_words(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace text, thinking, response and shape of the episodes in a frame of samples."""
    if frame["turns"].null_count() == frame.height:
        return frame
    columns = ("text", "thinking", "response", "shape")
    rows = [
        join_own_words(turns) or written
        for turns, written in zip(
            frame["turns"].to_list(), frame.select(columns).iter_rows(), strict=True
        )
    ]
    new = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return frame.with_columns(new)


def join_own_words(
    turns: Sequence[Mapping[str, Any]] | None,
) -> tuple[str, str | None, str | None, str] | None:
    """Return text, thinking, response and shape of an episode; None if there is but one turn."""
    own = [turn["text"] for turn in turns or () if turn["role"] == "assistant"]
    if len(own) < 2:
        return None
    parts = [split_think(text) for text in own]
    last, shapes = parts[-1], [part.shape for part in parts]
    shape = next((found for found in shapes if found not in _WELL_FORMED), last.shape)
    said = []
    for part in parts[:-1]:
        said += [part.thinking, parse_turn(part.response or "").content]
    words = [word.strip() for word in (*said, last.thinking) if word and word.strip()]
    thinking = "\n\n".join(words) if words else None
    return "\n\n".join(own), thinking, last.response, shape
