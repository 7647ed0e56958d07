"""Several engines as one: distributes requests, and requeues those of a replica that died.

A host runs the replicas: as local processes (factory.sampling.engines.process_host) or as actors of
a Ray cluster (factory.sampling.engines.ray_host). A replica runs one turn at a time: it receives
new requests, steps its engine, and returns what has finished. A replica that dies is replaced, with
a new seed, and its requests go back to the queue. A request that was held at two deaths runs alone
from then on. If its replica dies once more, the request becomes a Failure, and the run continues.
"""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from factory.core.errors import EngineError
from factory.core.nouns import Failure, Sample, fingerprint
from factory.core.run_dir import log_event
from factory.sampling.engine import Request, Worker
from factory.sampling.engines.replica import Answer, Ready, ReplicaDied

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec


RESIZE_SECONDS = 10.0
"""Seconds between two checks of the number of slots: nodes may join."""

INITIAL_BATCH = 64
"""Requests accepted per replica that is still loading."""

SUSPECT, POISON = 2, 3
"""Deaths at which a request was held. From SUSPECT on it runs alone; at POISON it fails."""


class Remote(Protocol):
    """A handle to a replica. After its start an answer is pending: `Ready`."""

    def send(self, requests: list[Request], aborts: list[str]) -> None:
        """Start a turn."""

    def receive(self) -> Answer:
        """Return the pending answer. Raises ReplicaDied, or the replica's FactoryError."""

    def end(self) -> None:
        """End the replica and everything it started."""


class Host(Protocol):
    """Where replicas run."""

    retry_timeout_s: float
    """Seconds without any loaded replica, after a death, until the run stops."""

    def slots(self) -> int:
        """Return the number of replicas there should be now."""

    def start(self, number: int, seed: int) -> Remote:
        """Start a replica in a free slot, given by its number. It loads in the background."""

    def poll(self, busy: Sequence[Remote]) -> Sequence[Remote]:
        """Return those of `busy` that have an answer or died. Waits briefly for the first."""

    def close(self) -> None:
        """Called once every replica has ended."""


@dataclass(slots=True)
class _Tally:
    """Totals of all replicas of a slot so far."""

    samples: int = 0
    tokens: int = 0
    deaths: int = 0
    host: str = ""  # of its last replica, if that is another machine
    began: float | None = None
    ended: float = 0.0

    def count(self, outcome: Sample | Failure) -> None:
        if isinstance(outcome, Sample):
            self.samples += 1
            self.tokens += outcome.n_tokens
        self.ended = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(self.ended - self.began, 3) if self.began and self.samples else 0.0


class _Slot:
    """A slot and its replica: the requests it holds, and whether an answer is pending."""

    def __init__(self, remote: Remote, tally: _Tally) -> None:
        self.remote, self.tally = remote, tally
        self.ready: Ready | None = None  # None: still loading
        self.busy = True
        self.held: dict[str, Request] = {}
        self.inbox: list[Request] = []
        self.aborts: list[str] = []

    def begin_turn(self) -> None:
        self.busy = True
        self.tally.began = self.tally.began or time.monotonic()
        inbox, self.inbox = self.inbox, []
        aborts, self.aborts = self.aborts, []
        self.remote.send(inbox, aborts)


class ReplicaPool:
    """All replicas of a host as one engine."""

    def __init__(self, host: Host, spec: EngineSpec, run: Path, start: int) -> None:
        self._host, self._run = host, run
        self._sampling_seed, self._start, self._started = spec.sampling.seed, start, 0
        self._max_restarts = spec.engine.max_restarts
        self._fruitless = 0  # deaths since the last finished sample
        self._queue: deque[Request] = deque()
        self._alone: deque[Request] = deque()
        self._deaths: Counter[str] = Counter()
        self._unwanted: set[str] = set()
        self._slots: list[_Slot] = []
        try:
            self._fill(max(1, host.slots()))
        except BaseException:
            self.close()
            raise
        self._resized_at = self._alive_at = time.monotonic()

    @property
    def capacity(self) -> int:
        """The capacity of the loaded replicas, and an initial batch per replica still loading."""
        return sum(slot.ready.capacity if slot.ready else INITIAL_BATCH for slot in self._slots)

    def submit(self, request: Request) -> None:
        self._queue.append(request)

    def abort(self, sample_ids: Iterable[str]) -> None:
        for name in sample_ids:
            self._unwanted.add(name)  # a queued one is aborted once a replica has it
            for slot in self._slots:
                if name in slot.held:
                    slot.aborts.append(name)

    def completed(self) -> Iterator[Sample | Failure]:
        self._resize()
        busy = {id(slot.remote): slot for slot in self._slots if slot.busy}
        for remote in self._host.poll([slot.remote for slot in busy.values()]):
            yield from self._receive(busy[id(remote)])
        for slot in list(self._slots):
            yield from self._start_turn(slot)
        if any(slot.ready for slot in self._slots):
            self._alive_at = time.monotonic()
            return
        some_died, timeout = self._started > len(self._slots), self._host.retry_timeout_s
        if some_died and time.monotonic() - self._alive_at > timeout:
            raise EngineError(
                f"no replica has been alive for {timeout:.0f} s. All samples so far are saved. "
                "Check the cluster (`ray status`) and run the same command to continue."
            )

    def workers(self) -> list[Worker]:
        return [_worker(number, slot) for number, slot in enumerate(self._slots)]

    def close(self) -> None:
        try:
            for slot in self._slots:
                slot.remote.end()
        finally:
            self._host.close()

    def _receive(self, slot: _Slot) -> Iterator[Sample | Failure]:
        """Process the answer of a replica."""
        try:
            answer = slot.remote.receive()
        except ReplicaDied as death:
            yield from self._replace(slot, death)
            return
        slot.busy = False
        if isinstance(answer, Ready):
            slot.ready = answer
            slot.tally.host = answer.host if answer.host != socket.gethostname() else ""
            log_event(self._run, "replica_ready", **self._facts(slot), capacity=answer.capacity)
            return
        for outcome in answer:
            slot.tally.count(outcome)
            slot.held.pop(outcome.sample_id, None)
            self._deaths.pop(outcome.sample_id, None)
            self._unwanted.discard(outcome.sample_id)
            self._fruitless = 0
            yield outcome

    def _start_turn(self, slot: _Slot) -> Iterator[Failure]:
        """Fill an idle replica from the queue and start its next turn."""
        if slot.ready is None or slot.busy:
            return
        alone = any(self._deaths[name] >= SUSPECT for name in slot.held)
        if self._alone and not slot.held:
            self._hand_over(slot, self._alone)
        elif not alone and not self._alone:
            # Equal shares: the last requests of a run end sooner on many replicas than on one.
            loaded = sum(other.ready is not None for other in self._slots)
            in_replicas = sum(len(other.held) for other in self._slots)
            share = -(-(len(self._queue) + in_replicas) // loaded)
            while self._queue and len(slot.held) < min(slot.ready.capacity, share):
                self._hand_over(slot, self._queue)
        if slot.held:
            try:
                slot.begin_turn()
            except ReplicaDied as death:
                yield from self._replace(slot, death)

    def _hand_over(self, slot: _Slot, line: deque[Request]) -> None:
        request = line.popleft()
        slot.held[request.sample_id] = request
        slot.inbox.append(request)
        if request.sample_id in self._unwanted:
            slot.aborts.append(request.sample_id)

    def _replace(self, slot: _Slot, death: ReplicaDied) -> Iterator[Failure]:
        self._fruitless += 1
        slot.tally.deaths += 1
        facts = {**self._facts(slot), "why": str(death), "held": len(slot.held)}
        log_event(self._run, "replica_died", **facts)
        if self._fruitless > self._max_restarts * len(self._slots) + SUSPECT:
            raise EngineError(
                f"replicas died {self._fruitless} times without finishing a sample; last error: "
                f"{death}. All samples so far are saved. Run the same command to continue."
            ) from death
        for request in slot.held.values():
            self._deaths[request.sample_id] += 1
            deaths = self._deaths[request.sample_id]
            if deaths >= POISON and len(slot.held) == 1:
                detail = f"this prompt alone made a replica die: {death}"
                yield Failure(request.prompt.id, request.index, "engine", detail, retryable=False)
            elif deaths >= SUSPECT:
                self._alone.append(request)
            else:
                self._queue.appendleft(request)
        slot.remote.end()
        number = self._slots.index(slot)
        self._slots[number] = self._start_replica(number, slot.tally)

    def _facts(self, slot: _Slot) -> dict[str, object]:
        where = slot.ready.where if slot.ready else "still loading"
        return {"replica": self._slots.index(slot), "where": where}

    def _start_replica(self, number: int, tally: _Tally) -> _Slot:
        """Start a replica with a new seed: equal seeds give equal samples."""
        parts = ["replica", self._sampling_seed, self._start, self._started]
        self._started += 1
        return _Slot(self._host.start(number, int(fingerprint(parts, 7), 16)), tally)

    def _fill(self, slots: int) -> None:
        for number in range(len(self._slots), slots):
            self._slots.append(self._start_replica(number, _Tally()))

    def _resize(self) -> None:
        """Start replicas in slots that were added since the last check."""
        if time.monotonic() - self._resized_at < RESIZE_SECONDS:
            return
        self._resized_at = time.monotonic()
        self._fill(self._host.slots())


def _worker(number: int, slot: _Slot) -> Worker:
    tally, limit = slot.tally, slot.ready.capacity if slot.ready else 0
    done = tally.samples, tally.tokens, tally.seconds
    died = {"died": tally.deaths} if tally.deaths else {}
    name = f"replica {number}"
    return Worker(name, limit > 0, limit, len(slot.held), *done, died, tally.host)
