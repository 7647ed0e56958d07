"""Tasks of `verifiers` tasksets: prompts, tools and rewards are the taskset's, the model is ours.

`verifiers` needs a Python of its own. One server per taskset runs there and forks a process per
episode; `verifiers_server.py` says how they speak.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
from collections.abc import Mapping
from typing import IO, Any, ClassVar

from factory.core.environment import Action, Observation, start_verifiers
from factory.core.nouns import Message, Prompt
from factory.environments.tools import EnvironmentLost

_LINE_BYTES = 64 << 20


class Verifiers:
    """Task `idx` of `taskset`, as the Python at `python` has it. `key` is the task's identity.

    `taskset` is an id, or a mapping with `id` and keys of the taskset's configuration. `path` is a
    folder with tasksets that are not installed. The reward is the sum of the task's own rewards.
    """

    _servers: ClassVar[dict[str, tuple[subprocess.Popen[bytes], socket.socket]]] = {}

    def __init__(
        self,
        python: str,
        taskset: str | Mapping[str, Any],
        idx: int,
        key: str,
        path: str | None = None,
        replayable: bool = False,
    ) -> None:
        self._options = {"python": python, "taskset": taskset, "path": path}
        self._idx, self._key, self.replayable = idx, key, replayable
        self._names: dict[str, str] = {}  # id of a call → name of its tool
        self._tools: tuple[Mapping[str, Any], ...] = ()  # as shown last

    @classmethod
    def prepare(cls, **options: Any) -> None:
        """Start the taskset's server, for all episodes. Starts another one where it has ended."""
        given = {key: options.get(key) for key in ("python", "taskset", "path")}
        name = json.dumps(given, sort_keys=True)
        if name in cls._servers and cls._servers[name][0].poll() is not None:
            cls._servers.pop(name)[1].close()
        cls._server(given)

    @classmethod
    def _server(cls, options: Mapping[str, Any]) -> socket.socket:
        """Return the control socket of a server. Raises RuntimeError if it cannot be started.

        An episode's process cannot ask whether the server lives: it is no child of its own.
        """
        name = json.dumps(options, sort_keys=True)
        if name not in cls._servers:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                number = theirs.fileno()
                started = start_verifiers("serve", options, number, pass_fds=[number])
            cls._servers[name] = (started, ours)
        return cls._servers[name][1]

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        control = self._server(self._options)
        ours, theirs = socket.socketpair()
        memory = resource.getrlimit(resource.RLIMIT_DATA)[0]
        asked = {"idx": self._idx, "key": self._key, "seed": seed, "memory": memory}
        with theirs:
            try:
                socket.send_fds(control, [json.dumps(asked).encode()], [theirs.fileno()])
            except OSError as error:
                raise EnvironmentLost(self._gone()) from error
        self._connection: socket.socket = ours
        self._lines: IO[bytes] = ours.makefile("rb")
        return self._open(prompt, self._read())

    def step(self, action: Action) -> Observation:
        calls = action.get("tool_calls", [])
        self._names |= {call["id"]: call["function"]["name"] for call in calls}
        turn = {"content": action["content"], "tool_calls": calls}
        try:
            self._connection.sendall(json.dumps(turn).encode() + b"\n")
        except OSError as error:
            raise EnvironmentLost(self._gone()) from error
        return self._show(self._read())

    def _open(self, prompt: Prompt, shown: Mapping[str, Any]) -> Observation:
        """Return what the first request shows after the prompt's own messages."""
        if "messages" not in shown:
            raise EnvironmentLost("the taskset ended the episode before the model's first turn")
        given = [(message["role"], message["content"]) for message in shown["messages"]]
        own = [(message["role"], message["content"]) for message in prompt.messages]
        if given[: len(own)] != own:
            raise ValueError(
                f"the task begins with {str(given)[:200]}, and the prompt with {str(own)[:200]}; "
                "take the prompts from a source of kind `verifiers`"
            )
        return self._show({**shown, "messages": shown["messages"][len(own) :]})

    def _show(self, shown: Mapping[str, Any]) -> Observation:
        if "messages" not in shown:
            return Observation((), True, shown["reward"], shown["state"])
        messages = tuple(self._message(message) for message in shown["messages"])
        tools = tuple(shown["tools"])
        new = () if tools == self._tools else tools
        self._tools = tools
        return Observation(messages, tools=new)

    def _message(self, shown: Mapping[str, Any]) -> Message:
        message = Message(role=shown["role"], content=shown["content"])
        if identity := shown.get("tool_call_id"):
            message["tool_call_id"] = identity
            message["name"] = self._names.get(identity, "")
        return message

    def _read(self) -> Mapping[str, Any]:
        """Return the next line. Raises EnvironmentLost where the episode failed or its process."""
        try:
            line = self._lines.readline(_LINE_BYTES)
            read = json.loads(line) if line else {"failure": self._gone()}
        except (OSError, ValueError, RecursionError) as error:
            raise EnvironmentLost(f"its process wrote what cannot be read: {error}") from None
        if "failure" in read:
            raise EnvironmentLost(read["failure"])
        found: Mapping[str, Any] = read
        return found

    def _gone(self) -> str:
        python = self._options["python"]
        return f"its process ended; try {python} -c 'import verifiers.v1'"
