"""Runs engine replicas as local processes, each on its own accelerators or cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import FactoryError
from factory.core.parallel import spawning
from factory.sampling.engine import Engine, Request
from factory.sampling.engines.placement import assign_devices, visible_gpus
from factory.sampling.engines.replica import Answer, Replica, ReplicaDied
from factory.sampling.engines.replica_pool import Remote, ReplicaPool

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

WAIT_SECONDS = 0.05
GRACE_SECONDS = 10.0


class ProcessHost:
    """This machine, divided into one slot per replica of the recipe."""

    retry_timeout_s = float("inf")  # large models load for minutes; deaths have their own limit

    def __init__(self, spec: EngineSpec, run: Path) -> None:
        engine = spec.engine
        cores, gpus = sorted(os.sched_getaffinity(0)), visible_gpus()
        self._shares = assign_devices(
            engine.replicas, engine.args, gpus, len(cores), "engine.replicas"
        )
        # Without accelerators each engine gets its own cores: engines that share a core wait for
        # each other at every step.
        numbers = range(engine.replicas)
        self._cores = [[] if gpus else _slice_cores(cores, n, engine.replicas) for n in numbers]
        self._spec, self._run = spec, run

    def slots(self) -> int:
        return len(self._shares)

    def start(self, number: int, seed: int) -> Remote:
        return _Process(self._spec, self._run, seed, self._shares[number], self._cores[number])

    def poll(self, busy: Sequence[Remote]) -> Sequence[Remote]:
        pipes = {remote.pipe: remote for remote in busy if isinstance(remote, _Process)}
        ready = wait(list(pipes), WAIT_SECONDS) if pipes else []
        return [remote for pipe, remote in pipes.items() if pipe in ready]

    def close(self) -> None:
        """Nothing to do: every process has ended."""


class _Process:
    """A replica in its own process and session, so that its children can be killed with it."""

    def __init__(
        self,
        spec: EngineSpec,
        run: Path,
        seed: int,
        environment: Mapping[str, str],
        cores: Sequence[int],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, spec, run, seed, environment, cores)
        # Not a daemon: daemons can not have children, which tensor parallelism needs.
        self._process = context.Process(
            target=_serve_turns, args=arguments, name="replica", daemon=False
        )
        with spawning():
            self._process.start()
        theirs.close()

    def send(self, requests: list[Request], aborts: list[str]) -> None:
        try:
            self.pipe.send((requests, aborts))
        except OSError as error:
            raise ReplicaDied(self._describe_exit()) from error

    def receive(self) -> Answer:
        try:
            answer: Answer | FactoryError | str = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise ReplicaDied(self._describe_exit()) from error
        if isinstance(answer, FactoryError):
            raise answer
        if isinstance(answer, str):
            raise ReplicaDied(answer)
        return answer

    def end(self) -> None:
        self.pipe.close()  # tells the replica to end
        self._process.join(GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)  # the rest of its session
        self._process.kill()
        self._process.join()

    def _describe_exit(self) -> str:
        self._process.join(GRACE_SECONDS)
        return f"its process ended with status {self._process.exitcode}; see engine.log"


def _serve_turns(
    pipe: Connection,
    spec: EngineSpec,
    run: Path,
    seed: int,
    environment: Mapping[str, str],
    cores: Sequence[int],
) -> None:
    """Load the engine, then run turns until the pipe is closed. Runs in the replica's process."""
    os.setsid()  # Ctrl-C goes to the build only, which ends its replicas
    os.environ.update(environment)  # before torch, which reads it once
    if cores:
        os.sched_setaffinity(0, cores)
    with open(run / "engine.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            replica = Replica(spec, run, seed)
            pipe.send(replica.ready())
            while True:
                pipe.send(replica.turn(*pipe.recv()))
        except FactoryError as error:
            pipe.send(error)
        except (EOFError, OSError):
            raise
        except Exception as error:
            # Any error is a death of the replica: the build counts it and starts another.
            pipe.send(f"{type(error).__name__}: {error}")


def _slice_cores(cores: Sequence[int], number: int, of: int) -> list[int]:
    """Return part `number` of `of` parts of the cores. Parts share cores if there are too few."""
    size = max(1, len(cores) // of)
    first = number * size % len(cores)
    return list(cores[first : first + size])


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the embedded engine with several replicas."""
    run.mkdir(parents=True, exist_ok=True)
    return ReplicaPool(ProcessHost(spec, run), spec, run, start)
