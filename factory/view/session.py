"""What the app caches between requests: the newest snapshot of a run and what is computed of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from factory.judging.reviews import Reviews
from factory.report.numbers import gather
from factory.report.snapshot import Snapshot, signature, take_snapshot
from factory.stores.fetch import refuse_copy
from factory.view.thresholds import Thresholds

FRESH_SECONDS = 2.0


class RunSession:
    """Cached access to one run. Thread-safe."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._lock = threading.Lock()
        # Held while computing what takes seconds at a million samples; other pages still answer.
        self._compute_lock = threading.Lock()
        self._signature = signature(run) if run.is_dir() else ()
        self._snapshot = take_snapshot(run)
        self._read_at, self._cost = time.monotonic(), 0.0
        self._facts: tuple[Snapshot, dict[str, Any]] | None = None
        self._thresholds: tuple[Snapshot, Thresholds] | None = None
        self._reviews: Reviews | None = None

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the run that is a few seconds old at most.

        Unchanged parts are not read again. A run that takes long to read is read less often, so
        that the app never slows a build down much.
        """
        with self._lock:
            began = time.monotonic()
            if began - self._read_at > max(FRESH_SECONDS, 5 * self._cost):
                now = signature(self.run)
                if now != self._signature:
                    self._snapshot = take_snapshot(self.run, self._snapshot)
                    self._signature = now
                self._read_at = time.monotonic()
                self._cost = self._read_at - began
            return self._snapshot

    def expire(self) -> None:
        """Make the next request read the run again."""
        with self._lock:
            self._read_at = float("-inf")

    def facts(self) -> dict[str, Any]:
        """Return the numbers of the report."""
        with self._compute_lock:
            snapshot = self.snapshot()
            if self._facts is None or self._facts[0] is not snapshot:
                began = time.monotonic()
                self._facts = (snapshot, gather(snapshot))
                self._cost += time.monotonic() - began
            return self._facts[1]

    def thresholds(self) -> Thresholds:
        with self._compute_lock:
            snapshot = self.snapshot()
            if self._thresholds is None or self._thresholds[0] is not snapshot:
                self._thresholds = (snapshot, Thresholds(snapshot))
            return self._thresholds[1]

    def reviews(self) -> Reviews:
        """Open the reviews on first use, so that only looking at a run writes no file.

        Raises RunError for a copy of a store.
        """
        with self._lock:
            if self._reviews is None:
                refuse_copy(self.run)
                self._reviews = Reviews(self.run)
            return self._reviews
