"""A corpus row as a conversation with tools: what was offered, called, observed and answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from factory.core.nouns import Message, as_messages

COLUMNS = ("id", "messages", "tools", "n_prompt_messages")
"""Columns of a corpus row that make its conversation; the last two are those of episodes."""


class Dialogue(list[Message]):
    """The messages of an episode, or of a prompt with tools.

    `tools` are the functions that the model was offered. The first `n_prompt` messages are the
    prompt's. All assistant turns after them are the sample's own, and all of them are learnt.
    """

    def __init__(
        self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]], n_prompt: int
    ) -> None:
        super().__init__(messages)
        self.tools, self.n_prompt = tuple(tools), n_prompt


def read_dialogue(row: Mapping[str, Any]) -> Sequence[Message]:
    """Return a row's messages: a `Dialogue` where it has tools or calls.

    Raises ValueError for tools or arguments that are no JSON.
    """
    messages = row["messages"]
    calls = any(message.get("tool_calls") or message["role"] == "tool" for message in messages)
    if not row.get("tools") and not calls:
        return as_messages(messages)
    n_prompt = row.get("n_prompt_messages")
    if n_prompt is None:  # of another program: what the assistant says first is the sample's own
        roles = [message["role"] for message in messages]
        n_prompt = roles.index("assistant") if "assistant" in roles else len(roles)
    tools = json.loads(row["tools"]) if row.get("tools") else []
    return Dialogue(map(_read_message, messages), tools, n_prompt)


def _read_message(fields: Mapping[str, Any]) -> Message:
    message = Message(role=fields["role"], content=fields["content"] or "")
    for name in ("name", "tool_call_id"):
        if fields.get(name):
            message[name] = fields[name]
    if fields.get("tool_calls"):
        message["tool_calls"] = [_read_call(call) for call in fields["tool_calls"]]
    return message


def _read_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return {**call, "function": {"name": function["name"], "arguments": arguments}}


def split_turns(messages: Sequence[Message]) -> list[Sequence[Message]]:
    """Return an episode as one conversation per turn of the sample's own: all before it is given,
    and it alone is learnt. Any other row stays as it is."""
    if not isinstance(messages, Dialogue):
        return [messages]
    return [
        Dialogue(messages[: place + 1], messages.tools, place) for place in own_places(messages)
    ]


def tools_of(messages: Sequence[Message]) -> tuple[Mapping[str, Any], ...]:
    """Return the tools that a row's model was offered."""
    return messages.tools if isinstance(messages, Dialogue) else ()


def own_places(messages: Sequence[Message]) -> list[int]:
    """Return the places of the assistant turns that are the sample's own: those to learn."""
    if not isinstance(messages, Dialogue):
        return [len(messages) - 1]
    return [
        place
        for place, message in enumerate(messages)
        if place >= messages.n_prompt and message["role"] == "assistant"
    ]
