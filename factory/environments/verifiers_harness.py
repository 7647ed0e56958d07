"""The program that plays a task of `verifiers`: asks the model, and calls the tools that it calls.

A plugin of `verifiers`, loaded by `verifiers_server.py` under a name of its own, not imported here.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.utils.mcp import call_mcp, connect_mcp
from verifiers.v1.runtimes import ProgramResult

__all__ = ["Chat"]


class Chat(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]
    """Ends with an answer without calls, or where a rule of the task refuses the next turn."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_MCP = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any,
        data: Any,
    ) -> Any:  # fmt: skip
        messages = list_messages(*self.resolve_prompt(data))
        places = {name: {"url": url} for name, url in mcp_urls.items()}
        async with AsyncExitStack() as stack:
            tools, known, servers = await connect_mcp({"mcpServers": places}, stack)
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=None))
            while True:
                body = {"model": ctx.model, "messages": messages}
                reply = await client.post(
                    f"{endpoint}/chat/completions",
                    json=body | ({"tools": tools} if tools else {}),
                    headers={"Authorization": f"Bearer {secret}"},
                )
                if reply.status_code != 200:
                    return ProgramResult(1, "", reply.text[-2000:])
                messages.append(reply.json()["choices"][0]["message"])
                calls = messages[-1].get("tool_calls") or []
                if not calls:
                    return ProgramResult(0, "", "")
                for call in calls:
                    said = await answer_call(call["function"], known, servers)
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})


def list_messages(system: str | None, prompt: Any) -> list[dict[str, Any]]:
    """Return what the model sees first."""
    messages = [{"role": "system", "content": system}] if system else []
    if isinstance(prompt, str):
        return [*messages, {"role": "user", "content": prompt}]
    return [*messages, *map(message_to_wire, prompt)]


async def answer_call(function: dict[str, str], known: Any, servers: Any) -> Any:
    """Call a tool and return what the model reads."""
    name = function["name"]
    if name not in known:
        return f"error: there is no tool {name!r}; the tools are {', '.join(known) or 'none'}"
    return await call_mcp(servers, known, name, json.loads(function["arguments"]))
