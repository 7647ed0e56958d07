"""Builds against a server in trouble: no sample is lost; what waiting can't fix stops at once."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError
from factory.core.files import read_lines
from factory.core.run_dir import read_manifest, sample_parts
from factory.recipe.build import Recipe, load_recipe
from factory.sampling.engines import endpoint_pool
from tests.fake_server import FakeServer, is_canary
from tests.sampling.conftest import (
    Connect,
    drive,
    failures_of,
    make_requests,
    samples_of,
    set_lost_after,
)
from tests.sampling.test_server_faults import ask_of, watch_until_the_end

QUIET = Console(quiet=True)
N, PROMPTS = 4, 20
RETRIES = 5
"""Of a request, unless a recipe says otherwise."""

MODES: dict[str, dict[str, Any]] = {
    "completions": {"api": "completions", "stream": False},
    "chat": {"api": "chat", "stream": False},
    "stream": {"api": "chat", "stream": True},
}
TROUBLE = ("500", "html", "empty", "malformed_json", "close_mid_body", "close_at_once")


def server_recipe(folder: Path, url: str, n: int = N, **options: Any) -> Recipe:
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = "chat" if options.get("api") == "chat" else "few_shot"
    parts = {
        "name": "loss",
        "model": "fake",
        "sources": [
            {"kind": "files", "path": str(file), "language": "en", "verifier": {"kind": "math"}}
        ],
        "prompting": {"template": template},
        "engine": {"kind": "server", "server": {"urls": [url], **options}},
        "sampling": {"n": n, "max_tokens": 64},
        "filters": {"format": {}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(parts))  # JSON is YAML
    return load_recipe(path)


def drawn(run: Path) -> Counter[tuple[str, int]]:
    frames = [pl.read_parquet(part, columns=["prompt_id", "index"]) for part in sample_parts(run)]
    return Counter(pl.concat(frames).rows())


@pytest.mark.parametrize("mode", MODES)
def test_forty_percent_of_failing_replies_lose_nothing(mode: str, tmp_path: Path) -> None:
    chance = random.Random(mode)
    failed: Counter[str] = Counter()

    def fault(body: dict[str, Any], number: int) -> str | None:
        if chance.random() >= 0.4 or failed[ask_of(body)] == RETRIES:
            return None  # otherwise a sample could meet nothing but faults
        failed[ask_of(body)] += not is_canary(body)
        return chance.choice(TROUBLE)

    with FakeServer(fault=fault) as server:
        run = tmp_path / "run"
        build(server_recipe(tmp_path, server.url, **MODES[mode]), run, QUIET)
        assert len(server.bodies) == N * PROMPTS + failed.total()
    assert failed.total() > 10
    found = drawn(run)
    assert len(found) == N * PROMPTS
    assert set(found.values()) == {1}
    assert read_manifest(run)["unanswered"] == 0
    assert not (run / "failures.jsonl").exists()


def test_what_got_no_answer_is_drawn_by_the_next_build(tmp_path: Path) -> None:
    ill = True

    def fault(body: dict[str, Any], number: int) -> str | None:
        return "500" if ill and "7 + 7" in ask_of(body) else None

    with FakeServer(fault=fault) as server:
        recipe = server_recipe(tmp_path, server.url, max_retries=1)
        run, said = tmp_path / "run", Console(record=True, file=io.StringIO())
        build(recipe, run, said)
        assert len(drawn(run)) == N * (PROMPTS - 1)
        assert read_manifest(run)["unanswered"] == N
        assert f"{N} samples got no answer" in said.export_text()
        asked = Counter(map(ask_of, server.bodies))
        assert max(asked.values()) == 2 * 2 * N  # two rounds of two attempts
        ill = False
        build(recipe, run, QUIET)
    assert len(drawn(run)) == N * PROMPTS
    assert read_manifest(run)["unanswered"] == 0


def test_a_run_without_any_answer_is_an_engine_error(tmp_path: Path) -> None:
    def fault(body: dict[str, Any], number: int) -> str | None:
        return None if is_canary(body) else "html"

    with FakeServer(fault=fault) as server:
        recipe = server_recipe(tmp_path, server.url, n=1, max_retries=0)
        with pytest.raises(EngineError, match=r"none of 20 requests was answered.*text/html"):
            build(recipe, tmp_path / "run", QUIET)


@pytest.mark.parametrize("canary", ["canary_fails", "canary_works"])
def test_constant_500_stops_within_the_set_time(canary: str, connected: Connect) -> None:
    ill = False

    def fault(body: dict[str, Any], number: int) -> str | None:
        return "500" if ill and not (canary == "canary_works" and is_canary(body)) else None

    with FakeServer(fault=fault) as server:
        engine = connected(server.url, max_retries=100)
        set_lost_after(engine, 1.5)
        ill = True
        for request in make_requests(40):
            engine.submit(request)
        with pytest.raises(EngineError, match="as you wish"):
            watch_until_the_end(engine)


@pytest.mark.parametrize("retries", [0, 6])
def test_prompts_that_no_server_answers_do_not_stop_a_run_that_can_go_on(
    retries: int, connected: Connect
) -> None:
    """Ten of forty prompts fail for ever, and their retries last longer than `lost_after_s`."""

    def poison(body: dict[str, Any], number: int) -> str | None:
        found = re.search(r"\((\d+)\)", ask_of(body))
        return "500" if found and int(found[1]) % 4 == 1 else None

    with FakeServer(fault=poison) as server:
        engine = connected(server.url, max_retries=retries)
        set_lost_after(engine, 1.0)
        requests = make_requests(40)
        first = failures_of(drive(engine, requests))
        assert len(first) == 10
        assert all(failure.retryable for failure in first)
        names = {failure.sample_id for failure in first}
        again = drive(engine, [r for r in requests if r.sample_id in names])
        assert len(failures_of(again)) == 10


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("401", "check engine.server.api_key_env"),
        ("402", "no credit left"),
        ("403", "check engine.server.api_key_env"),
        ("429_quota", "no credit left"),
        ("400_no_model", "check engine.server.model"),
        ("404_no_model", "check engine.server.model"),
    ],
)
@pytest.mark.parametrize("moment", ["start", "middle"])
def test_what_waiting_cannot_fix_stops_at_once(
    fault: str, cause: str, moment: str, connected: Connect
) -> None:
    """`lost_after_s` is an hour: only a stop at once passes. No sample becomes a failure."""
    ill = moment == "start"

    def work(url: str) -> None:
        nonlocal ill
        engine = connected(url, lost_after_s=3600)
        assert len(samples_of(drive(engine, make_requests(3)))) == 3
        ill = True
        for request in make_requests(3, "Another?"):
            engine.submit(request)
        watch_until_the_end(engine)

    with (
        FakeServer(fault=lambda body, number: fault if ill else None) as server,
        pytest.raises(EngineError, match=cause),
    ):
        work(server.url)


def test_a_key_without_credit_for_long_replies_only_stops_too(connected: Connect) -> None:
    """OpenRouter: a check of one token passes, as the credit covers it."""

    def fault(body: dict[str, Any], number: int) -> str | None:
        return None if is_canary(body) else "402"

    with FakeServer(fault=fault) as server:
        engine = connected(server.url, lost_after_s=3600)
        engine.submit(make_requests(1)[0])
        with pytest.raises(EngineError, match="no credit left"):
            watch_until_the_end(engine)


@pytest.mark.parametrize("fault", ["429_forever", "503_until_2999"])
def test_an_absurd_retry_after_is_capped_said_and_stalls_no_other(
    fault: str, connected: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_pool, "_LONGEST_PAUSE_S", 1.0)

    due = [fault]

    def refuse(body: dict[str, Any], number: int) -> str | None:
        return due.pop() if due and not is_canary(body) else None

    with FakeServer(fault=refuse) as first, FakeServer(delay_s=0.01) as second:
        engine = connected(first.url, second.url, timeout_s=30)
        assert len(samples_of(drive(engine, make_requests(60)))) == 60
        assert len(second.bodies) > 20
        alone = connected(first.url)
        due.append(fault)
        assert len(samples_of(drive(alone, make_requests(5, "Alone?")))) == 5
    events = [e for e in read_lines(tmp_path / "engine.log") if e["event"] == "retry_after_capped"]
    assert len(events) == 2
    assert events[0]["waits_s"] == 1.0
    assert events[0]["asked_s"] >= 99_999_999


def test_a_flagged_prompt_does_not_stop_the_others(connected: Connect) -> None:
    def flag(body: dict[str, Any], number: int) -> str | None:
        return "403" if "(2)" in ask_of(body) else None

    with FakeServer(fault=flag) as server:
        outcomes = drive(connected(server.url), make_requests(6))
    (failure,) = failures_of(outcomes)
    assert (failure.kind, failure.retryable) == ("bad_request", False)
    assert len(samples_of(outcomes)) == 5
