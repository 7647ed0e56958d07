"""Several teachers behind one engine: each request goes to the engine of its level."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.nouns import Failure, Sample
from factory.sampling.engine import Engine, Request, Worker, open_engine

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec
    from factory.recipe.engines.options import Engine as EngineOptions

BATCH_EVERY_S = 5.0
"""Seconds between two looks at an engine of batches while another engine has work: a look may wait,
and batches take hours."""


class TeacherEngine:
    """The engines of all teachers. Raises EngineError as soon as one of them is lost."""

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        self._names = [teacher.name for teacher in spec.sampling.teachers]
        self._options: list[EngineOptions] = []
        self._engines: list[Engine] = []
        self._homes: dict[str, int] = {}  # sample id → its teacher, while it is in an engine
        self._open = Counter[int]()
        self._looked_at = 0.0
        try:
            for number in range(len(self._names)):
                own = spec.for_teacher(number)
                self._options.append(own.engine)
                self._engines.append(open_engine(own, run, start))
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        return sum(engine.capacity for engine in self._engines)

    def submit(self, request: Request) -> None:
        self._homes[request.sample_id] = request.level
        self._open[request.level] += 1
        self._engines[request.level].submit(replace(request, level=0))

    def completed(self) -> Iterator[Sample | Failure]:
        for number, engine in enumerate(self._engines):
            if not self._is_due(number):
                continue
            for outcome in engine.completed():
                del self._homes[outcome.sample_id]
                self._open[number] -= 1
                yield outcome

    def abort(self, sample_ids: Iterable[str]) -> None:
        by_home = defaultdict[int, list[str]](list)
        for name in sample_ids:
            if name in self._homes:
                by_home[self._homes[name]].append(name)
        for number, names in by_home.items():
            self._engines[number].abort(names)

    def workers(self) -> list[Worker]:
        """Return the workers of all engines, with the name of their teacher."""
        return [
            replace(worker, name=f"{name} {worker.name}")
            for name, engine in zip(self._names, self._engines, strict=True)
            for worker in engine.workers()
        ]

    def close(self) -> None:
        with ExitStack() as ending:  # closes all, even if one raises
            for engine in self._engines:
                ending.callback(engine.close)

    def _is_due(self, number: int) -> bool:
        """Whether to ask an engine for what has finished."""
        if not self._open[number]:
            return False
        options = self._options[number]
        if options.kind != "batch" or self._open[number] == self._open.total():
            return True
        if not (options.batch.wait and options.server and options.server.urls):
            return False  # it ends the build where it would wait: the others finish first
        if time.monotonic() - self._looked_at < BATCH_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        return True
