"""An MCP server as an environment: a real server, in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Message, Prompt
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from tests.e2e.processes import descendants, wait_until
from tests.episodes import act, call, named

pytest.importorskip("mcp")

PROMPT = Prompt("test", "tools", (Message(role="user", content="Play."),))
HERE = Path(__file__).parent
SPEC = {"kind": "mcp", "command": ["python", "mcp_example.py"], "path": str(HERE), "seconds": 60.0}


@pytest.fixture
def host() -> Iterator[EnvironmentHost]:
    made, before = EnvironmentHost(StepLimits(wall_s=180.0)), descendants(os.getpid())
    try:
        yield made
    finally:
        made.close()
        wait_until(lambda: not (descendants(os.getpid()) - before), "the processes to end")


def text(reply: Reply) -> str:
    assert reply.observation is not None, reply.failure
    return reply.observation.messages[0]["content"]


def played(host: EnvironmentHost, spec: dict[str, Any], *actions: Any) -> list[Reply]:
    return play(host, "episode", named(spec), PROMPT, 1, actions)


def test_tools_are_listed_and_called_in_the_sandbox(host: EnvironmentHost) -> None:
    begun, added, wrong, unknown, reached, ended = played(
        host,
        SPEC,
        act(call("add", {"a": 1, "b": 2})),
        act(call("add", {"a": "one"})),
        act(call("fly", {})),
        act(call("reach", {})),
        act(call("end", {})),
    )
    assert begun.observation is not None
    assert not begun.replayable
    tools = {tool["function"]["name"]: tool["function"] for tool in begun.observation.tools}
    assert set(tools) == {"add", "sleep", "end", "reach"}
    assert tools["add"]["description"] == "Add two numbers."
    assert set(tools["add"]["parameters"]["properties"]) == {"a", "b"}
    assert text(added) == "3"
    assert text(wrong).startswith("error: ")
    assert text(unknown).startswith("error: there is no tool 'fly'")
    said = text(reached)
    assert "network" not in said
    assert "read-only" in said
    assert "HOME" not in said
    assert "the MCP server is gone" in str(ended.failure)


def test_a_call_that_takes_too_long_is_an_observation(host: EnvironmentHost) -> None:
    spec = {**SPEC, "seconds": 15.0}
    _, late, after = played(host, spec, act(call("sleep", {})), act(call("add", {"a": 1, "b": 1})))
    assert text(late) == "error: sleep did not answer in 15 s"
    assert text(after) == "2"


def test_a_server_that_does_not_start_is_a_failure(host: EnvironmentHost) -> None:
    (failed,) = played(host, {**SPEC, "command": ["python", "none.py"]})
    assert failed.observation is None
    assert "Mcp failed" in str(failed.failure)
