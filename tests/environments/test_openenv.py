"""OpenEnv servers as environments: the protocol by a small server, and OpenEnv's own where it is.

OPENENV_PYTHON names an interpreter that has `openenv`.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Message, Prompt
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from factory.prompts.sets.openenv import OpenEnv
from tests.episodes import act, named
from tests.ports import free_ports

pytest.importorskip("websockets")

PROMPT = Prompt("test", "servers", (Message(role="user", content="Play."),))
SERVER = Path(__file__).with_name("openenv_server.py")


@pytest.fixture
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits(wall_s=180.0))
    yield made
    made.close()


@contextmanager
def serving(answer: Callable[[Any, dict[str, Any]], None]) -> Iterator[str]:
    """A websocket server; `answer` gets the connection and each message. Yields its URL."""
    from websockets.sync.server import serve

    def handle(connection: Any) -> None:
        for text in connection:
            answer(connection, json.loads(text))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def observe(text: Any, **fields: Any) -> str:
    data = {"observation": {"text": text}, "reward": None, "done": False} | fields
    return json.dumps({"type": "observation", "data": data})


def spec(url: str, **options: Any) -> dict[str, Any]:
    return named({"kind": "openenv", "url": url, "observation": "text"} | options)


def says(*texts: str) -> list[Any]:
    return [act(content=text) for text in texts]


def test_rewards_are_summed_and_the_state_is_kept(host: EnvironmentHost) -> None:
    asked: list[dict[str, Any]] = []

    def answer(connection: Any, message: dict[str, Any]) -> None:
        asked.append(message)
        if message["type"] == "state":
            connection.send(json.dumps({"type": "state", "data": {"step_count": 2}}))
        elif message["type"] == "reset":
            connection.send(observe("Begin."))
        else:
            done = len(asked) == 3
            connection.send(observe(message["data"], reward=0.5, done=done))

    with serving(answer) as url:
        replies = play(host, "e", spec(url, action="say", reset={"level": 2}, seed=7), PROMPT, 1,
                       says("one", "two"))  # fmt: skip
    begun, one, two = (reply.observation for reply in replies)
    assert asked[0] == {"type": "reset", "data": {"level": 2, "seed": 7}}
    assert begun.messages[0]["content"] == "Begin."
    assert (one.messages[0]["content"], one.reward, one.done) == ('{"say": "one"}', 0.5, False)
    assert (two.reward, two.done, two.state) == (1.0, True, {"step_count": 2})


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "7", "{", "[" * 5000])
def test_what_is_no_action_is_said_to_the_model(host: EnvironmentHost, text: str) -> None:
    with serving(lambda connection, _: connection.send(observe("Begin."))) as url:
        *_, last = play(host, "e", spec(url), PROMPT, 1, says(text))
    assert last.observation is not None, last.failure
    assert last.observation.messages[0]["content"] == "error: an action is a JSON object"


def error(code: str) -> str:
    return json.dumps({"type": "error", "data": {"code": code, "message": "why"}})


BAD: dict[str, tuple[Any, str]] = {
    "gone": (lambda connection: connection.close(), "is gone"),
    "no JSON": (lambda connection: connection.send("{"), "sent no JSON"),
    "no text": (lambda connection: connection.send(b"\xff\xfe"), "sent no JSON"),
    "another message": (lambda connection: connection.send('{"type": "x"}'), "sent"),
    "a list": (lambda connection: connection.send("[]"), "sent"),
    "flood": (lambda connection: connection.send("x" * (1 << 25)), "is gone"),
    "raised": (lambda connection: connection.send(error("EXECUTION_ERROR")), "EXECUTION_ERROR"),
    "no field": (lambda c: c.send(observe("x").replace("text", "other")), "has no field 'text'"),
    "not finite": (lambda c: c.send(observe("x", reward=float("nan"))), "reward is nan"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_server_costs_the_episode(host: EnvironmentHost, name: str) -> None:
    misbehave, why = BAD[name]

    def answer(connection: Any, message: dict[str, Any]) -> None:
        if message["type"] == "reset":
            connection.send(observe("Begin."))
        else:
            misbehave(connection)

    with serving(answer) as url:
        *_, last = play(host, "e", spec(url, action="say"), PROMPT, 1, says("x"))
    assert why in str(last.failure)


def test_a_refused_action_is_said_to_the_model(host: EnvironmentHost) -> None:
    def answer(connection: Any, message: dict[str, Any]) -> None:
        begins = message["type"] == "reset"
        connection.send(observe("Begin.") if begins else error("VALIDATION_ERROR"))

    with serving(answer) as url:
        *_, last = play(host, "e", spec(url, action="say"), PROMPT, 1, says("x"))
    assert last.observation is not None
    assert last.observation.messages[0]["content"] == "error: VALIDATION_ERROR: why"


def test_a_server_that_hangs_is_given_up() -> None:
    def answer(connection: Any, message: dict[str, Any]) -> None:
        if message["type"] == "reset":
            connection.send(observe("Begin."))

    short = EnvironmentHost(StepLimits(wall_s=2.0))
    try:
        with serving(answer) as url:
            *_, last = play(short, "e", spec(url, action="say"), PROMPT, 1, says("x"))
    finally:
        short.close()
    assert last.failure == "it did not answer in 2 s"


def test_a_full_server_is_asked_again(host: EnvironmentHost) -> None:
    asked: list[Any] = []

    def answer(connection: Any, message: dict[str, Any]) -> None:
        asked.append(message)
        connection.send(error("CAPACITY_REACHED") if len(asked) < 3 else observe("Begin."))

    with serving(answer) as url:
        (reply,) = play(host, "e", spec(url), PROMPT, 1, [])
    assert reply.observation is not None, reply.failure
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:{free}", "no OpenEnv server answers at"),
        ("127.0.0.1:8000", "give one such as"),
        ("ftp://x", "give one such as"),
    ],
)
def test_without_a_server_the_failure_says_how_to_begin(
    host: EnvironmentHost, url: str, why: str
) -> None:
    url = url.replace("{free}", str(free_ports(1)[0]))  # the same test in every worker
    (reply,) = play(host, "e", spec(url), PROMPT, 1, [])
    assert why in str(reply.failure)


def test_the_source_makes_a_prompt_of_each_seed() -> None:
    source = OpenEnv(url="http://localhost:8000", size=2, seed=1, action="say")
    prompts = [row for row in source.rows() if isinstance(row, Prompt)]
    assert [prompt.environment for prompt in prompts] == [
        {"kind": "openenv", "url": "http://localhost:8000", "action": "say", "seed": seed}
        for seed in (1_000_000, 1_000_001)
    ]


def text(reply: Reply) -> str:
    assert reply.observation is not None, reply.failure
    return reply.observation.messages[0]["content"]


@pytest.mark.real(group="engine")
def test_a_real_server(host: EnvironmentHost) -> None:
    python = os.environ.get("OPENENV_PYTHON")
    if python is None:
        pytest.skip("OPENENV_PYTHON is not set")
    port = free_ports(1)[0]
    process = subprocess.Popen([python, str(SERVER), str(port)])
    try:
        url, given = f"http://127.0.0.1:{port}", says('{"say": 2}', '{"say": 1}', '{"say": 0}')
        while process.poll() is None:
            begun, *seen = play(host, "e", spec(url), PROMPT, 1, given)
            if "no OpenEnv server answers" not in str(begun.failure):
                break
        assert text(begun) == "Count down from 3."
        assert seen[-1].observation is not None
        assert (seen[-1].observation.done, seen[-1].observation.reward) == (True, 1.0)
        *_, broken = play(host, "e", spec(url), PROMPT, 1, says('{"say": 668}'))
        assert "broken" in str(broken.failure)
        *_, gone = play(host, "e", spec(url), PROMPT, 1, says('{"say": 667}'))
        assert "is gone" in str(gone.failure)
    finally:
        process.kill()
        process.wait()
