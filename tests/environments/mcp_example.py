"""An MCP server for tests: arithmetic, and each kind of trouble."""

from __future__ import annotations

import os
import socket
import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("example")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def sleep() -> str:
    """Take too long."""
    time.sleep(60)
    return "late"


@server.tool()
def end() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
def reach() -> str:
    """Say what can be reached."""
    found: list[str] = []
    try:
        socket.create_connection(("127.0.0.1", 80), timeout=1)
        found.append("network")
    except OSError as error:
        found.append(type(error).__name__)
    try:
        open(__file__, "a").close()
        found.append("writable")
    except OSError:
        found.append("read-only")
    return " ".join([*found, *sorted(os.environ)])


if __name__ == "__main__":
    server.run()
