"""Server engines over fake servers, and a plain loop that drives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.prompts.source import Source
from factory.recipe.build import Recipe
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engine import Request
from factory.sampling.engines import endpoint
from factory.sampling.engines.server import ServerEngine, connect

Outcomes = dict[str, Sample | Failure]

FAST = {"timeout_s": 60.0, "max_retries": 2, "health_s": 0.5, "lost_after_s": 60.0}


def make_spec(**parts: Any) -> EngineSpec:
    """An engine's spec for the fake model; its plain-text template needs no tokenizer."""
    fields: dict[str, Any] = {
        "name": "test",
        "model": "fake",
        "sources": [Source.model_construct(kind="none")],
        "filters": {},
        "prompting": {"template": "few_shot", "prefill": "<think>\n"},
        "sampling": {"max_tokens": 64},
    }
    return Recipe.model_validate(fields | parts).engine_spec


def make_requests(count: int, words: str = "What is 1 + 1?", samples: int = 1) -> list[Request]:
    """Return requests for `count` prompts with `samples` each, in a row."""
    return [
        Request(make_prompt(f"{words} ({number})"), index)
        for number in range(count)
        for index in range(samples)
    ]


def make_prompt(question: str) -> Prompt:
    return Prompt("tests", "math", (Message(role="user", content=question),))


def drive(
    engine: ServerEngine,
    requests: Sequence[Request],
    seen: Callable[[Outcomes], None] = lambda outcomes: None,
) -> Outcomes:
    """Return the result of every request. Fails on a second result and on a standstill."""
    outcomes: Outcomes = {}
    for request in requests:
        engine.submit(request)
    deadline = time.monotonic() + 300
    while len(outcomes) < len(requests):
        assert time.monotonic() < deadline, f"standstill at {len(outcomes)} of {len(requests)}"
        for outcome in engine.completed():
            assert outcome.sample_id not in outcomes
            outcomes[outcome.sample_id] = outcome
        seen(outcomes)
    assert list(engine.completed()) == []
    return outcomes


def set_lost_after(engine: ServerEngine, seconds: float) -> None:
    """Let an engine that is connected give up sooner; connecting may take a busy machine long."""
    options = engine._pool._options.model_copy(update={"lost_after_s": seconds})
    engine._pool._options = options


def samples_of(outcomes: Outcomes) -> list[Sample]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Sample)]


def failures_of(outcomes: Outcomes) -> list[Failure]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Failure)]


Connect = Callable[..., ServerEngine]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_BACKOFF_S", 0.02)


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Connect]:
    """Opens engines, and closes them whatever happens."""
    engines: list[ServerEngine] = []

    def open_one(*urls: str, spec: EngineSpec | None = None, **options: Any) -> ServerEngine:
        chosen = ServerOptions(urls=urls, **(FAST | options))
        engines.append(connect(spec or make_spec(), chosen, tmp_path))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()
