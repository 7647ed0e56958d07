"""Killable workers: a deadline that holds whatever the work does.

Alarms work in a main thread only and cannot stop C code; threads cannot be killed. So the work
runs in processes forked by a small exec'ed one (see `worker`), memory-capped, ended by SIGKILL at
the deadline, recycled, and tied to the life of this process. Nothing is started before it is
needed, and the caller needs no thread.

A deadline counts the CPU time of the worker, so that a busy machine gives the same outcomes; the
wall clock is only a backstop, for work that waits instead.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from factory.core.parallel import cores
from filters.verify import worker

START_S = 120.0
"""Importing a task's libraries takes seconds on a busy machine; only a hang takes longer."""

BACKSTOP_S = 60.0
"""Wall-clock seconds after which a worker is ended, however little it has computed."""

POLL_S = 0.02
"""The least time between two looks at a worker's CPU clock."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one payload: the task's value, or the way it failed."""

    value: Any = None
    failure: Literal["timeout", "error"] | None = None
    detail: str | None = None
    ms: float = 0.0


@dataclass(slots=True)
class _Job:
    index: int
    payload: Any
    attempt: int = 0
    spent_s: float = 0.0


@dataclass(eq=False, slots=True)
class _Worker:
    pid: int
    channel: socket.socket
    served: int = 0
    job: _Job | None = None
    started: float = 0.0
    limit: float | None = None
    spent: float = 0.0  # its CPU seconds when the job started
    buffer: bytearray = field(default_factory=bytearray)


class Pool:
    """Runs `task` ("module:function", JSON in, JSON out) on payloads in killable processes.

    `attempts` holds the CPU seconds allowed to each try; the tries after the first get a fresh
    worker, so that a failure says something about the payload. None means no limit, of wall-clock
    time (`backstop_s`) neither.
    """

    def __init__(
        self,
        task: str,
        *,
        workers: int | None = None,
        attempts: Sequence[float | None] = (0.4, 1.6),
        memory_mb: int = 2048,
        recycle: int = 1000,
        backstop_s: float = BACKSTOP_S,
    ) -> None:
        self.task = task
        self.backstop_s = backstop_s
        self.size = workers or cores()
        self.attempts = tuple(attempts)
        self.memory_mb = memory_mb
        self.recycle = recycle
        self._owner = os.getpid()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._idle: list[_Worker] = []
        _OPEN.add(self)

    def outcomes(self, payloads: Iterable[Any]) -> Generator[Outcome, None, None]:
        """Outcomes in the payloads' order, as they come; a bounded number is read ahead."""
        self._disown_after_fork()
        jobs = (_Job(index, payload) for index, payload in enumerate(payloads))
        queue: deque[_Job] = deque()
        done: dict[int, Outcome] = {}
        running: set[_Worker] = set()
        following, exhausted = 0, False
        try:
            with selectors.DefaultSelector() as selector:
                while True:
                    while not exhausted and len(queue) + len(running) + len(done) < 4 * self.size:
                        job = next(jobs, None)
                        exhausted = job is None
                        if job is not None:
                            queue.append(job)
                    while queue and len(running) < self.size:
                        job = queue.popleft()
                        started = self._start(job)
                        if isinstance(started, _Worker):
                            running.add(started)
                            selector.register(started.channel, selectors.EVENT_READ, started)
                        else:
                            self._settle(job, started, queue, done)
                    if running:
                        for busy, outcome in self._wait(selector, running):
                            selector.unregister(busy.channel)
                            running.discard(busy)
                            assert busy.job is not None
                            job, busy.job = busy.job, None
                            if outcome.failure or busy.served >= self.recycle:
                                self._kill(busy)
                            else:
                                self._idle.append(busy)
                            self._settle(job, outcome, queue, done)
                    while following in done:
                        yield done.pop(following)
                        following += 1
                    if exhausted and not queue and not running:
                        return
        finally:
            for busy in running:
                self._kill(busy)

    def run(self, payloads: Sequence[Any]) -> list[Outcome]:
        """The outcomes of all payloads; starts no process for none."""
        return list(self.outcomes(payloads)) if payloads else []

    def close(self) -> None:
        """End every process of this pool. It starts again when it is used."""
        if self._owner == os.getpid() and self._zygote is not None:
            assert self._control is not None
            self._control.close()
            try:
                self._zygote.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._zygote.kill()
                self._zygote.wait()
        self._forget()

    def _forget(self) -> None:
        for idle in self._idle:
            idle.channel.close()
        if self._control is not None:
            self._control.close()
        self._idle, self._control, self._zygote = [], None, None

    def _disown_after_fork(self) -> None:
        """A forked copy of this process shares the sockets; it must not speak on them."""
        if self._owner != os.getpid():
            self._forget()
            self._owner = os.getpid()

    def _boot(self) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        # The caller's import path, so that a task outside this package can be named; no secrets.
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, sys.path)])
        with theirs:
            self._zygote = subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", "-m", worker.__name__),
                    *(self.task, str(theirs.fileno()), str(self.memory_mb)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        self._control = ours
        ours.settimeout(START_S)
        ready, problem = worker.receive(ours)
        if not ready or problem is not None:
            self.close()
            raise OSError(f"the verifier's process could not start: {problem or 'it ended'}")

    def _spawn(self) -> _Worker:
        if self._control is None:
            self._boot()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [worker.FORK], [theirs.fileno()])
        reply = self._control.recv(4)
        if len(reply) < 4:
            ours.close()
            raise ConnectionError("the forking process ended")
        return _Worker(struct.unpack("!i", reply)[0], ours)

    def _start(self, job: _Job) -> _Worker | Outcome:
        """Hand a job to a worker, a fresh one if it failed before."""
        if self._idle and job.attempt:
            self._kill(self._idle.pop())
        try:
            chosen = self._idle.pop() if self._idle and not job.attempt else self._spawn()
        except OSError as error:
            self._forget()  # the forking process is gone; the next start boots another
            return Outcome(failure="error", detail=str(error))
        limit = self.attempts[job.attempt]
        chosen.job, chosen.started = job, time.monotonic()
        chosen.limit, chosen.spent = limit, _cpu_seconds(chosen.pid) or 0.0
        chosen.served += 1
        chosen.channel.settimeout(None if limit is None else self.backstop_s)
        with contextlib.suppress(OSError):  # it died while idle: reading finds the end of file
            chosen.channel.sendall(worker.frame(job.payload))
        return chosen

    def _wait(
        self, selector: selectors.BaseSelector, running: set[_Worker]
    ) -> list[tuple[_Worker, Outcome]]:
        """Those that have finished, failed or run out of time by the next event."""
        remaining = [self._remaining(busy) for busy in running if busy.limit is not None]
        timeout = max(POLL_S, min(remaining)) if remaining else None
        ended: list[tuple[_Worker, Outcome]] = []
        for key, _ in selector.select(timeout):
            outcome = _read(key.data)
            if outcome is not None:
                ended.append((key.data, outcome))
        finished = {busy for busy, _ in ended}
        for busy in running - finished:
            if busy.limit is not None and self._remaining(busy) <= 0:
                ms = (time.monotonic() - busy.started) * 1000
                ended.append((busy, Outcome(None, "timeout", "killed at the deadline", ms)))
        return ended

    def _remaining(self, busy: _Worker) -> float:
        """Seconds until a worker can have used up its limit at the earliest; 0 when it has."""
        assert busy.limit is not None
        wall = time.monotonic() - busy.started
        cpu = _cpu_seconds(busy.pid)
        used = wall if cpu is None else cpu - busy.spent
        return min(busy.limit - used, self.backstop_s - wall)

    def _settle(
        self, job: _Job, outcome: Outcome, queue: deque[_Job], done: dict[int, Outcome]
    ) -> None:
        """Keep an outcome, or queue the job again if a failure has a try left."""
        job.spent_s += outcome.ms / 1000
        if outcome.failure and job.attempt + 1 < len(self.attempts):
            job.attempt += 1
            queue.appendleft(job)
        else:
            ms = job.spent_s * 1000
            done[job.index] = Outcome(outcome.value, outcome.failure, outcome.detail, ms)

    def _kill(self, ended: _Worker) -> None:
        ended.channel.close()
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.sendall(worker.KILL + struct.pack("!i", ended.pid))


def _cpu_seconds(pid: int) -> float | None:
    """The CPU time a process has used; None where this system has no clock for it, or it is gone.

    The clock's number is how Linux encodes a process id in one (clock_getcpuclockid).
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except (OSError, OverflowError, ValueError):
        return None


def _read(busy: _Worker) -> Outcome | None:
    """What has arrived from a worker; None while its reply is incomplete."""
    try:
        chunk = busy.channel.recv(1 << 20)
        busy.buffer += chunk
        whole, reply = worker.unframe(busy.buffer)
    except (OSError, ValueError) as error:
        return Outcome(failure="error", detail=f"a broken reply: {error}")
    if not whole:
        return None if chunk else Outcome(failure="error", detail="the worker died")
    busy.buffer.clear()
    ms = (time.monotonic() - busy.started) * 1000
    if "error" in reply:
        return Outcome(failure="error", detail=reply["error"], ms=ms)
    return Outcome(reply["value"], ms=ms)


_OPEN: weakref.WeakSet[Pool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_OPEN):
        pool.close()
