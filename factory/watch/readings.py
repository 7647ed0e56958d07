"""A run's numbers, read from the logs in its directory as they grow.

A build and an evaluation write `events.jsonl`, a training `log.jsonl`. The numbers of a build add
up over all its starts, and are placed by the seconds its engines have sampled; those of a training
by its step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.core.files import read_json

EVENTS, LOG = "events.jsonl", "log.jsonl"

APART_S = 10
"""Seconds of sampling between two readings of a build. It logs more often."""

TROUBLES = {
    "engine_died": "the engine died and is started again",
    "replica_died": "a replica died",
    "judge_failed": "judging failed",
    "journal_damaged": "a journal is damaged",
    "turns_damaged": "the log of unfinished episodes is damaged",
    "no_reasoning": "no sample has a think section",
    "unanswered": "samples got no answer",
}
"""Event → what it says to a person."""

_COUNTS = ("samples", "tokens", "accepted", "judged")


@dataclass(frozen=True)
class Reading:
    """Numbers of a run at one place: its step, or its seconds of sampling."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Trouble:
    """An event that a person should hear of."""

    event: str
    what: str


class LineTail:
    """The complete JSON lines that were added to a file since the last call.

    A file that was replaced or cut short is read from its beginning again.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._inode = path, 0, 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the new objects. A torn last line is left for the next call."""
        try:
            with open(self._path, "rb") as stream:
                status = self._path.stat()
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                stream.seek(self._offset)
                content = stream.read()
        except OSError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


@dataclass
class Readings:
    """The numbers of the run in `run`. `latest` has the newest ones, `workers` the last log entry
    about each endpoint or replica. Troubles from before `since` (Unix time) are left out."""

    run: Path
    latest: dict[str, float] = field(default_factory=dict)
    workers: list[Mapping[str, Any]] = field(default_factory=list)
    step: int = 0
    at: float = 0.0
    since: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self._events, self._log = LineTail(self.run / EVENTS), LineTail(self.run / LOG)
        self._base = dict.fromkeys((*_COUNTS, "seconds"), 0.0)
        self._now = dict(self._base)
        self._placed = -math.inf

    def poll(self) -> tuple[list[Reading], list[Trouble]]:
        """Return what was logged since the last call."""
        found: list[Reading] = []
        troubles: list[Trouble] = []
        for event in self._events.read():
            found += self._read_event(event, troubles)
        for line in self._log.read():
            found += self._read_step(line)
        return found, troubles

    def _read_event(self, event: Mapping[str, Any], troubles: list[Trouble]) -> Iterator[Reading]:
        name = event.get("event")
        at = _number(event.get("at")) or 0.0
        self.at = max(self.at, at)
        if isinstance(event.get("workers"), list):
            self.workers = [one for one in event["workers"] if isinstance(one, dict)]
        if name == "engine_started":
            self._base = {key: self._base[key] + self._now[key] for key in self._base}
            self._now = dict.fromkeys(self._base, 0.0)
        elif name in ("throughput", "engine_stopped"):
            before, self._now = (
                self._now,
                self._now
                | {
                    key: number
                    for key in self._now
                    if (number := _number(event.get(key))) is not None
                },
            )
            yield from self._measure(before, event, last=name == "engine_stopped")
        elif name in TROUBLES and at >= self.since:
            detail = str(event.get("why") or event.get("name") or "")[:500]
            troubles.append(Trouble(str(name), TROUBLES[str(name)] + (detail and f": {detail}")))

    def _measure(
        self, before: Mapping[str, float], event: Mapping[str, Any], last: bool
    ) -> Iterator[Reading]:
        totals = {key: self._base[key] + self._now[key] for key in self._base}
        self.step = int(totals["seconds"])
        metrics = {f"sampling/{key}": totals[key] for key in _COUNTS}
        passed = self._now["seconds"] - before["seconds"]
        if passed > 0 and not last:
            for key in ("samples", "tokens"):
                speed = (self._now[key] - before[key]) / passed
                metrics[f"sampling/{key}_per_second"] = speed
        if totals["judged"]:
            metrics["sampling/acceptance"] = totals["accepted"] / totals["judged"]
        if totals["accepted"]:
            metrics["sampling/tokens_per_accepted"] = totals["tokens"] / totals["accepted"]
        if (occupancy := _number(event.get("occupancy"))) is not None:
            metrics["sampling/occupancy"] = occupancy
        self.latest |= metrics
        if last or totals["seconds"] - self._placed >= APART_S:
            self._placed = totals["seconds"]
            yield Reading(self.step, metrics)

    def _read_step(self, line: Mapping[str, Any]) -> Iterator[Reading]:
        step = _number(line.get("step"))
        if step is None:
            return
        metrics = {
            key: number
            for key, value in line.items()
            if key != "step" and (number := _number(value)) is not None
        }
        self.step = int(step)
        self.latest |= metrics
        yield Reading(self.step, metrics)


def read_result(run: Path) -> dict[str, float]:
    """Return the numbers of a finished run: rows, what each reason dropped, an evaluation's."""
    found: dict[str, Any] = {}
    if funnel := read_json(run / "funnel.json"):
        for name in ("drawn", "kept", "rows"):
            count = funnel.get(name) or {}
            found[f"result/{name}"] = count.get("samples")
        for one in funnel.get("taken") or ():
            found[f"result/{one['decision']}/{one['reason']}"] = one["count"]["samples"]
    if evaluation := read_json(run / "eval.json"):
        for source, group in (evaluation.get("groups") or {}).items():
            for metric, estimate in (group.get("metrics") or {}).items():
                found[f"eval/{source}/{metric}"] = estimate.get("value")
    if training := read_json(run / "train.json"):
        found |= {f"result/{key}": value for key, value in (training.get("metrics") or {}).items()}
    return {key: number for key, value in found.items() if (number := _number(value)) is not None}


def _number(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
