"""Restarts an engine that dies, and isolates the request that kills it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from factory.core.errors import EngineError
from factory.core.nouns import Failure, Sample
from factory.core.run_dir import log_event
from factory.sampling.engine import Engine, Request, Worker


class EngineDied(Exception):
    """Raised by an engine that can't continue. The Supervisor retries its requests."""


class Supervisor:
    """An engine that replaces its inner engine whenever that dies.

    The requests in flight at a death are suspects. Suspects run in groups. A group that kills the
    engine is halved, and a request that kills it alone becomes a Failure. So a poison prompt costs
    a few restarts but not the run. More than `max_restarts` such requests in a row, without a
    finished sample between them, mean that the engine itself is broken: EngineError.
    """

    def __init__(self, make: Callable[[int], Engine], max_restarts: int, run: Path) -> None:
        self._make, self._max_restarts, self._run = make, max_restarts, run
        self._restarts = 0
        self._fruitless = 0  # deaths of a lone request, or of none, since the last sample
        self._in_flight: dict[str, Request] = {}
        self._groups: list[list[Request]] = []  # groups of suspects to try, a stack
        self._waiting: deque[Request] = deque()  # submitted while suspects were tried
        self._unwanted: set[str] = set()  # aborted, and not ended yet
        self._engine = make(0)
        self.capacity = self._engine.capacity

    def submit(self, request: Request) -> None:
        if self._groups:
            self._waiting.append(request)
        else:
            self._send(request)

    def completed(self) -> Iterator[Sample | Failure]:
        try:
            for outcome in self._engine.completed():
                self._in_flight.pop(outcome.sample_id, None)
                self._unwanted.discard(outcome.sample_id)
                self._fruitless = 0
                yield outcome
        except EngineDied as death:
            yield from self._restart(death)
        if not self._in_flight:
            self._next_group()

    def abort(self, sample_ids: Iterable[str]) -> None:
        names = set(sample_ids)
        self._engine.abort(names)
        self._unwanted |= names  # waiting or lost ones are aborted when they are sent

    def workers(self) -> list[Worker]:
        return self._engine.workers()

    def close(self) -> None:
        self._engine.close()

    def _send(self, request: Request) -> None:
        self._in_flight[request.sample_id] = request
        self._engine.submit(request)
        if request.sample_id in self._unwanted:
            self._engine.abort([request.sample_id])

    def _restart(self, death: EngineDied) -> Iterator[Failure]:
        suspects = list(self._in_flight.values())
        self._in_flight.clear()
        log_event(self._run, "engine_died", why=str(death), held=len(suspects))
        self._fruitless += len(suspects) <= 1
        if self._fruitless > self._max_restarts:
            raise EngineError(
                f"the engine died of {self._fruitless} single requests in a row, so the engine "
                f"itself is broken. Last error: {death}. All samples so far are saved. Run the "
                "same command to continue."
            ) from death
        if len(suspects) == 1:
            (poison,) = suspects
            detail = f"this prompt alone made the engine die: {death}"
            yield Failure(poison.prompt.id, poison.index, "engine", detail, retryable=False)
        else:
            half = len(suspects) // 2
            self._groups += [group for group in (suspects[half:], suspects[:half]) if group]
        self._restarts += 1
        self._engine.close()
        self._engine = self._make(self._restarts)

    def _next_group(self) -> None:
        if self._groups:
            for request in self._groups.pop():
                self._send(request)
        elif self._waiting:
            for request in self._waiting:
                self._send(request)
            self._waiting.clear()
