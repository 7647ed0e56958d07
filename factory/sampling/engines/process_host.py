"""Engine replicas as processes of this machine, each on its own accelerators or cores."""

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
from factory.sampling.engines.placement import place, visible_gpus
from factory.sampling.engines.replica import Answer, Replica, ReplicaDied
from factory.sampling.engines.replica_pool import Remote, Replicas

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

WAIT_SECONDS = 0.05
GRACE_SECONDS = 10.0


class ProcessHost:
    """This machine, cut into as many places as the recipe has replicas."""

    patience_s = float("inf")  # a large model loads for minutes; deaths are counted anyway

    def __init__(self, spec: EngineSpec, run: Path) -> None:
        engine = spec.engine
        cores, gpus = sorted(os.sched_getaffinity(0)), visible_gpus()
        self._shares = place(engine.replicas, engine.args, gpus, len(cores), "engine.replicas")
        # Without accelerators cores are what is shared out: two engines with threads on one core
        # wait for each other at every step.
        numbers = range(engine.replicas)
        self._cores = [[] if gpus else _share(cores, n, engine.replicas) for n in numbers]
        self._spec, self._run = spec, run

    def places(self) -> int:
        return len(self._shares)

    def start(self, number: int, seed: int) -> Remote:
        return _Process(self._spec, self._run, seed, self._shares[number], self._cores[number])

    def answered(self, asked: Sequence[Remote]) -> Sequence[Remote]:
        pipes = {remote.pipe: remote for remote in asked if isinstance(remote, _Process)}
        ready = wait(list(pipes), WAIT_SECONDS) if pipes else []
        return [remote for pipe, remote in pipes.items() if pipe in ready]

    def close(self) -> None:
        """Nothing is left once the processes have ended."""


class _Process:
    """A replica in a process and a session of its own, so that its children can be ended too."""

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
        # Not a daemon: those may have no children, and tensor parallelism is made of them.
        self._process = context.Process(target=_live, args=arguments, name="replica", daemon=False)
        with spawning():
            self._process.start()
        theirs.close()

    def ask(self, requests: list[Request], aborts: list[str]) -> None:
        try:
            self.pipe.send((requests, aborts))
        except OSError as error:
            raise ReplicaDied(self._last_words()) from error

    def answer(self) -> Answer:
        try:
            answer: Answer | FactoryError | str = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise ReplicaDied(self._last_words()) from error
        if isinstance(answer, FactoryError):
            raise answer
        if isinstance(answer, str):
            raise ReplicaDied(answer)
        return answer

    def end(self) -> None:
        self.pipe.close()  # it reads that as the end
        self._process.join(GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)  # what is left of its session
        self._process.kill()
        self._process.join()

    def _last_words(self) -> str:
        self._process.join(GRACE_SECONDS)
        return f"its process ended with status {self._process.exitcode}; see engine.log"


def _live(
    pipe: Connection,
    spec: EngineSpec,
    run: Path,
    seed: int,
    environment: Mapping[str, str],
    cores: Sequence[int],
) -> None:
    """Load, then answer turn after turn until the pipe ends, however that came about."""
    os.setsid()  # Ctrl-C is for the build, which decides when its replicas end
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
            # Whatever an engine dies of, the build counts it and starts another.
            pipe.send(f"{type(error).__name__}: {error}")


def _share(cores: Sequence[int], number: int, of: int) -> list[int]:
    """One of `of` parts of the cores; with more parts than cores, some are the same core."""
    size = max(1, len(cores) // of)
    first = number * size % len(cores)
    return list(cores[first : first + size])


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """The embedded engine of a recipe that asks for several replicas."""
    run.mkdir(parents=True, exist_ok=True)
    return Replicas(ProcessHost(spec, run), spec, run, start)
