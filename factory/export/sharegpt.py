"""Episodes as LLaMA-Factory reads them: turns of function_call and observation (ShareGPT).

Its turns alternate: what a user says or a tool answers, then what the model says or calls. A turn
that only calls is a `function_call`: a JSON object of name and arguments, or a list of them. The
answers of parallel calls are one `observation`. A turn with words and calls has no form of its own:
it is an assistant's turn, with its calls written as Hermes and Qwen write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from factory.core.errors import ModelError
from factory.core.nouns import Message
from factory.export.dialogue import tools_of
from factory.export.layouts import Conversation
from factory.export.target import Target

BETWEEN_ANSWERS = "\n</tool_response>\n<tool_response>\n"
"""Between the answers of parallel calls in one observation; its template writes the outer tags."""

_TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


class ShareGpt(Conversation):
    """Columns `messages` and `tools`. The tokens are those of the target's own template."""

    def with_tools(self) -> ShareGpt:
        return ShareGpt(marked=self.marked, tools=True)

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        if not self.tools:
            return super().columns(messages, target)
        tools = tools_of(messages)
        return {
            "messages": list(write_turns(messages)),
            "tools": json.dumps(tools, ensure_ascii=False) if tools else "",
        }

    def schema(self) -> Any:
        import pyarrow as pa

        if not self.tools:
            return super().schema()
        turn = pa.struct([("role", pa.string()), ("content", pa.string())])
        return pa.schema(
            [("id", pa.string()), ("messages", pa.list_(turn)), ("tools", pa.string())]
        )


def write_turns(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    """Yield the turns of a conversation with their roles there."""
    for role, group in groupby(messages, key=lambda message: message["role"]):
        if role == "tool":
            answers = [message["content"] for message in group]
            yield {"role": "observation", "content": BETWEEN_ANSWERS.join(answers)}
            continue
        for message in group:
            yield _write_turn(message)


def _write_turn(message: Message) -> dict[str, str]:
    content = message["content"]
    calls = [
        {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        for call in message.get("tool_calls", [])
    ]
    if not calls:
        return {"role": message["role"], "content": content}
    if not content.strip():
        written = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
        return {"role": "function_call", "content": written}
    written = "\n".join(
        f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls
    )
    return {"role": "assistant", "content": f"{content}\n{written}"}


def require_hermes_calls(target: Target) -> bool:
    """Check that a model writes calls as LLaMA-Factory's template `qwen` does.

    Returns whether the model's template has a system turn of its own. Raises ModelError.
    """
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    asked, called = (
        Message(role="user", content="?"),
        Message(role="assistant", content="", tool_calls=[call]),
    )
    text = "".join(target.render([asked, called], tools=(_TOOL,)).split())
    if '<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>' not in text:
        raise ModelError(
            "the export to llama-factory writes tool calls as Hermes and Qwen do, and this model's "
            "template writes them otherwise; export to trl, verl, axolotl or openai"
        )
    return "You are Qwen" in target.render([asked])
