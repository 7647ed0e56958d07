"""What the app keeps of a run between requests: the newest snapshot, and what is made of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from factory.judging.reviews import Reviews
from factory.report.numbers import gather
from factory.report.snapshot import Snapshot, signature, take_snapshot
from factory.view.thresholds import Thresholds

FRESH_SECONDS = 2.0


class Desk:
    """One run under inspection. Safe to use from many threads."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._making = threading.Lock()  # of what takes seconds at a million samples: pages go on
        self._signature = signature(run) if run.is_dir() else ()
        self._snapshot = take_snapshot(run)
        self._taken, self._cost = time.monotonic(), 0.0
        self._facts: tuple[Snapshot, dict[str, Any]] | None = None
        self._thresholds: tuple[Snapshot, Thresholds] | None = None
        self._reviews: Reviews | None = None

    def snapshot(self) -> Snapshot:
        """The run as it is now, or was a moment ago. Unchanged parts are not read again, and a run
        that takes long to read and to count is read less often, so that looking never slows a
        build much."""
        with self._lock:
            began = time.monotonic()
            if began - self._taken > max(FRESH_SECONDS, 5 * self._cost):
                now = signature(self.run)
                if now != self._signature:
                    self._snapshot = take_snapshot(self.run, self._snapshot)
                    self._signature = now
                self._taken = time.monotonic()
                self._cost = self._taken - began
            return self._snapshot

    def expire(self) -> None:
        """What was read is out of date, whenever that was: the next to ask has it read again."""
        with self._lock:
            self._taken = float("-inf")

    def facts(self) -> dict[str, Any]:
        """The numbers of the report."""
        with self._making:
            snapshot = self.snapshot()
            if self._facts is None or self._facts[0] is not snapshot:
                began = time.monotonic()
                self._facts = (snapshot, gather(snapshot))
                self._cost += time.monotonic() - began
            return self._facts[1]

    def thresholds(self) -> Thresholds:
        with self._making:
            snapshot = self.snapshot()
            if self._thresholds is None or self._thresholds[0] is not snapshot:
                self._thresholds = (snapshot, Thresholds(snapshot))
            return self._thresholds[1]

    def reviews(self) -> Reviews:
        """Opened on first use: looking at a run leaves no file in it."""
        with self._lock:
            if self._reviews is None:
                self._reviews = Reviews(self.run)
            return self._reviews
