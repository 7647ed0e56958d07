"""Episodes over a server: what each turn's request holds, and what becomes of the replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory.core.models import DEMO_NAME
from factory.core.nouns import Message, Prompt, Sample
from factory.environments.host import EnvironmentHost, StepLimits
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Engine, Request
from factory.sampling.episodes import EpisodeEngine
from factory.sampling.turn_log import TurnLog
from tests.fake_server import FakeServer
from tests.sampling.conftest import Connect, make_spec

PROMPT = Prompt(
    "test",
    "math",
    (Message(role="user", content="What is 12 + 1?"),),
    environment={"kind": "calculator"},
)
CALL = '<tool_call>\n{"name": "calculate", "arguments": {"expression": "12 + 1"}}\n</tool_call>'


def play(engine: Engine, folder: Path) -> Sample:
    log, host = TurnLog(folder / "log", ()), EnvironmentHost(StepLimits())
    player = EpisodeEngine(engine, host, log, Sampling(), lambda kind, **fields: None)
    player.submit(Request(PROMPT, 0))
    found: list[Any] = []
    try:
        while not found:
            found += player.completed()
    finally:
        host.close()
        log.close()
    (sample,) = found
    assert isinstance(sample, Sample)
    return sample


def answer_chat(body: dict[str, Any]) -> str:
    last = body["messages"][-1]
    return f"<think>Done.</think>It is {last['content']}." if last["role"] == "tool" else CALL


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_gets_tools_calls_and_observations(
    connected: Connect, tmp_path: Path, stream: bool
) -> None:
    spec = make_spec(prompting={"template": "chat"})
    with FakeServer(answer=answer_chat) as server:
        sample = play(connected(server.url, spec=spec, api="chat", stream=stream), tmp_path)
    assert sample.text == "<think>Done.</think>It is 13."
    assert sample.n_tokens == sum(turn.n_tokens for turn in sample.turns or ())
    first, second = server.bodies
    (tool,) = first["tools"]
    assert tool["function"]["name"] == "calculate"
    assert [message["role"] for message in first["messages"]] == ["user"]
    assert second["tools"] == first["tools"]
    user, called, shown = second["messages"]
    assert user == first["messages"][0]
    assert called["content"] is None
    (call,) = called["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"expression": "12 + 1"}
    assert shown == {
        "role": "tool", "content": "13", "name": "calculate", "tool_call_id": call["id"],
    }  # fmt: skip
    assert json.loads(sample.prompt_text)["tools"] == first["tools"]


def test_a_completion_goes_on_with_the_same_text(connected: Connect, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        return "It is 13." if "<tool_response>" in body["prompt"] else CALL

    spec = make_spec(model="demo", prompting={"template": "chat"})
    with FakeServer(model=DEMO_NAME, answer=answer) as server:
        sample = play(connected(server.url, spec=spec), tmp_path)
    first, second = (body["prompt"] for body in server.bodies)
    assert second == (
        f"{first}{CALL}<|im_end|>\n<|im_start|>user\n<tool_response>\n13\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert sample.prompt_text == first
    assert [body["add_special_tokens"] for body in server.bodies] == [False, False]


def test_tools_without_an_environment_are_one_turn(connected: Connect) -> None:
    tools = ({"type": "function", "function": {"name": "add"}},)
    prompt = Prompt("test", "math", PROMPT.messages, tools=tools)
    spec = make_spec(prompting={"template": "chat"})
    with FakeServer(answer=answer_chat) as server:
        engine = connected(server.url, spec=spec, api="chat")
        engine.submit(Request(prompt, 0))
        found: list[Any] = []
        while not found:
            found += engine.completed()
    (sample,) = found
    assert (sample.text, sample.turns) == (CALL, None)
    assert server.bodies[0]["tools"] == list(tools)
