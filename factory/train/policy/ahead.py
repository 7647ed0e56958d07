"""Asynchronous rewards: a rollout is left while its rewards are computed, and taken up again.

TRL generates a rollout, rewards it and computes its advantages in one call. Here the first call
ends where the rewards are asked for. They are computed in a thread, while the policy is updated on
the rollout before. A second call is given what the first has generated, and goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any


class RewardsPending(Exception):
    """Ends a call that only generates: the rewards are on their way."""


class Rollout:
    """What generating a rollout gave, so that it is not done again, and the coming rewards."""

    def __init__(self, inputs: list[dict[str, Any]]) -> None:
        self.inputs = inputs
        self.scores: Future[Any] | None = None
        self._results: list[Any] = []
        self._place = 0

    def rewind(self) -> None:
        """Give the results again from the first."""
        self._place = 0

    def once(self, compute: Callable[[], Any]) -> Any:
        """Return the next result: computed the first time, remembered after a `rewind`."""
        if self._place == len(self._results):
            self._results.append(compute())
        self._place += 1
        return self._results[self._place - 1]


class Lookahead:
    """Reads micro batches ahead of the training, so that the next rollout's prompts are known."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead  # micro batches to know beyond those of a step
        self._queue: deque[Any] = deque()
        self._source: Iterator[Any] | None = None

    def read(self, source: Iterator[Any], wanted: int) -> Iterator[Any]:
        """Return an iterator over what is known of `source`; a new epoch's source starts afresh."""
        if source is not self._source:
            self._queue.clear()
            self._source = source
        while len(self._queue) < wanted + self.ahead:
            try:
                self._queue.append(next(source))
            except StopIteration:
                break
        return self._take()

    def peek(self, place: int) -> Any | None:
        """Return the micro batch at a place after those that were taken; None beyond the end."""
        return self._queue[place] if place < len(self._queue) else None

    def _take(self) -> Iterator[Any]:
        while self._queue:
            yield self._queue.popleft()
