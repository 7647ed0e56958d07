"""Rewards whose verdicts other processes give: a training's queue and ledger.

A completion is known by its prompt and its text. So the same answer is judged once in a training,
however often it is sampled, and a training that resumes finds the verdicts that were given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from factory.core.errors import TrainError
from factory.judging.late import append_to_queue, list_pending
from factory.judging.ledger import QUEUE, LedgerReader, own_file

_LOOK_S = 0.2


class LateRewards:
    """Waits for the verdicts of a training's completions. May be called from any one thread."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._ledger = LedgerReader(run)
        self._asked: set[tuple[str, str, str]] = set()
        self._closed = threading.Event()

    def __call__(
        self, rows: pl.DataFrame, metrics: pl.DataFrame, wait_s: float
    ) -> Mapping[str, str]:
        """Return the states of pending rows that come within `wait_s` seconds, by sample id.

        Raises TrainError where not one of them comes: then nobody judges.
        """
        waiting = {
            name: one._replace(sample_id=f"{one.prompt_id}-{one.input}")
            for name, one in list_pending(rows, metrics).items()
        }
        self._ledger.refresh()
        known = self._ledger.verdicts
        new = {
            one[:3]: one
            for one in waiting.values()
            if one[:3] not in known and one[:3] not in self._asked
        }
        append_to_queue(self._run, new.values())
        self._asked |= new.keys()
        end = time.monotonic() + wait_s
        while any(one[:3] not in known for one in waiting.values()):
            if self._closed.wait(_LOOK_S) or time.monotonic() > end:
                break
            self._ledger.refresh()
        found = {name: known[one[:3]].state for name, one in waiting.items() if one[:3] in known}
        if waiting and not found and not self._closed.is_set():
            raise TrainError(
                f"none of {len(waiting):,} verdicts came within {wait_s:g} s: start `factory judge "
                f"{self._run} --watch`, on this or other machines, and the same training again; it "
                "resumes"
            )
        return found

    def close(self) -> None:
        """End any waiting, and forget what was left to be judged: the training is over."""
        self._closed.set()
        own_file(self._run / QUEUE).unlink(missing_ok=True)
