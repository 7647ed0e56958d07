"""Spreads work over the CPUs of a Ray cluster: a few tasks ahead, lost ones again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from factory.cluster.connection import Cluster
from factory.core.errors import EngineError, FactoryError, RunError

Item = TypeVar("Item")

AHEAD = 2
"""Tasks per slot that are handed to Ray, so that no core waits and few items are in memory."""

ATTEMPTS = 3
"""Times that an item may be in a worker that dies, until the work stops."""

_RESIZE_S = 10.0  # between two counts of the CPUs: nodes may join
_WAIT_S = 1.0
_PATIENCE_S = 600.0  # without a CPU


class Lost(NamedTuple, Generic[Item]):
    """An item whose worker died. It is done again."""

    item: Item
    why: str


class Done(NamedTuple, Generic[Item]):
    """An item and its result."""

    item: Item
    result: Any


class TaskPool(Generic[Item]):
    """Runs one remote call per item. `submit(item)` starts it and returns Ray's reference."""

    def __init__(
        self,
        cluster: Cluster,
        cpus: int,
        submit: Callable[[Item], Any],
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_full` says that no more may be started before something has ended."""
        self._cluster, self._cpus, self._submit, self._is_full = cluster, cpus, submit, is_full
        self._slots, self._counted = 0, -_RESIZE_S
        self._seen = time.monotonic()
        self._running: dict[Any, Item] = {}
        self._deaths: Counter[Item] = Counter()

    def run(self, items: Iterable[Item]) -> Iterator[Done[Item] | Lost[Item]]:
        """Yield each item with its result, in any order, and a Lost for each death of a worker.

        Items are read when there is room for them. Raises the FactoryError of a task, RunError for
        an item whose workers keep dying, EngineError for a lost cluster.
        """
        waiting, again = iter(items), list[Item]()
        more = True
        while more or again or self._running:
            while (more or again) and self._has_room():
                item = again.pop() if again else next(waiting, None)
                if item is None:
                    more = False
                    break
                with self._cluster.calls():
                    self._running[self._submit(item)] = item
            for ended in self._wait():
                item = self._running.pop(ended)
                outcome = self._receive(ended, item)
                if isinstance(outcome, Lost):
                    again.append(item)
                yield outcome

    def _has_room(self) -> bool:
        if self._running and self._is_full():
            return False
        return len(self._running) < AHEAD * self._count_slots()

    def _wait(self) -> list[Any]:
        if not self._running:
            time.sleep(_WAIT_S if not self._slots else 0.0)
            return []
        with self._cluster.calls() as ray:
            ended, _ = ray.wait(list(self._running), num_returns=1, timeout=_WAIT_S)
        return list(ended)

    def _receive(self, ended: Any, item: Item) -> Done[Item] | Lost[Item]:
        from ray.exceptions import RayError, RayTaskError

        try:
            with self._cluster.calls() as ray:
                return Done(item, ray.get(ended))
        except RayTaskError as error:
            if isinstance(error.cause, FactoryError):
                raise error.cause from error
            raise
        except RayError as error:  # its worker or its node died, or memory ran out there
            self._deaths[item] += 1
            why = " ".join(str(error).split())[:500] or type(error).__name__
            if self._deaths[item] == ATTEMPTS:
                raise RunError(
                    f"{item}: {ATTEMPTS} workers of the Ray cluster died of it; the last one: "
                    f"{why}. What was judged is saved. Give the tasks more memory (fewer per "
                    "node, by judging.cpus), or set judging.on: here."
                ) from error
            return Lost(item, why)

    def _count_slots(self) -> int:
        """Return how many tasks fit on the cluster. Raises EngineError if none has for long."""
        now = time.monotonic()
        if now - self._counted >= _RESIZE_S or not self._slots:
            self._counted = now
            with self._cluster.calls() as ray:
                held = ray.cluster_resources().get("CPU", 0)
            self._slots = int(held // self._cpus)
            if self._slots:
                self._seen = now
            elif now - self._seen > _PATIENCE_S:
                raise EngineError(
                    f"the Ray cluster has {held:g} CPUs, and one task needs {self._cpus} "
                    "(judging.cpus). Add nodes and run the same command to go on."
                )
        return self._slots
