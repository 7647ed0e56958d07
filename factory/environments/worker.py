"""`python -m factory.environments.worker ADDRESS REFERENCE`: the processes of an environment.

The first process imports the environment's class once. For each episode it forks a process of its
own, which connects to the host and plays that one episode. An episode's process that hangs, crashes
or eats memory costs its episode alone. All of them end with the host.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from factory.core.environment import Environment, Observation, environment_class
from factory.core.nouns import Message, Prompt
from factory.core.plugins import PluginError, line_in
from factory.environments.frames import encode_frame, receive
from filters.tool_calls.schemas import read_tools

MAX_CHARACTERS = 20_000
"""Characters of one message of an observation. What a tool writes beyond is left out, and said."""

MAX_STATE_BYTES = 1 << 20


def main(address: str, reference: str) -> None:
    """Serve until the host hangs up or this process's starter ends."""
    os.environ["TMPDIR"] = str(Path(address).parent)  # the host removes what killed processes leave
    control = _connect(address, {"serves": reference})
    try:
        found = environment_class(reference)
    except PluginError as error:
        control.sendall(encode_frame({"failure": str(error)}))
        return
    running: dict[str, int] = {}
    with contextlib.suppress(EOFError, OSError):
        while True:
            ready, _, _ = select.select([control], [], [], 1.0)
            _reap(running)
            if not ready:
                continue
            command = receive(control)
            if "end" in command:
                _kill(running.get(command["end"]))
                continue
            _prepare(found, command["options"])
            child = os.fork()
            if child == 0:
                _become_episode(address, command["begin"], found, control)
            running[command["begin"]] = child
    for pid in running.values():
        _kill(pid)


def _prepare(found: type[Environment], options: Mapping[str, Any]) -> None:
    """Load what all episodes share, where the class can: `prepare`, with the options."""
    prepare = getattr(found, "prepare", None)
    if prepare is not None:
        with contextlib.suppress(Exception):  # the episode's own process raises and reports it
            prepare(**options)


def _connect(address: str, greeting: Mapping[str, Any]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    connection.sendall(encode_frame(greeting))
    return connection


def _reap(running: dict[str, int]) -> None:
    for episode, pid in list(running.items()):
        if os.waitpid(pid, os.WNOHANG)[0]:
            del running[episode]


def _kill(pid: int | None) -> None:
    """Kill an episode's process group. It is a child that was not waited for: its id is its own."""
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _become_episode(
    address: str, episode: str, found: type[Environment], control: socket.socket
) -> NoReturn:
    """Play one episode, in the process just forked. Never returns."""
    status = 1
    try:
        control.close()
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        connection = _connect(address, {"plays": episode})
        with contextlib.suppress(EOFError, OSError):
            _play(connection, found)
        status = 0
    finally:
        os._exit(status)


def _play(connection: socket.socket, found: type[Environment]) -> None:
    begin = receive(connection)
    limit = begin["memory_mb"] << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    made: Environment | None = None
    while True:
        try:
            if made is None:
                made = found(**begin["options"])
                seen = made.reset(Prompt.from_row(begin["prompt"]), begin["seed"])
                answer = {"replayable": made.replayable is True}
            else:
                seen = made.step(_readable(receive(connection)))
                answer = {}
            reply = encode_frame({**answer, "observation": describe(seen)})
        except (EOFError, OSError):
            return  # the host has hung up
        except BaseException as error:  # a user's class may raise anything
            reply = encode_frame({"failure": _describe_error(found, error)})
        connection.sendall(reply)


def _readable(action: Any) -> Any:
    """Return an action in Unicode: in the JSON of a call a model can write half of a pair."""
    return json.loads(json.dumps(action, ensure_ascii=False).encode("utf-8", "replace"))


def describe(seen: Observation) -> dict[str, Any]:
    """Return an observation as JSON holds it. Raises TypeError or ValueError for what does not fit.

    Long messages are cut, and text that is not Unicode is replaced.
    """
    if not isinstance(seen, Observation):
        raise TypeError(f"it returned {type(seen).__name__}; return an Observation")
    if seen.reward is not None and not math.isfinite(seen.reward):
        raise ValueError(f"its reward is {seen.reward}; give a finite number or None")
    read_tools(seen.tools)
    state = json.dumps(dict(seen.state), sort_keys=True, allow_nan=False)
    if len(state) > MAX_STATE_BYTES:
        raise ValueError(f"its state has {len(state):,} bytes; at most {MAX_STATE_BYTES:,} fit")
    return {
        "messages": [_clean(message) for message in seen.messages],
        "done": bool(seen.done),
        "reward": None if seen.reward is None else float(seen.reward),
        "state": _unicode(state) if seen.state else None,
        "tools": list(seen.tools),
    }


def _clean(message: Message) -> dict[str, Any]:
    content = message["content"]
    if message["role"] not in ("tool", "user") or not isinstance(content, str):
        raise TypeError(f"{str(message)[:80]} is no message of role tool or user with a text")
    if len(content) > MAX_CHARACTERS:
        left_out = len(content) - MAX_CHARACTERS
        content = f"{content[:MAX_CHARACTERS]}\n[{left_out:,} more characters are left out]"
    extra = {key: str(message[key]) for key in ("name", "tool_call_id") if message.get(key)}
    return {"role": message["role"], "content": _unicode(content), **extra}


def _unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _describe_error(found: type[Environment], error: BaseException) -> str:
    file = Path(str(getattr(sys.modules.get(found.__module__), "__file__", "")))
    text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return f"{found.__name__} failed{line_in(file, error)}: {text}"


if __name__ == "__main__":
    main(*sys.argv[1:3])
