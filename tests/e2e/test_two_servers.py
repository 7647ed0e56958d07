"""Two real vLLM servers on this machine, one of them killed mid-run and later back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.prompts.source import Source
from factory.recipe.build import Recipe
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engine import Request
from factory.sampling.engines.local_servers import ServerGroup, open_group
from factory.sampling.engines.server import connect
from tests.ports import free_ports

pytestmark = pytest.mark.real

PATIENCE_S = 400.0  # a loaded machine takes minutes to start a server; a quiet one half of one


def wait_for(condition: Callable[[], object], group: ServerGroup) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        group.poll()
        time.sleep(0.2)


def test_one_of_two_servers_is_killed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    recipe = Recipe.model_validate(
        {
            "name": "two-servers",
            "model": "demo",
            "sources": [Source.model_construct(kind="none")],
            "filters": {},
            "prompting": {"template": "few_shot", "prefill": "<think>\n"},
            "sampling": {"temperature": 0.7, "top_k": 50, "max_tokens": 48},
            "engine": {"args": {"max_num_seqs": 16, "max_model_len": 1024}},
        }
    )
    lines: list[str] = []
    group = open_group(recipe, 2, free_ports(2)[0], "127.0.0.1", tmp_path / "logs", lines.append)
    try:
        wait_for(lambda: len(group.ready) == 2, group)
        options = ServerOptions(urls=tuple(group.urls), max_concurrency=16, timeout_s=120)
        engine = connect(recipe.engine_spec, options, tmp_path)
        asked: list[str] = []
        outcomes: dict[str, Sample | Failure] = {}
        killed_at = 0  # samples of the first server when it was killed
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert time.monotonic() < deadline, f"standstill: {engine.workers()}, {lines}"
                group.poll()
                first = engine.workers()[0]
                is_back = killed_at and first.up and first.samples > killed_at + 4
                while not is_back and len(asked) - len(outcomes) < engine.capacity:
                    number = len(asked)
                    question = f"What is {number // 8} + {number // 8 % 7}?"
                    prompt = Prompt("tests", "math", (Message(role="user", content=question),))
                    request = Request(prompt, number % 8)
                    asked.append(request.sample_id)
                    engine.submit(request)
                for outcome in engine.completed():
                    assert outcome.sample_id not in outcomes
                    outcomes[outcome.sample_id] = outcome
                if not killed_at and first.samples >= 16:
                    (pid, _), killed_at = group.pids, first.samples
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                if is_back and len(outcomes) == len(asked):
                    break
            workers = engine.workers()
        finally:
            engine.close()
    finally:
        group.close()
    assert len(set(asked)) == len(asked)
    assert set(outcomes) == set(asked)
    drawn = [outcome for outcome in outcomes.values() if isinstance(outcome, Sample)]
    assert len(drawn) == len(asked)
    assert all(sample.text.startswith("<think>\n") and sample.n_tokens for sample in drawn)
    assert sum(worker.samples for worker in workers) == len(asked)
    assert sum("ready" in line for line in lines) == 3
