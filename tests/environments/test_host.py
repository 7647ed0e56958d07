"""Environment processes: what an episode sees of those that misbehave, and what is left of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.core.environment import name_environment
from factory.core.nouns import Message, Prompt
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from factory.environments.worker import MAX_CHARACTERS
from tests.e2e.processes import descendants, is_alive, wait_until
from tests.episodes import act, call

HOSTILE = Path(__file__).with_name("hostile.py")
PROMPT = Prompt("test", "tools", (Message(role="user", content="Play."),))


pytestmark = pytest.mark.usefixtures("trusted_code")


@pytest.fixture
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits(cpu_s=1.0, wall_s=60.0, memory_mb=512))
    before = descendants(os.getpid())
    try:
        yield made
    finally:
        made.close()
        wait_until(lambda: not (descendants(os.getpid()) - before), "the processes to end")


def own(name: str, **options: Any) -> dict[str, Any]:
    return {**name_environment(f"{HOSTILE}:{name}"), **options}


def played(host: EnvironmentHost, spec: dict[str, Any], *actions: Any) -> list[Reply]:
    return play(host, "episode", spec, PROMPT, 1, actions)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Spins", "it used more than 1 s of CPU time"),
        ("Exits", "its process ended"),
        ("KillsItself", "its process ended"),
        ("Raises", ": RuntimeError: no such luck"),
        ("Leaves", ": SystemExit: 0"),
        ("EatsMemory", "MemoryError"),
        ("NoObservation", "it returned str; return an Observation"),
        ("NoText", "is no message of role tool or user with a text"),
        ("NoNumber", "its reward is nan; give a finite number or None"),
        ("HugeState", "its state has 2,000,011 bytes; at most 1,048,576 fit"),
        ("NoJson", "Object of type set is not JSON serializable"),
    ],
)
def test_a_failure_says_why_and_costs_one_episode(
    host: EnvironmentHost, name: str, why: str
) -> None:
    begun, failed = played(host, own(name), act(content="go"))
    assert begun.failure is None
    assert failed.observation is None
    assert why in str(failed.failure)
    if why.startswith(": "):  # what the class raised: with the line
        assert re.match(rf"{name} failed:\d+: ", str(failed.failure))
    _, again = played(host, own("Ordinary"), act(content="go"))
    assert again.observation is not None
    assert again.observation.messages[0]["content"] == "fine"


def test_what_sleeps_ends_at_the_wall_clock() -> None:
    host = EnvironmentHost(StepLimits(cpu_s=1.0, wall_s=3.0))
    try:
        _, failed = played(host, own("Sleeps"), act(content="go"))
    finally:
        host.close()
    assert failed.failure == "it did not answer in 3 s"


def test_a_reset_that_fails_names_class_and_line(host: EnvironmentHost) -> None:
    (failed,) = played(host, own("FailsToReset"))
    assert "FailsToReset failed:" in str(failed.failure)
    assert "this prompt has no board" in str(failed.failure)


def test_tools_without_a_name_are_a_failure(host: EnvironmentHost) -> None:
    (failed,) = played(host, own("OffersNonsense"))
    assert "is no tool: it has no name" in str(failed.failure)


def test_floods_are_cut_and_odd_text_is_replaced(host: EnvironmentHost) -> None:
    _, flooded = played(host, own("Floods"), act(content="go"))
    assert flooded.observation is not None
    text = flooded.observation.messages[0]["content"]
    assert len(text) < MAX_CHARACTERS + 100
    assert text.endswith("[49,980,000 more characters are left out]")
    _, odd = played(host, own("NoUnicode"), act(content="go"))
    assert odd.observation is not None
    assert odd.observation.messages[0]["content"] == "? and \x00"
    _, printed = played(host, own("Prints"), act(content="go"))
    assert printed.observation is not None


def test_an_environment_reads_no_text_that_is_not_unicode(host: EnvironmentHost) -> None:
    """A model can write one half of a pair in the JSON of a call."""
    said = act(call("f", {"\ud800": ["a\udfff"]}), content="\ud800")
    _, reply = played(host, own("Writes"), said)
    assert reply.observation is not None, reply.failure
    read = json.loads(reply.observation.messages[0]["content"])
    assert read == act(call("f", {"?": ["a?"]}), content="?")


def test_the_last_step_has_state_and_reward(host: EnvironmentHost) -> None:
    _, last = played(host, own("Ordinary"), act(content="stop"))
    assert last.observation is not None
    assert (last.observation.done, last.observation.reward) == (True, 1.0)
    assert last.observation.state == {"steps": 1}


def test_unknown_options_and_classes_are_failures(host: EnvironmentHost) -> None:
    (failed,) = played(host, own("Ordinary", nonsense=1))
    assert "unexpected keyword argument 'nonsense'" in str(failed.failure)
    (unnamed,) = played(host, {"kind": "own", "class": "elsewhere/x.py:X"})
    assert "no recipe here names the environment" in str(unnamed.failure)
    (unknown,) = played(host, {"kind": "nonsense"})
    assert "'nonsense' is unknown" in str(unknown.failure)


def test_an_answer_after_the_end_is_heard_by_nobody(host: EnvironmentHost) -> None:
    host.begin("late", own("Sleeps"), PROMPT, 1)
    while not host.poll(1.0):
        pass
    host.act("late", act(content="go"))
    host.end("late")
    assert host.poll(0.5) == []
    assert not host.busy


def test_nothing_is_left_of_what_an_environment_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    host = EnvironmentHost(StepLimits())
    played(host, own("LeavesChildren", pids=str(pids)), act(content="go"))
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) == 2
    host.close()
    wait_until(lambda: not any(map(is_alive, started)), "all that was started to end")


def test_processes_of_a_killed_server_are_replaced(host: EnvironmentHost) -> None:
    played(host, {"kind": "calculator"})
    host.begin("open", {"kind": "calculator"}, PROMPT, 1)
    while not host.poll(1.0):
        pass
    for pid in descendants(os.getpid()):
        if "worker" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, 9)
    replies: list[Reply] = []
    host.act("open", act(call("calculate", {"expression": "1 + 1"})))
    while not replies:
        replies = host.poll(1.0)
    assert replies[0].observation is None
    host.poll(1.0)  # hears that the server is gone
    _, fresh = played(host, {"kind": "calculator"}, act(call("calculate", {"expression": "6 * 7"})))
    assert fresh.observation is not None
    assert fresh.observation.messages[0]["content"] == "42"


def test_what_a_killed_host_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = EnvironmentHost(StepLimits())
    program = (
        "import os, signal; from factory.environments.host import *; "
        "host = EnvironmentHost(StepLimits()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program]
    subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=300)
    folders = set(tmp_path.iterdir())
    assert len(folders) == 2
    following = EnvironmentHost(StepLimits())
    try:
        assert len(folders & set(tmp_path.iterdir())) == 1
        assert Path(living._folder.name).exists()
    finally:
        living.close()
        following.close()
    assert list(tmp_path.iterdir()) == []
