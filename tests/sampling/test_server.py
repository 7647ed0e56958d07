"""The server engine over real HTTP: protocol, totals, API keys."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import EngineError, RecipeError
from factory.core.nouns import Sample, sample_id
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engines.server import connect
from tests.fake_server import FakeServer, is_canary
from tests.sampling.conftest import (
    Connect,
    drive,
    failures_of,
    make_requests,
    make_spec,
    samples_of,
)

KEY = "sk-very-secret-0123456789"
CHAT = {"prompting": {"template": "chat", "system": "Be brief.", "instruction": "boxed"}}


def test_a_sample_is_what_the_embedded_engine_would_write(connected: Connect) -> None:
    with FakeServer(answer=lambda body: "two\n</think>\n\n\\boxed{2}") as server:
        (request,) = make_requests(1)
        (drawn,) = samples_of(drive(connected(server.url), [request]))
        (body,) = server.bodies
    assert drawn.text == "<think>\ntwo\n</think>\n\n\\boxed{2}"
    assert body["prompt"] == drawn.prompt_text + "<think>\n"
    assert request.prompt.question in drawn.prompt_text
    assert (drawn.prompt_id, drawn.index) == (request.prompt.id, 0)
    assert (drawn.n_tokens, drawn.n_prompt_tokens) == (4, 7)
    assert (drawn.finish_reason, drawn.model) == ("stop", "fake")
    assert drawn.params_fp == make_spec().params_fp()
    assert abs(drawn.created_at - time.time() * 1000) < 60_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_chat_sends_messages_and_joins_split_reasoning(
    stream: bool, field: str, connected: Connect
) -> None:
    with FakeServer(answer=lambda body: "2", message={field: "one and one"}) as server:
        engine = connected(server.url, spec=make_spec(**CHAT), api="chat", stream=stream)
        (drawn,) = samples_of(drive(engine, make_requests(1)))
        (body,) = server.bodies
    assert drawn.text == "<think>\none and one\n</think>\n\n2"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "\\boxed{}" in body["messages"][1]["content"]
    assert json.loads(drawn.prompt_text) == body["messages"]


def test_tokens_are_estimated_where_the_server_does_not_count(connected: Connect) -> None:
    with FakeServer(usage=False, answer=lambda body: "x" * 41) as server:
        (drawn,) = samples_of(drive(connected(server.url), make_requests(1)))
    assert drawn.n_tokens == 11


def test_length_and_an_empty_text_are_samples(connected: Connect) -> None:
    with FakeServer(answer=lambda body: "", choice={"finish_reason": "length"}) as server:
        (drawn,) = samples_of(drive(connected(server.url), make_requests(1)))
    assert (drawn.text, drawn.finish_reason) == ("<think>\n", "length")


@pytest.mark.parametrize(("answered", "kind"), [("content_filter", "empty"), ("abort", "engine")])
def test_a_reply_that_the_server_spoiled_is_a_failure(
    answered: str, kind: str, connected: Connect
) -> None:
    with FakeServer(choice={"finish_reason": answered}) as server:
        (failure,) = failures_of(drive(connected(server.url, max_retries=0), make_requests(1)))
    assert failure.kind == kind


def test_submit_and_completed_never_wait_for_generation(connected: Connect) -> None:
    with FakeServer(delay_s=600) as server:
        engine = connected(server.url, timeout_s=600)
        began = time.monotonic()
        for request in make_requests(200):
            engine.submit(request)
        for _ in range(3):
            assert list(engine.completed()) == []
        assert time.monotonic() - began < 30  # of 600; not a claim about speed


def test_an_idle_engine_does_not_wait_at_all(connected: Connect) -> None:
    with FakeServer() as server:
        engine = connected(server.url)
        began = time.monotonic()
        for _ in range(200):
            assert list(engine.completed()) == []
        assert time.monotonic() - began < 5  # 200 waits of 50 ms would be 10


def test_abort_cancels_the_request_and_keeps_what_is_known(connected: Connect) -> None:
    with FakeServer(delay_s=600) as server:
        engine = connected(server.url, timeout_s=600, max_concurrency=4)
        requests = make_requests(10)
        for request in requests:
            engine.submit(request)
        while server.in_flight < 4:
            list(engine.completed())
        names = [request.sample_id for request in requests]
        engine.abort([*names, names[0], "nobody-0"])
        aborted: list[Sample] = []
        while len(aborted) < 10:
            aborted += [outcome for outcome in engine.completed() if isinstance(outcome, Sample)]
        assert {drawn.sample_id for drawn in aborted} == set(names)
        assert {drawn.finish_reason for drawn in aborted} == {"abort"}
        assert {drawn.text for drawn in aborted} == {"<think>\n"}
        while server.hung_up < 4 or server.in_flight:
            time.sleep(0.01)
        server.delay_s = 0.0
        assert len(samples_of(drive(engine, make_requests(3, "Another?")))) == 3


def test_an_aborted_stream_keeps_its_beginning(connected: Connect) -> None:
    def slow(body: dict[str, Any], number: int) -> str | None:
        return None if body["max_tokens"] == 1 else "slow_events"

    with FakeServer(fault=slow, answer=lambda body: "abcdefgh" * 20, pieces=160) as server:
        engine = connected(server.url, timeout_s=600)
        (request,) = make_requests(1)
        engine.submit(request)
        # An event or more of 160 that arrive within eight seconds.
        while not any(job.reply.content for job in list(engine._pool._jobs.values())):
            time.sleep(0.01)
        engine.abort([request.sample_id])
        outcomes: list[Any] = []
        while not outcomes:
            outcomes += engine.completed()
        (drawn,) = outcomes
    text = drawn.text.removeprefix("<think>\n")
    assert drawn.finish_reason == "abort"
    assert text
    assert ("abcdefgh" * 20).startswith(text)
    assert drawn.n_tokens == len(text)


def test_samples_of_a_prompt_go_to_one_endpoint_and_prompts_to_all(connected: Connect) -> None:
    with FakeServer(held=True) as first, FakeServer(held=True) as second:
        engine = connected(first.url, second.url)
        while not all(worker.up for worker in engine.workers()):
            list(engine.completed())
        requests = make_requests(6, samples=4)

        def answer(outcomes: dict[str, Any]) -> None:
            if len(first.bodies) + len(second.bodies) == 24:  # all are under way
                first.held = second.held = False

        assert len(samples_of(drive(engine, requests, answer))) == 24
        asked = [{body["prompt"] for body in server.bodies} for server in (first, second)]
        assert [len(prompts) for prompts in asked] == [3, 3]
        assert not asked[0] & asked[1]


def test_no_more_at_once_than_allowed(connected: Connect) -> None:
    answered = most = 0

    def arrive(body: dict[str, Any], number: int) -> None:
        nonlocal most
        most = max(most, number - answered)

    def answer(body: dict[str, Any]) -> str:  # called before the reply is sent
        nonlocal answered
        answered += not is_canary(body)
        return "2"

    with FakeServer(delay_s=0.02, fault=arrive, answer=answer) as server:
        engine = connected(server.url, max_concurrency=3)
        drive(engine, make_requests(20))
        assert most == 3
        assert engine.capacity >= 3


def test_workers_tell_of_each_endpoint(connected: Connect, tmp_path: Path) -> None:
    with FakeServer(delay_s=0.01) as server:
        engine = connected(server.url)
        drive(engine, make_requests(10))
        (worker,) = engine.workers()
        engine.close()
    assert (worker.name, worker.samples, worker.tokens, worker.up) == (server.url, 10, 40, True)
    assert worker.tokens_per_s > 0
    events = [json.loads(line) for line in (tmp_path / "engine.log").read_text().splitlines()]
    assert [event["event"] for event in events] == ["endpoint_up"]


def test_close_ends_the_thread_whatever_is_in_flight(connected: Connect) -> None:
    with FakeServer(delay_s=600) as server:
        engine = connected(server.url, timeout_s=600)
        for request in make_requests(50):
            engine.submit(request)
        while not server.in_flight:
            list(engine.completed())
        engine.close()
        engine.close()
        assert "server-engine" not in [thread.name for thread in threading.enumerate()]


def test_capacity_is_what_the_servers_take_and_a_little_more(connected: Connect) -> None:
    with FakeServer() as server:
        engine = connected(server.url, max_concurrency=10)
        assert 10 < engine.capacity <= 20


def test_a_key_comes_from_the_environment_and_is_shown_nowhere(
    connected: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with FakeServer(key=KEY) as server:
        engine = connected(server.url, api_key_env="FAKE_KEY")
        assert len(samples_of(drive(engine, make_requests(2)))) == 2
        shown = [repr(engine), str(vars(engine)), str(engine.workers())]
        engine.close()
    shown.append((tmp_path / "engine.log").read_text())
    assert KEY not in "".join(shown)


def test_a_wrong_key_stops_at_once_and_is_not_repeated(
    connected: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fake server repeats the key, as some hosted ones do."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    with FakeServer(key="another") as server, pytest.raises(EngineError) as caught:
        connected(server.url, api_key_env="FAKE_KEY")
    assert "check the key in FAKE_KEY" in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY not in "".join(file.read_text() for file in tmp_path.iterdir())


@pytest.mark.parametrize("value", ["", "  ", "geheim\u00e4", "a\nb"])
def test_a_key_that_cannot_be_sent_is_a_recipe_error(
    value: str, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", value)
    with pytest.raises(RecipeError) as caught:
        connected("http://127.0.0.1:9/v1", api_key_env="FAKE_KEY")
    assert "geheim" not in str(caught.value)


def test_a_server_with_another_model_stops_at_once_and_names_it(connected: Connect) -> None:
    with (
        FakeServer(model="other") as server,
        pytest.raises(EngineError, match="serves other, not fake; set engine"),
    ):
        connected(server.url)


def test_a_model_may_have_another_name_there(connected: Connect) -> None:
    with FakeServer(model="other") as server:
        (drawn,) = samples_of(drive(connected(server.url, model="other"), make_requests(1)))
        assert server.bodies[0]["model"] == "other"
    assert drawn.model == "fake"


def test_an_api_that_lists_no_models_is_used_all_the_same(connected: Connect) -> None:
    with FakeServer(has_models=False) as server:
        assert len(samples_of(drive(connected(server.url), make_requests(1)))) == 1
        assert "top_k" not in server.bodies[0]


def test_a_hosted_api_that_lacks_a_setting_is_a_recipe_error(connected: Connect) -> None:
    spec = make_spec(sampling={"top_k": 50})
    with FakeServer(owner="openai") as server, pytest.raises(RecipeError, match="top_k is 50"):
        connected(server.url, spec=spec)


ESCALATED = {"policy": "until", "n": 8, "accept": 1, "give_up_after": 4}


def test_escalated_prompts_go_where_their_model_is(connected: Connect) -> None:
    spec = make_spec(sampling={**ESCALATED, "escalate": [{"temperature": 1.2}, {"model": "big"}]})
    with FakeServer() as small, FakeServer(model="big") as big:
        engine = connected(small.url, big.url, spec=spec)
        requests = [dataclasses.replace(r, level=r.index) for r in make_requests(4, samples=3)]
        drawn = samples_of(drive(engine, requests))
        assert {body["model"] for body in small.bodies} == {"fake"}
        assert {body["model"] for body in big.bodies} == {"big"}
        assert sorted({body["temperature"] for body in small.bodies}) == [0.6, 1.2]
    found = {(sample.index, sample.model, sample.params_fp) for sample in drawn}
    models = ["fake", "fake", "big"]
    assert found == {(n, model, spec.params_fp(n)) for n, model in enumerate(models)}


def test_an_escalation_to_a_model_that_nobody_serves_is_a_recipe_error(connected: Connect) -> None:
    spec = make_spec(sampling={**ESCALATED, "escalate": [{"model": "big"}]})
    with FakeServer() as server, pytest.raises(RecipeError, match="big, which no endpoint serves"):
        connected(server.url, spec=spec)


@pytest.mark.parametrize("owner", ["vllm", "openai"])
def test_a_loop_is_ended_early_and_its_connection_with_it(owner: str, connected: Connect) -> None:
    spec = make_spec(sampling={"early_stop": {"every": 16}})
    loop = "and so on and so on, " * 2000
    with FakeServer(
        owner=owner,
        answer=lambda body: loop if "(0)" in body["prompt"] else "2\n</think>\n\n2",
        pieces=400,
    ) as server:
        outcomes = samples_of(drive(connected(server.url, spec=spec), make_requests(2)))
    ended = {drawn.finish_reason: drawn for drawn in outcomes}
    assert set(ended) == {"early_stop", "stop"}
    assert 4096 <= len(ended["early_stop"].text) < len(loop)
    assert ended["early_stop"].n_tokens < 400


def test_a_plain_text_template_over_chat_is_a_recipe_error(connected: Connect) -> None:
    with pytest.raises(RecipeError, match="set api: completions"):
        connected("http://127.0.0.1:9/v1", api="chat")


def test_a_server_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    with FakeServer() as server:
        server.kill()
        threading.Timer(0.5, server.start).start()
        options = ServerOptions(urls=(server.url,), lost_after_s=30)
        engine = connect(make_spec(), options, tmp_path)
        assert len(samples_of(drive(engine, make_requests(1)))) == 1
        engine.close()


def test_one_outcome_a_sample_id_under_every_trouble_at_once(connected: Connect) -> None:
    """Faults of all kinds, aborts, and a server that dies and comes back."""
    faults = ["500", "close_mid_body", "429", "html", "close_at_once", None, None, None]

    def mixed(body: dict[str, Any], number: int) -> str | None:
        return None if body["max_tokens"] == 1 else faults[number % len(faults)]

    with FakeServer(fault=mixed, delay_s=0.01) as first, FakeServer(delay_s=0.01) as second:
        engine = connected(first.url, second.url, max_retries=8, timeout_s=10)
        requests = make_requests(40, samples=4)
        names = [request.sample_id for request in requests]
        state = {"killed": False}

        def interfere(outcomes: dict[str, Any]) -> None:
            if len(outcomes) > 40 and not state["killed"]:
                state["killed"] = True
                second.kill()
                engine.abort(names[-20:])
                second.start()

        outcomes = drive(engine, requests, interfere)
        assert set(outcomes) == set(names)
        assert failures_of(outcomes) == []
        assert names[0] == sample_id(requests[0].prompt.id, 0)
