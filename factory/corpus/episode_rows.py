"""Corpus rows of episodes: conversations with tool calls and observations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from factory.core.nouns import Turn
from factory.core.think import split_think
from factory.prompts.conversation import list_messages


def offers_tools(run: Path) -> bool:
    """Return whether any prompt of a run has tools or an environment."""
    prompts = pl.scan_parquet(run / "prompts.parquet")
    known = {"tools", "environment"} & {*prompts.collect_schema()}
    if not known:  # written by 0.1.0
        return False
    given = pl.any_horizontal(pl.col(name).is_not_null().any() for name in known)
    return bool(prompts.select(given).collect().item())


def build_episode_rows(rows: pl.DataFrame, tags: tuple[str, str], schema: pa.Schema) -> pa.Table:
    """Return rows of `schema` from joined samples and prompts, where some may be episodes.

    Columns: those of the schema without messages and tools, the prompt's `messages` and `tools`,
    `turns`, `thinking` and `response` of the last turn, and its settings as `sampling`.
    """
    if "turns" not in rows.columns:
        rows = rows.with_columns(turns=pl.lit(None))
    columns = ("messages", "tools", "turns", "thinking", "response", "sampling")
    built = [_build(tags, *values) for values in rows.select(columns).iter_rows()]
    arrays = {
        "messages": pa.array([messages for messages, _ in built], schema.field("messages").type),
        "tools": pa.array([tools for _, tools in built], pa.string()),
        "n_prompt_messages": pa.array(map(len, rows["messages"]), pa.int32()),
    }
    table = rows.select(name for name in schema.names if name not in arrays).to_arrow()
    for name, array in arrays.items():
        table = table.append_column(name, array)
    return table.select(schema.names).cast(schema)


def _build(
    tags: tuple[str, str],
    prompt: Sequence[Mapping[str, Any]],
    tools: str | None,
    turns: Sequence[Mapping[str, Any]] | None,
    thinking: str | None,
    response: str | None,
    sampling: str | None,
) -> tuple[list[dict[str, Any]], str | None]:
    played = [Turn.from_row(turn) for turn in turns or ()]
    tools = tools or next((turn.text for turn in played if turn.role == "tools"), None)
    last = Turn(role="assistant", text=_join(thinking, response or "", ("<think>", "</think>")))
    own = [place for place, turn in enumerate(played) if turn.role == "assistant"]
    before = played[: own[-1]] if own else []  # what follows the last turn of its own is not shown
    offered = json.loads(tools) if tools else ()
    messages = list_messages([*before, last], _find_format(sampling), offered)
    said = [_encode(message, tags) for message in messages]
    return [dict(message) for message in prompt] + said, tools


@cache
def _find_format(sampling: str | None) -> str:
    """Return how the model writes calls, by the settings that its samples were drawn with."""
    settings = json.loads(sampling or "{}")
    return str((settings.get("sampling.episode") or {}).get("tool_format", "auto"))


def _encode(message: Mapping[str, Any], tags: tuple[str, str]) -> dict[str, Any]:
    """Return a message as a row holds it: arguments as JSON, the reasoning in `tags`."""
    encoded = dict(message)
    if message["role"] == "assistant":
        thinking, response, _ = split_think(message["content"])
        encoded["content"] = _join(thinking, response or "", tags)
    return write_calls(encoded)


def write_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message whose calls have their arguments as JSON, which Arrow can store."""
    written = dict(message)
    if "tool_calls" in message:
        written["tool_calls"] = [
            {
                **call,
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for call in message["tool_calls"]
        ]
    return written


def _join(thinking: str | None, response: str, tags: tuple[str, str]) -> str:
    if thinking is None:
        return response
    return f"{tags[0]}{thinking.strip()}{tags[1]}{response.strip()}"


def rewrite_episode_tags(rows: pa.Table, tags: tuple[str, str]) -> pa.Table:
    """Replace the tags around the reasoning in all assistant turns of corpus rows."""
    position = rows.column_names.index("messages")
    conversations: list[Any] = rows["messages"].to_pylist()
    messages = [[_retag(message, tags) for message in turns] for turns in conversations]
    field = rows.schema.field(position)
    return rows.set_column(position, field, pa.array(messages, field.type))


def _retag(message: dict[str, Any], tags: tuple[str, str]) -> dict[str, Any]:
    if message["role"] != "assistant":
        return message
    thinking, response, _ = split_think(message["content"])
    return {**message, "content": _join(thinking, response or "", tags)}
