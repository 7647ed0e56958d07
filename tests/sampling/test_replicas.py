"""A replica pool whose replicas die: each request ends exactly once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import EngineError, Problem, RecipeError
from factory.core.files import read_lines
from factory.core.nouns import Failure, FinishReason, Sample
from factory.recipe.engines.options import Engine
from factory.sampling.engine import Request
from factory.sampling.engines import replica_pool
from factory.sampling.engines.replica import Answer, Ready, ReplicaDied
from factory.sampling.engines.replica_pool import Remote, ReplicaPool
from tests.sampling.conftest import make_requests, make_spec

REQUESTS = make_requests(40)
CAPACITY = 8


def sample(request: Request, reason: FinishReason = "stop") -> Sample:
    return Sample(request.prompt.id, request.index, "text", "", reason, 1, 1, "m", "fp", 0)


class Mortal:
    """A replica that finishes three requests per turn and dies if one is poison."""

    def __init__(self, poison: set[str], lifetime: int | None) -> None:
        self.poison, self.lifetime = poison, lifetime
        self.held: dict[str, Request] = {}
        self.aborts: list[str] = []
        self.loaded = self.ended = False
        self.most = 0

    def send(self, requests: list[Request], aborts: list[str]) -> None:
        self.held |= {request.sample_id: request for request in requests}
        self.aborts = aborts
        self.most = max(self.most, len(self.held))

    def receive(self) -> Answer:
        if not self.loaded:
            self.loaded = True
            return Ready(CAPACITY, "here", "")
        dropped = [self.held.pop(name) for name in self.aborts if name in self.held]
        batch = list(self.held.values())[:3]
        if self.lifetime is not None:
            self.lifetime -= 1
        if self.lifetime == 0 or any(request.sample_id in self.poison for request in batch):
            raise ReplicaDied("boom")
        for request in batch:
            del self.held[request.sample_id]
        return [*(sample(r, "abort") for r in dropped), *(sample(r) for r in batch)]

    def end(self) -> None:
        self.ended = True


class Room:
    """A host whose number of slots grows. `lifetimes` are those of the first replicas."""

    retry_timeout_s = 60.0

    def __init__(
        self, poison: set[str] = frozenset(), lifetimes: Sequence[int] = (), slots: int = 2
    ) -> None:
        self.poison, self.lifetimes, self.room = poison, list(lifetimes), slots
        self.born: list[Mortal] = []
        self.seeds: list[int] = []
        self.closed = False

    def slots(self) -> int:
        return self.room

    def start(self, number: int, seed: int) -> Remote:
        self.seeds.append(seed)
        self.born.append(Mortal(self.poison, self.lifetimes.pop(0) if self.lifetimes else None))
        return self.born[-1]

    def poll(self, busy: Sequence[Remote]) -> Sequence[Remote]:
        return busy

    def close(self) -> None:
        self.closed = True


def drain(engine: ReplicaPool, turns: int = 400) -> list[Sample | Failure]:
    return [outcome for _ in range(turns) for outcome in engine.completed()]


@given(st.sets(st.integers(0, 39), max_size=2), st.lists(st.integers(1, 6), max_size=4))
def test_every_request_ends_once_whatever_dies(poisoned: set[int], lifetimes: list[int]) -> None:
    poison = {REQUESTS[number].sample_id for number in poisoned}
    room = Room(poison, lifetimes)
    with TemporaryDirectory() as folder:
        engine = ReplicaPool(room, make_spec(engine={"max_restarts": 20}), Path(folder), 0)
        for request in REQUESTS:
            engine.submit(request)
        found = drain(engine)
        engine.close()
        events = read_lines(Path(folder) / "events.jsonl")
    deaths = [event for event in events if event["event"] == "replica_died"]
    assert len(deaths) == len(room.born) - 2
    assert len(events) - len(deaths) == sum(replica.loaded for replica in room.born)
    workers = engine.workers()
    assert sum(worker.faults.get("died", 0) for worker in workers) == len(deaths)
    assert sum(worker.samples for worker in workers) == sum(isinstance(o, Sample) for o in found)
    assert sum(worker.in_flight for worker in workers) == 0
    assert sorted(o.sample_id for o in found) == sorted(r.sample_id for r in REQUESTS)
    # A replica that dies by itself while it holds a lone suspect may also fail an innocent request.
    lost = {o.sample_id for o in found if isinstance(o, Failure)}
    assert lost >= poison if lifetimes else lost == poison
    assert len(set(room.seeds)) == len(room.seeds)
    assert all(replica.ended for replica in room.born)
    assert room.closed


def test_work_is_shared_evenly_and_never_beyond_a_replicas_capacity(tmp_path: Path) -> None:
    room = Room()
    engine = ReplicaPool(room, make_spec(), tmp_path, 0)
    assert engine.capacity == 2 * replica_pool.INITIAL_BATCH
    for request in REQUESTS[:10]:
        engine.submit(request)
    list(engine.completed())
    assert engine.capacity == 2 * CAPACITY
    assert [replica.most for replica in room.born] == [5, 5]
    for request in REQUESTS[10:]:
        engine.submit(request)
    assert len(drain(engine)) == 40
    assert max(replica.most for replica in room.born) == CAPACITY


def test_an_aborted_request_ends_as_such_even_from_the_queue(tmp_path: Path) -> None:
    engine = ReplicaPool(Room(), make_spec(), tmp_path, 0)
    for request in REQUESTS:
        engine.submit(request)
    list(engine.completed())
    unwanted = {REQUESTS[7].sample_id, REQUESTS[-1].sample_id}
    engine.abort(unwanted)
    found = {o.sample_id: o for o in drain(engine) if isinstance(o, Sample)}
    assert len(found) == 40
    assert {name for name, o in found.items() if o.finish_reason == "abort"} == unwanted


def test_an_engine_that_finishes_nothing_is_given_up(tmp_path: Path) -> None:
    engine = ReplicaPool(Room({r.sample_id for r in REQUESTS}), make_spec(), tmp_path, 0)
    for request in REQUESTS:
        engine.submit(request)
    with pytest.raises(EngineError, match="without finishing a sample; last error: boom"):
        drain(engine)


def test_room_that_comes_up_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_pool, "RESIZE_SECONDS", 0.0)
    room = Room(slots=1)
    engine = ReplicaPool(room, make_spec(), tmp_path, 0)
    room.room = 3
    list(engine.completed())
    assert len(room.born) == 3


def test_a_recipe_error_crosses_processes_whole() -> None:
    error = RecipeError([Problem("engine.args.x", "is no engine argument")])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(again), again.problems) == (str(error), error.problems)


@pytest.mark.parametrize(
    "kind", [{"kind": "server", "server": {"urls": ["http://a"]}}, {"kind": "ray"}]
)
def test_replicas_are_the_embedded_engines(kind: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="replicas needs kind: vllm"):
        Engine.model_validate({"replicas": 2, **kind})
