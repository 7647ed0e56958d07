"""Several boxes, many jobs: an event loop of one thread."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from factory.core.parallel import cores
from filters.verify.sandbox.box import Box, SandboxFailure, available
from filters.verify.sandbox.library import PROGRAMS, Library
from filters.verify.sandbox.task import Outcome, Task

T = TypeVar("T")

Job = Generator[Task, Outcome, T]
"""A computation that has programs run: it yields a task and is sent the outcome."""

_ATTEMPTS = 2


class Boxes:
    """Up to `count` boxes, opened when first needed and kept warm between calls.

    May be used from any thread, one call at a time. A forked copy of the process opens boxes of
    its own.
    """

    def __init__(
        self, count: int | None = None, *, isolate: bool = True, library: Library = PROGRAMS
    ) -> None:
        self.count = count or cores()
        self._isolate = isolate
        self._library = library
        self._looked = False
        self._obstacle: str | None = None
        self._idle: list[Box] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def run(self, jobs: Iterable[Job[T]]) -> Iterator[tuple[int, T | SandboxFailure]]:
        """The result of each job with its place in `jobs`, as they finish.

        A task whose box fails is tried once more, in a fresh one; after that the failure is the
        job's result.
        """
        with self._lock:
            self._forget_parents_boxes()
            with _Round[T](self) as current:
                yield from current.results(iter(enumerate(jobs)))

    def take(self) -> Box:
        """An idle box that still lives (one dies with the thread that opened it), or a new one."""
        while self._idle:
            box = self._idle.pop()
            if box.alive:
                return box
            box.close()
        return Box(isolate=self._isolate, library=self._library)

    def give_back(self, box: Box) -> None:
        self._idle.append(box)

    def obstacle(self) -> str | None:
        """Why no program can be run here, or None. Looked at once."""
        if not self._looked:
            self._obstacle = available(self._library) if self._isolate else self._absent()
            self._looked = True
        return self._obstacle

    def _absent(self) -> str | None:
        missing = self._library.missing()
        return missing and f"{missing} is not installed"

    def close(self) -> None:
        """End every box."""
        with self._lock:
            self._forget_parents_boxes()
            while self._idle:
                self._idle.pop().close()

    def _forget_parents_boxes(self) -> None:
        if self._owner != os.getpid():
            for box in self._idle:
                box.abandon()
            self._idle, self._owner = [], os.getpid()


@dataclass
class _Running(Generic[T]):
    """A job and the task it waits for."""

    index: int
    job: Job[T]
    task: Task
    attempt: int = 1


class _Round(Generic[T]):
    """One call of `Boxes.run`: which box is busy with what."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._busy: dict[Box, _Running[T]] = {}
        self._ready = selectors.DefaultSelector()
        self._results: list[tuple[int, T | SandboxFailure]] = []

    def __enter__(self) -> _Round[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._ready.close()
        for box in self._busy:  # some are left if the caller stopped listening
            box.close()

    def results(
        self, waiting: Iterator[tuple[int, Job[T]]]
    ) -> Iterator[tuple[int, T | SandboxFailure]]:
        exhausted = False
        while True:
            while not exhausted and len(self._busy) < self._boxes.count:
                begun = next(waiting, None)
                if begun is None:
                    exhausted = True
                else:
                    self._begin(*begun)
            yield from self._results
            self._results.clear()
            if self._busy:
                for box in self._answering():
                    self._hear(box)
            elif exhausted:
                return

    def _begin(self, index: int, job: Job[T]) -> None:
        try:
            running = _Running(index, job, next(job))
        except StopIteration as done:
            self._results.append((index, done.value))
        else:
            self._assign(running)

    def _assign(self, running: _Running[T]) -> None:
        try:
            box = self._boxes.take()
        except SandboxFailure as failure:
            self._results.append((running.index, failure))
            return
        self._busy[box] = running
        self._ready.register(box, selectors.EVENT_READ)
        try:
            box.start(running.task)
        except SandboxFailure as failure:
            self._replace(box, failure)

    def _answering(self) -> list[Box]:
        """The boxes that have an answer or have had their time."""
        left = min(box.deadline for box in self._busy) - time.monotonic()
        answered = {key.fileobj for key, _ in self._ready.select(max(0.0, left))}
        now = time.monotonic()
        return [box for box in self._busy if box in answered or box.deadline <= now]

    def _hear(self, box: Box) -> None:
        try:
            outcome = box.finish()
        except SandboxFailure as failure:
            self._replace(box, failure)
            return
        running = self._release(box)
        self._boxes.give_back(box)
        try:
            running.task = running.job.send(outcome)
        except StopIteration as done:
            self._results.append((running.index, done.value))
        else:
            running.attempt = 1
            self._assign(running)

    def _replace(self, box: Box, failure: SandboxFailure) -> None:
        running = self._release(box)
        box.close()
        if running.attempt < _ATTEMPTS:
            running.attempt += 1
            self._assign(running)
        else:
            running.job.close()
            self._results.append((running.index, failure))

    def _release(self, box: Box) -> _Running[T]:
        self._ready.unregister(box)
        return self._busy.pop(box)
