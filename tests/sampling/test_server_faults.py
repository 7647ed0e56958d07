"""All faults of a server, with a real HTTP server: the run continues, nothing is doubled."""

from __future__ import annotations

import time
from typing import Any

import pytest

from factory.core.errors import EngineError
from factory.core.nouns import Failure
from factory.sampling.engines import endpoint_pool
from factory.sampling.engines.server import ServerEngine
from tests.fake_server import FAULTS, FakeServer
from tests.sampling.conftest import (
    Connect,
    Outcomes,
    drive,
    failures_of,
    make_requests,
    make_spec,
    samples_of,
    set_lost_after,
)

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def watch_until_the_end(engine: ServerEngine) -> None:
    """Run until the engine raises. No request becomes a failure."""
    while True:
        assert not any(isinstance(outcome, Failure) for outcome in engine.completed())


def is_canary(body: dict[str, Any]) -> bool:
    return body.get("max_tokens") == 1


def ask_of(body: dict[str, Any]) -> str:
    return str(body.get("prompt") or body["messages"][-1]["content"])


@STREAMED
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_costs_nothing(fault: str, stream: bool, connected: Connect) -> None:
    """Each prompt's first attempt fails, the next one works."""
    failed: set[str] = set()

    def once(body: dict[str, Any], number: int) -> str | None:
        if is_canary(body) or ask_of(body) in failed:
            return None
        failed.add(ask_of(body))
        return fault

    # What ends by its timeout alone may meet it again on a busy machine, and is retried.
    options = {"timeout_s": 0.5, "max_retries": 100} if fault in SILENT else {}
    with FakeServer(fault=once) as server:
        outcomes = drive(connected(server.url, stream=stream, **options), make_requests(4))
        assert len(samples_of(outcomes)) == 4
        assert len(server.bodies) >= 8


SILENT = ("hang", "slow_drip")
"""Faults that only a timeout ends."""

KINDS = {
    "500": "engine",
    "hang": "timeout",
    "slow_drip": "timeout",
    "close_mid_body": "engine",
    "html": "engine",
    "empty_choices": "empty",
    "malformed_json": "engine",
    "not_an_object": "engine",
    "no_finish": "engine",
}


@STREAMED
@pytest.mark.parametrize("fault", KINDS)
def test_a_poison_prompt_is_a_failure_and_the_run_goes_on(
    fault: str, stream: bool, connected: Connect
) -> None:
    def poison(body: dict[str, Any], number: int) -> str | None:
        return fault if "(3)" in ask_of(body) else None

    with FakeServer(fault=poison) as server:
        timeout_s = 2.0 if fault in SILENT else 60.0
        engine = connected(server.url, stream=stream, max_retries=1, timeout_s=timeout_s)
        outcomes = drive(engine, make_requests(6))
        (failure,) = failures_of(outcomes)
        assert failure.kind == KINDS[fault]
        assert failure.retryable  # whatever it was, a later build may get an answer
        assert len(samples_of(outcomes)) == 5
        assert sum("(3)" in ask_of(body) for body in server.bodies) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", "bad_request"),
        ("400_too_long", "prompt_too_long"),
        ("403", "bad_request"),  # moderation
        ("400_no_model", "bad_request"),  # words of the prompt, repeated: the check passes
    ],
)
def test_what_no_retry_mends_is_asked_once(fault: str, kind: str, connected: Connect) -> None:
    def refuse(body: dict[str, Any], number: int) -> str | None:
        return fault if "(0)" in ask_of(body) else None

    with FakeServer(fault=refuse) as server:
        outcomes = drive(connected(server.url), make_requests(2))
        (failure,) = failures_of(outcomes)
        assert failure.kind == kind
        assert not failure.retryable
        assert len(server.bodies) == 2


def test_only_poison_left_still_ends(connected: Connect) -> None:
    """All requests fail, but the endpoint works, as its canaries show."""
    with FakeServer(fault=lambda body, number: None if is_canary(body) else "500") as server:
        engine = connected(server.url, max_retries=1)
        outcomes = drive(engine, make_requests(8))
        assert len(failures_of(outcomes)) == 8


def test_a_server_broken_for_all_stops_the_run_and_blames_no_prompt(connected: Connect) -> None:
    broken = False

    def fault(body: dict[str, Any], number: int) -> str | None:
        return "500" if broken else None

    with FakeServer(fault=fault) as server:
        engine = connected(server.url, max_retries=1)
        set_lost_after(engine, 1.5)
        broken = True
        for request in make_requests(10):
            engine.submit(request)
        with pytest.raises(EngineError, match="no endpoint can be used"):
            watch_until_the_end(engine)


def test_wrong_type_of_good_json_is_taken(connected: Connect) -> None:
    with FakeServer(fault=lambda body, number: "wrong_type") as server:
        outcomes = drive(connected(server.url, stream=False), make_requests(1))
        assert len(samples_of(outcomes)) == 1


@pytest.mark.parametrize("fault", ["429_retry_after", "429_retry_date"])
def test_retry_after_is_honoured(fault: str, connected: Connect) -> None:
    """After the refusal no request arrives until the named second has passed."""
    arrivals: list[float] = []

    def refuse_first(body: dict[str, Any], number: int) -> str | None:
        if is_canary(body):
            return None
        arrivals.append(time.monotonic())
        return fault if len(arrivals) == 1 else None

    with FakeServer(fault=refuse_first) as server:
        outcomes = drive(connected(server.url), make_requests(1))
        assert len(samples_of(outcomes)) == 1
        assert arrivals[1] - arrivals[0] >= 0.99


def test_throttled_requests_never_run_out_of_retries(connected: Connect) -> None:
    with FakeServer(delay_s=0.1, refuse_over=4) as server:
        engine = connected(server.url, max_retries=0, timeout_s=30)
        outcomes = drive(engine, make_requests(60))
        assert failures_of(outcomes) == []
        assert engine.workers()[0].faults["throttled"] > 0
        assert engine.workers()[0].limit < 32


def test_refused_connections_do_not_count_against_a_request(connected: Connect) -> None:
    with FakeServer(delay_s=0.05) as first, FakeServer(delay_s=0.05) as second:
        engine = connected(first.url, second.url, max_retries=0, timeout_s=30)
        first.kill()
        outcomes = drive(engine, make_requests(20))
        lost = failures_of(outcomes)  # what a reset caught in flight has had its only attempt
        assert not any("cannot be reached" in failure.detail for failure in lost)
        assert len(samples_of(outcomes)) + len(lost) == 20


def test_a_killed_endpoint_is_replaced_and_used_again_when_back(
    connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_pool, "_LONGEST_RECHECK_S", 0.1)
    with FakeServer(delay_s=0.05) as first, FakeServer(delay_s=0.05) as second:
        engine = connected(first.url, second.url, timeout_s=30)
        state = {"at": 0, "used": 0}

        def interfere(outcomes: Any) -> None:
            if len(outcomes) > 40 and state["at"] == 0:
                first.kill()
                state["at"] = 1
            if len(outcomes) > 120 and state["at"] == 1:
                first.start()
                second.held = True  # until the first is found again
                state.update(at=2, used=len(first.bodies))
            if state["at"] == 2 and len(first.bodies) > state["used"]:
                second.held = False

        outcomes = drive(engine, make_requests(500), interfere)
        assert state["at"] == 2
        assert len(samples_of(outcomes)) == 500
        assert len(first.bodies) > state["used"]


def test_a_hung_server_loses_its_requests_to_the_others(connected: Connect) -> None:
    """It accepts and never answers, not even /models. Health checks find it, not the timeout."""
    with FakeServer() as well, FakeServer(held=True) as ill:
        engine = connected(well.url, ill.url, timeout_s=600, health_s=0.2)

        def hang(outcomes: Outcomes) -> None:
            """Once it has a request: before, a health check may find it first."""
            ill.stalled = ill.stalled or bool(ill.bodies)

        outcomes = drive(engine, make_requests(30), seen=hang)
        assert ill.stalled
        assert len(samples_of(outcomes)) == 30


def test_all_gone_is_an_engine_error_within_the_set_time(connected: Connect) -> None:
    with FakeServer(delay_s=30) as server:
        engine = connected(server.url)
        set_lost_after(engine, 1.0)
        for request in make_requests(3):
            engine.submit(request)
        list(engine.completed())
        server.kill()
        with pytest.raises(EngineError, match="cannot be reached"):
            watch_until_the_end(engine)


def test_the_monotonic_clock_alone_is_read(
    connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock that jumps by days affects only created_at."""
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: next(jumps) * 86_400.0)
    with FakeServer(delay_s=0.01) as server:
        outcomes = drive(connected(server.url), make_requests(20))
        assert len(samples_of(outcomes)) == 20
        assert len(server.bodies) == 20


def test_a_prompt_that_kills_servers_is_found(connected: Connect) -> None:
    """Each time it is tried, everything in flight is lost with it."""

    def poison(body: dict[str, Any], number: int) -> str | None:
        return "crash" if "(5)" in ask_of(body) else None

    with FakeServer(fault=poison, delay_s=0.02) as server:
        outcomes = drive(connected(server.url, max_retries=4), make_requests(24))
        (failure,) = failures_of(outcomes)
        assert failure.kind == "engine"
        assert len(samples_of(outcomes)) == 23


def test_settings_that_a_server_refuses_stop_the_run_at_once(connected: Connect) -> None:
    with (
        FakeServer(fault=lambda body, number: "400") as server,
        pytest.raises(EngineError, match=r"the recipe's sampling settings.*as you wish"),
    ):
        connected(server.url, spec=make_spec())
