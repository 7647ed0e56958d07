"""Engines that die: restarts, resubmitted requests, and isolation of the poison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import EngineError
from factory.core.files import read_lines
from factory.core.nouns import Failure, FinishReason, Message, Prompt, Sample
from factory.sampling.engine import Request
from factory.sampling.engines.supervisor import EngineDied, Supervisor

REQUESTS = [
    Request(Prompt("s", "math", (Message(role="user", content=f"question {n}"),)), 0)
    for n in range(40)
]


def sample(request: Request, reason: FinishReason = "stop") -> Sample:
    return Sample(request.prompt.id, request.index, "text", "", reason, 1, 1, "m", "fp", 0)


class Mortal:
    """An engine that finishes four requests per step and dies if one is poison."""

    capacity = 40

    def __init__(self, poison: set[str], lives: list[int]) -> None:
        self.poison, self.held, self.lives = poison, list[Request](), lives
        self.aborted = list[Request]()

    def submit(self, request: Request) -> None:
        self.held.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        dropped, self.aborted = self.aborted, []
        for request in dropped:
            yield sample(request, "abort")
        batch, self.held = self.held[:4], self.held[4:]
        if any(request.sample_id in self.poison for request in batch):
            raise EngineDied("boom")
        for request in batch:
            yield sample(request)

    def abort(self, sample_ids: Iterable[str]) -> None:
        names = set(sample_ids)
        self.aborted += [r for r in self.held if r.sample_id in names]
        self.held = [r for r in self.held if r.sample_id not in names]

    def close(self) -> None:
        self.lives.append(1)


def run(
    poison: set[str], unwanted: Iterable[str] = (), max_restarts: int = 3
) -> tuple[list[Sample | Failure], int]:
    """Run 40 requests, half of them at once. Returns their results and the engines."""
    lives: list[int] = []
    found: list[Sample | Failure] = []
    with TemporaryDirectory() as folder:
        make = partial(_mortal, poison, lives)
        engine = Supervisor(make, max_restarts, Path(folder))
        for request in REQUESTS[:20]:
            engine.submit(request)
        for step in range(400):
            if step == 2:
                for request in REQUESTS[20:]:
                    engine.submit(request)
                engine.abort(unwanted)
            found += engine.completed()
        engine.close()
        events = read_lines(Path(folder) / "events.jsonl")
    assert len(lives) == 1 + sum(event["event"] == "engine_died" for event in events)
    return found, len(lives)


def _mortal(poison: set[str], lives: list[int], restart: int) -> Mortal:
    return Mortal(poison, lives)


@given(st.sets(st.integers(0, 39), max_size=3))
def test_every_request_ends_once_whatever_is_poison(poisoned: set[int]) -> None:
    poison = {REQUESTS[number].sample_id for number in poisoned}
    found, _ = run(poison)
    assert sorted(o.sample_id for o in found) == sorted(r.sample_id for r in REQUESTS)
    assert {o.sample_id for o in found if isinstance(o, Failure)} == poison


@given(st.sets(st.integers(0, 39), max_size=2), st.sets(st.integers(12, 39), max_size=8))
def test_what_is_aborted_ends_once_even_where_the_engine_dies(
    poisoned: set[int], aborted: set[int]
) -> None:
    names = [request.sample_id for request in REQUESTS]
    poison, unwanted = {names[n] for n in poisoned}, {names[n] for n in aborted}
    found, _ = run(poison, unwanted)
    assert sorted(o.sample_id for o in found) == sorted(names)
    cut = {o.sample_id for o in found if isinstance(o, Sample) and o.finish_reason == "abort"}
    assert cut <= unwanted
    # Poison that killed before it was aborted is a failure; the rest ended without running.
    assert unwanted - cut <= poison


def test_a_healthy_engine_is_never_restarted() -> None:
    _, lives = run(set())
    assert lives == 1


def test_an_engine_that_finishes_nothing_is_given_up() -> None:
    with pytest.raises(EngineError, match="the engine itself is broken"):
        run({request.sample_id for request in REQUESTS})


def test_a_poison_failure_names_the_death() -> None:
    found, _ = run({REQUESTS[7].sample_id})
    (failure,) = [o for o in found if isinstance(o, Failure)]
    assert failure.kind == "engine"
    assert "this prompt alone made the engine die: boom" in failure.detail
    assert not failure.retryable
