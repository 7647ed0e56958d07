"""Several engines as one: who is given which request, and what becomes of those a dead one held.

Where they run is a host's affair: processes of this machine (factory.sampling.engines.process_host)
or actors of a Ray cluster (factory.sampling.engines.ray_host). A replica gets one turn at a time:
it takes new requests, steps its engine, and gives back what has finished. One that dies is
replaced, with a new seed, and what it held goes back in the queue. A request that was held at two
deaths runs alone from then on: if it kills once more, it is a Failure and not the run's end.
"""

from __future__ import annotations

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


LOOK_SECONDS = 10.0
"""Between two looks at how many replicas there is room for: nodes may join."""

FIRST_HELPING = 64
"""Requests taken in for a replica that still loads."""

SUSPECT, POISON = 2, 3
"""Deaths a request was held at: from the first number on it runs alone, at the second it fails."""


class Remote(Protocol):
    """A replica as its host reaches it. It is born with a question open: whether it is ready."""

    def ask(self, requests: list[Request], aborts: list[str]) -> None:
        """Begin a turn."""

    def answer(self) -> Answer:
        """The answer to the open question. Raises ReplicaDied, or the replica's FactoryError."""

    def end(self) -> None:
        """Make sure that nothing is left of it."""


class Host(Protocol):
    """Where replicas run."""

    patience_s: float
    """Seconds without any loaded replica, after a death, until the run stops."""

    def places(self) -> int:
        """How many replicas there should be now."""

    def start(self, number: int, seed: int) -> Remote:
        """A new replica in a free place, by its number; it loads while others work."""

    def answered(self, asked: Sequence[Remote]) -> Sequence[Remote]:
        """Those of `asked` that have an answer or died; waits a moment for the first."""

    def close(self) -> None:
        """Called once every replica has ended."""


@dataclass(slots=True)
class _Tally:
    """What all replicas of a place have done so far."""

    samples: int = 0
    tokens: int = 0
    deaths: int = 0
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


class _Seat:
    """A place and the replica in it: what it holds, and whether a question is open."""

    def __init__(self, remote: Remote, tally: _Tally) -> None:
        self.remote, self.tally = remote, tally
        self.ready: Ready | None = None  # None: still loading
        self.asked = True
        self.held: dict[str, Request] = {}
        self.inbox: list[Request] = []
        self.aborts: list[str] = []

    def begin_turn(self) -> None:
        self.asked = True
        self.tally.began = self.tally.began or time.monotonic()
        inbox, self.inbox = self.inbox, []
        aborts, self.aborts = self.aborts, []
        self.remote.ask(inbox, aborts)


class Replicas:
    """A host's replicas as one engine."""

    def __init__(self, host: Host, spec: EngineSpec, run: Path, start: int) -> None:
        self._host, self._run = host, run
        self._sampling_seed, self._start, self._born = spec.sampling.seed, start, 0
        self._max_restarts = spec.engine.max_restarts
        self._fruitless = 0  # deaths since the last finished sample
        self._queue: deque[Request] = deque()
        self._alone: deque[Request] = deque()
        self._deaths: Counter[str] = Counter()
        self._unwanted: set[str] = set()
        self._seats: list[_Seat] = []
        try:
            self._fill(max(1, host.places()))
        except BaseException:
            self.close()
            raise
        self._looked = self._alive_at = time.monotonic()

    @property
    def capacity(self) -> int:
        """What the loaded replicas hold, and a first helping for those still loading."""
        return sum(seat.ready.capacity if seat.ready else FIRST_HELPING for seat in self._seats)

    def submit(self, request: Request) -> None:
        self._queue.append(request)

    def abort(self, sample_ids: Iterable[str]) -> None:
        for name in sample_ids:
            self._unwanted.add(name)  # one in the queue is dropped as soon as a replica has it
            for seat in self._seats:
                if name in seat.held:
                    seat.aborts.append(name)

    def completed(self) -> Iterator[Sample | Failure]:
        self._look_around()
        asked = {id(seat.remote): seat for seat in self._seats if seat.asked}
        for remote in self._host.answered([seat.remote for seat in asked.values()]):
            yield from self._take(asked[id(remote)])
        for seat in list(self._seats):
            yield from self._give(seat)
        if any(seat.ready for seat in self._seats):
            self._alive_at = time.monotonic()
            return
        some_died, patience = self._born > len(self._seats), self._host.patience_s
        if some_died and time.monotonic() - self._alive_at > patience:
            raise EngineError(
                f"no replica has been alive for {patience:.0f} s. Everything sampled is safe; look "
                "at the cluster (`ray status`) and run the same command again."
            )

    def workers(self) -> list[Worker]:
        return [_worker(place, seat) for place, seat in enumerate(self._seats)]

    def close(self) -> None:
        for seat in self._seats:
            seat.remote.end()
        self._host.close()

    def _take(self, seat: _Seat) -> Iterator[Sample | Failure]:
        """Take in what a replica answered."""
        try:
            answer = seat.remote.answer()
        except ReplicaDied as death:
            yield from self._replace(seat, death)
            return
        seat.asked = False
        if isinstance(answer, Ready):
            seat.ready = answer
            log_event(self._run, "replica_ready", **self._named(seat), capacity=answer.capacity)
            return
        for outcome in answer:
            seat.tally.count(outcome)
            seat.held.pop(outcome.sample_id, None)
            self._deaths.pop(outcome.sample_id, None)
            self._unwanted.discard(outcome.sample_id)
            self._fruitless = 0
            yield outcome

    def _give(self, seat: _Seat) -> Iterator[Failure]:
        """Hand a replica that is at rest what it has room for, and start its next turn."""
        if seat.ready is None or seat.asked:
            return
        alone = any(self._deaths[name] >= SUSPECT for name in seat.held)
        if self._alone and not seat.held:
            self._hand_over(seat, self._alone)
        elif not alone and not self._alone:
            # An even share: the last requests of a run end sooner on many replicas than on one.
            loaded = sum(other.ready is not None for other in self._seats)
            in_replicas = sum(len(other.held) for other in self._seats)
            share = -(-(len(self._queue) + in_replicas) // loaded)
            while self._queue and len(seat.held) < min(seat.ready.capacity, share):
                self._hand_over(seat, self._queue)
        if seat.held:
            try:
                seat.begin_turn()
            except ReplicaDied as death:
                yield from self._replace(seat, death)

    def _hand_over(self, seat: _Seat, line: deque[Request]) -> None:
        request = line.popleft()
        seat.held[request.sample_id] = request
        seat.inbox.append(request)
        if request.sample_id in self._unwanted:
            seat.aborts.append(request.sample_id)

    def _replace(self, seat: _Seat, death: ReplicaDied) -> Iterator[Failure]:
        self._fruitless += 1
        seat.tally.deaths += 1
        facts = {**self._named(seat), "why": str(death), "held": len(seat.held)}
        log_event(self._run, "replica_died", **facts)
        if self._fruitless > self._max_restarts * len(self._seats) + SUSPECT:
            raise EngineError(
                f"replicas died {self._fruitless} times without finishing a sample; the last time: "
                f"{death}. Everything sampled is safe; run the same command to go on."
            ) from death
        for request in seat.held.values():
            self._deaths[request.sample_id] += 1
            deaths = self._deaths[request.sample_id]
            if deaths >= POISON and len(seat.held) == 1:
                detail = f"a replica dies of this prompt alone: {death}"
                yield Failure(request.prompt.id, request.index, "engine", detail, retryable=False)
            elif deaths >= SUSPECT:
                self._alone.append(request)
            else:
                self._queue.appendleft(request)
        seat.remote.end()
        place = self._seats.index(seat)
        self._seats[place] = self._seat(place, seat.tally)

    def _named(self, seat: _Seat) -> dict[str, object]:
        where = seat.ready.where if seat.ready else "still loading"
        return {"replica": self._seats.index(seat), "where": where}

    def _seat(self, place: int, tally: _Tally) -> _Seat:
        """A new replica, with a seed that none of this run had: equal seeds draw equal samples."""
        parts = ["replica", self._sampling_seed, self._start, self._born]
        self._born += 1
        return _Seat(self._host.start(place, int(fingerprint(parts, 7), 16)), tally)

    def _fill(self, places: int) -> None:
        for place in range(len(self._seats), places):
            self._seats.append(self._seat(place, _Tally()))

    def _look_around(self) -> None:
        """Use room that came up since the last look."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._fill(self._host.places())


def _worker(place: int, seat: _Seat) -> Worker:
    tally, limit = seat.tally, seat.ready.capacity if seat.ready else 0
    done = tally.samples, tally.tokens, tally.seconds
    died = {"died": tally.deaths} if tally.deaths else {}
    return Worker(f"replica {place}", limit > 0, limit, len(seat.held), *done, died)
