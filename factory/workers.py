"""Work spread over processes of their own, each with one thread for its tables.

They are spawned, never forked: a parent with threads or an engine in it could hand down a lock that
nobody will ever release. They leave Ctrl-C to the parent and end when it does, however it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from factory.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    begin: Callable[..., None],
    *given: Any,
) -> Iterator[Result]:
    """The results of `work` on each item, as they come, from a process a core.

    Each process calls `begin(*given)` first. Raises what `work` raises, once the items under way
    are done with; RunError where a process dies.
    """
    pool = ProcessPoolExecutor(
        min(cores(), len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(begin, given),
    )
    try:
        with environment(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
            futures: list[Future[Result]] = [pool.submit(work, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a process that measured samples died, most likely for lack of memory; what it had "
            "saved stays. Free some memory and run the same command again, or give it fewer cores "
            "(taskset -c 0 factory …)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


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
