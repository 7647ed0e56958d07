"""The host's side of environment processes: begin, act, and hear what came of it, without waiting.

    host.begin(episode, spec, prompt, seed)       # starts its process and resets it
    host.act(episode, action)                     # one step
    for reply in host.poll(wait=0.1): ...         # observations and failures, as they come
    host.end(episode)                             # its process is killed

Nothing here blocks on an environment. A step has a limit of CPU time, which does not depend on how
busy the machine is, and a generous one of wall time for what waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from factory.core.environment import Action, Observation, find_environment
from factory.core.nouns import Message, Prompt
from factory.core.plugins import PluginError
from factory.core.process_tree import supervised_command
from factory.environments.frames import FrameReader, encode_frame

START_S = 180.0
"""Wall time until an episode's process must be there. Imports take long on a crowded machine."""

_CHECK_S = 0.25
"""Seconds between two looks at the clocks of running steps."""

_PREFIX = "environments-"
"""Of the folder of a host, in which its environments keep their temporary files."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What one step, or the reset, may use."""

    cpu_s: float = 20.0
    wall_s: float = 120.0
    memory_mb: int = 4096


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a reset or a step: an observation, or why there is none."""

    episode: str
    observation: Observation | None
    failure: str | None = None
    replayable: bool = False  # said after a reset


@dataclass(slots=True)
class _Episode:
    reference: str
    begin: bytes
    options: dict[str, Any]
    connection: _Connection | None = None
    pid: int = 0
    waits_since: float | None = None  # for a reply; None: the episode waits for an action
    cpu_before: float = 0.0


@dataclass(slots=True)
class _Connection:
    stream: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    unsent: bytearray = field(default_factory=bytearray)
    episode: str | None = None
    reference: str | None = None


class EnvironmentHost:
    """All environment processes of a run. Safe to use from one thread."""

    def __init__(self, limits: StepLimits) -> None:
        self._limits = limits
        _remove_left_over()
        # What cannot be removed at the end is no reason to fail a build.
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        self._lock = _lock(Path(self._folder.name))
        self._address = str(Path(self._folder.name) / "host")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._address)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._controls: dict[str, _Connection] = {}
        self._waiting: dict[str, list[str]] = {}  # reference → episodes until its server is there
        self._failed: dict[str, str] = {}  # reference → why it can't be loaded
        self._episodes: dict[str, _Episode] = {}
        self._replies: list[Reply] = []
        self._checked = 0.0

    @property
    def busy(self) -> bool:
        """Whether any reply is awaited."""
        return bool(self._replies) or any(
            episode.waits_since is not None for episode in self._episodes.values()
        )

    def begin(self, name: str, spec: Mapping[str, Any], prompt: Prompt, seed: int) -> None:
        """Begin an episode in a new process. Its first observation is a reply."""
        try:
            reference, options = find_environment(spec)
            begin = encode_frame(
                {
                    "options": options,
                    "prompt": prompt.to_row(),
                    "seed": seed,
                    "memory_mb": self._limits.memory_mb,
                }
            )
        except (PluginError, ValueError) as error:
            self._replies.append(Reply(name, None, str(error)))
            return
        now = time.monotonic()
        self._episodes[name] = _Episode(reference, begin, options, waits_since=now)
        if reference in self._failed:
            self._fail(name, self._failed[reference])
        elif reference in self._controls:
            self._send(self._controls[reference], {"begin": name, "options": options})
        else:
            self._waiting.setdefault(reference, []).append(name)
            if reference not in self._servers:
                self._start_server(reference)

    def act(self, name: str, action: Action) -> None:
        """Take a step. What it shows is a reply."""
        episode = self._episodes[name]
        assert episode.connection is not None
        episode.waits_since = time.monotonic()
        episode.cpu_before = _cpu_seconds(episode.pid)
        try:
            self._send(episode.connection, action)
        except ValueError as error:
            self._fail(name, f"the action does not fit: {error}")

    def end(self, name: str) -> None:
        """End an episode and its process. Does nothing for one that has ended."""
        episode = self._episodes.pop(name, None)
        if episode is None:
            return
        if name in self._waiting.get(episode.reference, ()):
            self._waiting[episode.reference].remove(name)
        if episode.connection is not None:
            self._drop(episode.connection)
        if episode.reference in self._controls:
            self._send(self._controls[episode.reference], {"end": name})

    def poll(self, wait: float = 0.0) -> list[Reply]:
        """Return the replies that are there. Waits up to `wait` seconds for the first one."""
        deadline = time.monotonic() + wait
        while True:
            left = max(0.0, deadline - time.monotonic())
            for key, events in self._selector.select(0.0 if self._replies else min(left, _CHECK_S)):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.data, events)
            self._check_clocks()
            if self._replies or left <= 0:
                replies, self._replies = self._replies, []
                return replies

    def close(self) -> None:
        """End every process. May be called again."""
        for name in list(self._episodes):
            self.end(name)
        for connection in list(self._controls.values()):
            self._drop(connection)
        self._controls.clear()
        for process in self._servers.values():
            process.terminate()  # its supervisor kills all that it started
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._servers.clear()
        self._selector.close()
        self._listener.close()
        self._folder.cleanup()
        self._lock.close()

    def _start_server(self, reference: str) -> None:
        module = ["-m", "factory.environments.worker", self._address, reference]
        self._servers[reference] = subprocess.Popen(
            supervised_command([sys.executable, *module]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                stream, _ = self._listener.accept()
                stream.setblocking(False)
                self._selector.register(stream, selectors.EVENT_READ, _Connection(stream))

    def _serve(self, connection: _Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = connection.stream.recv(1 << 20)
            messages = connection.reader.feed(data) if data else None
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._hang_up(connection, str(error))
            return
        if messages is None:
            self._hang_up(connection, "its process ended")
            return
        for message in messages:
            self._hear(connection, message)

    def _hear(self, connection: _Connection, message: Mapping[str, Any]) -> None:
        if connection.reference is None and connection.episode is None:
            self._greet(connection, message)
        elif connection.reference is not None:
            self._failed[connection.reference] = str(message.get("failure"))
            self._fail_all(connection.reference, self._failed[connection.reference])
        elif connection.episode in self._episodes:
            self._answer(str(connection.episode), message)

    def _greet(self, connection: _Connection, message: Mapping[str, Any]) -> None:
        if "serves" in message:
            reference = connection.reference = str(message["serves"])
            self._controls[reference] = connection
            for name in self._waiting.pop(reference, ()):
                options = self._episodes[name].options
                self._send(connection, {"begin": name, "options": options})
            return
        name = str(message.get("plays"))
        episode = self._episodes.get(name)
        if episode is None or episode.connection is not None:  # it has ended meanwhile
            self._drop(connection)
            return
        connection.episode, episode.connection = name, connection
        credentials = connection.stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        episode.pid = int.from_bytes(credentials[:4], "little")
        episode.waits_since = time.monotonic()
        connection.unsent += episode.begin
        episode.begin = b""
        self._flush(connection)

    def _answer(self, name: str, message: Mapping[str, Any]) -> None:
        if "failure" in message:
            self._fail(name, str(message["failure"]))
            return
        episode, seen = self._episodes[name], message["observation"]
        if episode.waits_since is None:
            self._fail(name, "it answered without being asked")
            return
        episode.waits_since = None
        observation = Observation(
            tuple(cast(Message, fields) for fields in seen["messages"]),
            seen["done"],
            seen["reward"],
            json.loads(seen["state"] or "{}"),
            tuple(seen["tools"]),
        )
        replayable = message.get("replayable", False)
        self._replies.append(Reply(name, observation, None, replayable))

    def _send(self, connection: _Connection, message: Any) -> None:
        connection.unsent += encode_frame(message)
        self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            while connection.unsent:
                del connection.unsent[: connection.stream.send(connection.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            connection.unsent.clear()  # it has hung up, which reading will show
        events = selectors.EVENT_READ
        if connection.unsent:
            events |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError, ValueError):  # it is closed
            self._selector.modify(connection.stream, events, connection)

    def _hang_up(self, connection: _Connection, why: str) -> None:
        self._drop(connection)
        if connection.reference is not None:
            self._controls.pop(connection.reference, None)
            server = self._servers.pop(connection.reference, None)  # the next episode starts others
            if server is not None:
                server.terminate()
                server.wait()
            self._fail_all(connection.reference, "its processes were killed")
        elif connection.episode in self._episodes:
            self._fail(str(connection.episode), why)

    def _drop(self, connection: _Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it is closed
            self._selector.unregister(connection.stream)
        connection.stream.close()

    def _fail_all(self, reference: str, why: str) -> None:
        for name in [n for n, e in self._episodes.items() if e.reference == reference]:
            self._fail(name, why)
        self._waiting.pop(reference, None)

    def _fail(self, name: str, why: str) -> None:
        self._replies.append(Reply(name, None, why))
        self.end(name)

    def _check_clocks(self) -> None:
        """Fail the episodes whose step is over a limit."""
        now = time.monotonic()
        if now - self._checked < _CHECK_S:
            return
        self._checked = now
        for reference, server in list(self._servers.items()):
            if reference not in self._controls and server.poll() is not None:
                del self._servers[reference]
                self._fail_all(reference, f"its process ended with status {server.returncode}")
        for name, episode in list(self._episodes.items()):
            if episode.waits_since is None:
                continue
            waited = now - episode.waits_since
            if episode.connection is None:
                if waited > START_S:
                    self._fail(name, f"its process did not start in {START_S:.0f} s")
            elif waited > self._limits.wall_s:
                self._fail(name, f"it did not answer in {self._limits.wall_s:g} s")
            elif waited > self._limits.cpu_s:
                used = _cpu_seconds(episode.pid) - episode.cpu_before
                if used > self._limits.cpu_s:
                    self._fail(name, f"it used more than {self._limits.cpu_s:g} s of CPU time")


def play(
    host: EnvironmentHost,
    name: str,
    spec: Mapping[str, Any],
    prompt: Prompt,
    seed: int,
    actions: Sequence[Action],
) -> list[Reply]:
    """Play an episode with given actions and wait for each reply, up to the first failure."""
    host.begin(name, spec, prompt, seed)
    replies = _await_reply(host)
    for action in actions:
        if replies[-1].observation is None:
            break
        host.act(name, action)
        replies += _await_reply(host)
    host.end(name)
    return replies


def _lock(folder: Path) -> IO[bytes]:
    """Lock a file in a folder for as long as this process lives. It never exists without lock."""
    made = (folder / "lock.new").open("wb")
    fcntl.flock(made, fcntl.LOCK_EX)
    (folder / "lock.new").rename(folder / "lock")
    return made


def _remove_left_over() -> None:
    """Remove the folders of this user's hosts that were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock.open("rb") as opened:
            if lock.parent.lstat().st_uid == os.getuid():
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its host lives
                shutil.rmtree(lock.parent)


def _await_reply(host: EnvironmentHost) -> list[Reply]:
    while not (replies := host.poll(1.0)):
        pass
    return replies


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS
