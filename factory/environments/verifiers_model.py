"""The model's side of an episode of `verifiers`: a server whose answers come from a connection.

Loaded by `verifiers_server.py`, in the other Python; not imported here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

MAX_BYTES = 64 << 20
"""The longest line of a connection, and the largest request."""


class Model:
    """A server of chat completions whose answers come from the other side of the connection.

    The conversation may only grow: what was shown before must stand before what is new.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._shown: list[dict[str, Any]] = []
        self._asked = asyncio.Lock()
        self.failure: str | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def write(self, line: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(line).encode() + b"\n")
        await self._writer.drain()

    async def _answer(self, request: Any) -> Any:
        from aiohttp import web

        body = await request.json()
        try:
            message = await self._ask(body)
        except ValueError as error:
            self.failure = str(error)
            return web.json_response({"error": {"message": str(error)}}, status=400)
        head: dict[str, Any] = {
            "id": f"turn-{len(self._shown)}",
            "created": int(time.time()),
            "model": "policy",
        }
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(whole)
        calls = [
            {"index": place, **call} for place, call in enumerate(message.get("tool_calls", []))
        ]
        delta = {**message, "tool_calls": calls} if calls else message
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage},
        ]
        lines = [
            json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks
        ]
        text = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
        return web.Response(text=text, content_type="text/event-stream")

    async def _ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Show what is new in a request, and return the model's message. Raises ValueError."""
        if self._asked.locked():
            raise ValueError("its harness asks the model twice at once, which is not played")
        async with self._asked:
            messages = [read_message(message) for message in body["messages"]]
            known = len(self._shown)
            if messages[:known] != self._shown or len(messages) <= known:
                raise ValueError(
                    "its harness changed what the model had read or written before; only a "
                    "conversation that grows can be played"
                )
            await self.write({"messages": messages[known:], "tools": body.get("tools") or []})
            line = await self._reader.readline()
            if not line:
                raise ValueError("the episode was ended")
            action = json.loads(line)
            message: dict[str, Any] = {"role": "assistant", "content": action["content"]}
            if action["tool_calls"]:
                message["tool_calls"] = [write_call(call) for call in action["tool_calls"]]
            self._shown = [*messages, read_message(message)]
            return message


def write_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with its arguments as JSON text, as servers write them."""
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {"name": function["name"], "arguments": arguments}}


def read_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of a message. Raises ValueError for what is not text."""
    read: dict[str, Any] = {"role": message["role"], "content": as_text(message.get("content"))}
    if calls := message.get("tool_calls"):
        read["calls"] = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in calls
        ]
    if message.get("tool_call_id"):
        read["tool_call_id"] = message["tool_call_id"]
    return read


def as_text(content: Any) -> str:
    """Return the text of a message's content. Raises ValueError for an image."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [part if isinstance(part, dict) else part.model_dump() for part in content]
    for part in texts:
        if part.get("type") != "text":
            raise ValueError(
                f"a message holds a part of type {part.get('type')!r}; only text is played"
            )
    return "".join(part["text"] for part in texts)
