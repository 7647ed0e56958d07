"""The tools of an MCP server that speaks over stdio, in the sandbox."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from factory.core.nouns import Prompt
from factory.environments.tools import EnvironmentLost, ToolEnvironment, ToolError

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ETC = ("/etc/ld.so.cache", "/etc/alternatives")

TIMED_OUT = -32001
"""The SDK's code of a call that was not answered in time. The connection lives on."""


class Mcp(ToolEnvironment):
    """Offers the tools of the server that `command` starts, one server per episode.

    The server runs in bubblewrap: without a network and an environment, with a private /tmp, and
    with nothing of the file system but the system, this Python and the folder `path`, all
    read-only. `replayable: true` says that the same calls always give the same answers.
    """

    def __init__(
        self,
        command: list[str],
        path: str | None = None,
        seconds: float = 20.0,
        replayable: bool = False,
    ) -> None:
        self._command, self._folder, self._seconds = command, path, seconds
        self.replayable = replayable

    def begin(self, prompt: Prompt) -> None:
        try:
            from anyio.from_thread import start_blocking_portal
            from mcp import Client, StdioServerParameters
        except ImportError as error:
            raise RuntimeError(
                f"the package `mcp` is missing ({error}); install the extra `mcp`"
            ) from None
        started = sandboxed(self._command, self._folder)
        server = StdioServerParameters(command=started[0], args=started[1:], env={})
        client = Client(server, read_timeout_seconds=self._seconds)
        self._open = ExitStack()  # the process ends with the episode, and closes them
        self._portal = self._open.enter_context(start_blocking_portal())
        self._client = self._open.enter_context(self._portal.wrap_async_context_manager(client))
        self._listed = self._portal.call(self._client.list_tools).tools

    def find_tools(self) -> dict[str, Callable[..., Any]]:
        return {tool.name: self._bind(tool.name) for tool in self._listed}

    def describe_tools(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or "",
                    "parameters": tool.input_schema,
                },
            }
            for tool in self._listed
        )

    def _bind(self, name: str) -> Callable[..., str]:
        def call(**arguments: Any) -> str:
            return self._call(name, arguments)

        return call

    def _call(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError

        try:
            result: Any = self._portal.call(self._client.call_tool, name, arguments)
        except MCPError as error:
            if error.code == TIMED_OUT:
                raise ToolError(f"{name} did not answer in {self._seconds:g} s") from None
            raise EnvironmentLost(f"the MCP server is gone: {error}") from None
        text = "\n".join(
            block.text if block.type == "text" else f"[{block.type}]" for block in result.content
        )
        if result.is_error:
            raise ToolError(text)
        return text


def sandboxed(command: list[str], folder: str | None) -> list[str]:
    """Return the command line that runs a command in bubblewrap. Raises OSError without it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise OSError("bubblewrap is not installed: install the package `bubblewrap`")
    line = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C.UTF-8"]
    line += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    prefixes = {sys.prefix, sys.base_prefix, *map(_real, (sys.prefix, sys.base_prefix))}
    for place in (*_SYSTEM, *_ETC, *sorted(prefixes)):
        line += ["--ro-bind-try", place, place]
    if folder is not None:
        line += ["--ro-bind", _real(folder), _real(folder), "--chdir", _real(folder)]
    python = sys.executable if command[0] in ("python", "python3") else command[0]
    return [*line, "--", python, *command[1:]]


def _real(path: str) -> str:
    return str(Path(path).resolve())
