"""Collects Ctrl-C and SIGTERM, so that a loop can stop in an orderly way between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def collect_signals(*, first_only: bool = False) -> Iterator[list[int]]:
    """Yield a list that collects SIGINT and SIGTERM. `first_only`: the second is not caught.

    In other threads than the main thread, which alone gets signals, the list stays empty.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if first_only:
            signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
