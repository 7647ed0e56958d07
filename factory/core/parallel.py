"""Work spread over processes of their own, each with one thread for its tables.

They are spawned, never forked: a parent with threads or an engine in it could hand down a lock that
nobody will ever release. They leave Ctrl-C to the parent and end when it does, however it ends.
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
"""Items a core is given before it asks: it never waits, and few are held."""


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def spread(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    begin: Callable[..., None],
    *given: Any,
) -> Iterator[Result]:
    """The results of `work` on each item, in order, from a process a core.

    Each process calls `begin(*given)` first. Items are taken as they are needed, two a core ahead.
    Raises what `work` raises, once the items under way are done with; RunError where a process
    dies.
    """
    pool = ProcessPoolExecutor(
        cores(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(begin, given),
    )
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            with spawning(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
                under_way.append(pool.submit(work, item))  # starts a process where all are busy
            if len(under_way) > AHEAD * cores():
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a process that measured samples died, most likely for lack of memory; what it had "
            "saved stays. Free some memory and run the same command again, or give it fewer cores "
            "(taskset -c 0 factory …)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_spawning = threading.RLock()


@contextlib.contextmanager
def spawning(**variables: str) -> Iterator[None]:
    """Processes spawned inside leave the main script alone, and have these environment variables.

    multiprocessing makes a spawned process import the file that its parent was started with, which
    runs a user's script again where it has no `if __name__ == "__main__"`. Nothing that is spawned
    here needs that file: the names it goes by are hidden while a process starts.
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
    """Variables for the processes that are started inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(begin: Callable[..., None], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool's processes hold both ends of its pipes, so a parent's death alone would not end them.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
