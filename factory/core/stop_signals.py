"""Ctrl-C and SIGTERM as something to look at between two steps of work, for what ends in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts(*, first_only: bool = False) -> Iterator[list[int]]:
    """A list that fills with SIGINT and SIGTERM; with `first_only`, the second ends the process.

    Outside of the main thread, which alone can be interrupted, it stays empty.
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
