"""Spreads work over worker processes, with one Polars thread each.

Workers are spawned, never forked: a fork of a parent with threads or an engine may inherit a lock
that is never released. Workers ignore Ctrl-C and end with their parent, even if that is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from factory.core.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items queued per core, so that no core waits and few items are in memory."""


_share: int | None = None


def cores() -> int:
    """Return the number of cores this process may use."""
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, _share) if _share is not None else allowed


def share_cores(count: int) -> None:
    """Let this process use `count` cores: others on this machine have the rest."""
    global _share
    _share = count


def spread(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    initialize: Callable[..., None],
    *given: Any,
) -> Iterator[Result]:
    """Yield the results of `work` for each item, in order, from one process per core.

    Each process calls `initialize(*given)` first. Items are read when needed, two per core ahead.
    Raises what `work` raises, after the items in progress; RunError if a process dies.
    """
    pool = ProcessPoolExecutor(
        cores(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(initialize, given),
    )
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            with spawning(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
                pending.append(pool.submit(work, item))  # starts a process if all are busy
            if len(pending) > AHEAD * cores():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process died, most likely because memory ran out; what it had saved is kept. "
            "Free some memory and run the same command again, or give it fewer cores "
            "(taskset -c 0 factory …)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_spawning = threading.RLock()


@contextlib.contextmanager
def spawning(**variables: str) -> Iterator[None]:
    """Spawn processes in this context without importing the main script, with these variables.

    multiprocessing imports the parent's main file in a spawned process, which runs a user's script
    again if it has no `if __name__ == "__main__"`. No process spawned here needs that file, so its
    names are hidden while a process starts.
    """
    main = sys.modules["__main__"]
    with _spawning, environment(**variables):
        names: dict[str, Any] = vars(main)
        hidden: dict[str, Any] = {
            name: names.pop(name) for name in ("__file__", "__spec__") if name in names
        }
        names["__spec__"] = None
        try:
            yield
        finally:
            names.update(hidden)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables inside the context, for the processes started there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _start_worker(initialize: Callable[..., None], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers hold both ends of the pool's pipes, so they don't notice their parent's death.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initialize(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
