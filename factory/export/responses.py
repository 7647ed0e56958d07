"""Rollouts as NeMo Gym writes them: a request of OpenAI's Responses API, and what came of it.

`{"responses_create_params": {"input", "tools"}, "response": {"output", …}, "reward"}`, one line
each. Its server refuses requests with other keys, and responses and items without the ids and
settings of OpenAI's schema. The source `nemo_gym` reads such rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from factory.core.nouns import Message, fingerprint
from factory.core.think import split_think
from factory.export.dialogue import own_places, tools_of
from factory.export.layouts import Conversation
from factory.export.target import Target


class Rollout(Conversation):
    """The keys of a rollout. The tokens are those of the target's own template."""

    def with_tools(self) -> Rollout:
        return Rollout(marked=self.marked, tools=True)

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        first = own_places(messages)[0]
        request: dict[str, Any] = {"input": list(write_items(messages[:first], 0))}
        tools = [_flatten(tool) for tool in tools_of(messages)]
        if tools:
            request["tools"] = tools
        output = list(write_items(messages[first:], first))
        response = {
            "id": f"resp_{fingerprint([request, output])}",
            "object": "response",
            "created_at": 0.0,
            "model": "r1-factory",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": tools,
        }
        reward = 1.0  # every row of a corpus was accepted
        return {"responses_create_params": request, "response": response, "reward": reward}


def write_items(messages: Sequence[Message], start: int) -> Iterator[dict[str, Any]]:
    """Yield the items of messages. `start` is the place of the first, for calls without an id."""
    waiting: list[str] = []  # ids of calls that nothing has answered yet
    for place, message in enumerate(messages, start):
        if message["role"] == "tool":
            named = message.get("tool_call_id")
            call = named or (waiting[0] if waiting else f"call_{place}")
            waiting = [name for name in waiting if name != call]
            yield {"type": "function_call_output", "call_id": call, "output": message["content"]}
        elif message["role"] != "assistant":
            yield {"role": message["role"], "content": message["content"], "type": "message"}
        else:
            calls = list(_write_calls(message, place))
            waiting += [call["call_id"] for call in calls]
            yield from _write_words(message["content"], place)
            yield from calls


def _write_words(content: str, place: int) -> Iterator[dict[str, Any]]:
    thinking, response, _ = split_think(content)
    if thinking:
        summary = [{"type": "summary_text", "text": thinking.strip()}]
        yield {"type": "reasoning", "id": f"rs_{place}", "summary": summary}
    said = (response or "").strip()
    if said:
        text = {"type": "output_text", "text": said, "annotations": []}
        head = {"type": "message", "id": f"msg_{place}", "role": "assistant"}
        yield {**head, "status": "completed", "content": [text]}


def _write_calls(message: Message, place: int) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call.get("id") or f"call_{place}_{number}",
            "name": function["name"],
            "arguments": json.dumps(function["arguments"], ensure_ascii=False),
        }


def _flatten(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    return {"type": "function", "parameters": None, "strict": None, **function}
