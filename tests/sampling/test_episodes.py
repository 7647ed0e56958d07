"""Episodes through the real loop, environments and run directory; the model is a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError, QuotaError
from factory.core.files import read_lines
from factory.core.nouns import Failure, Message, Prompt, Sample, Turn
from factory.core.run_dir import RunDir
from factory.environments.host import EnvironmentHost, StepLimits
from factory.recipe.build import load_recipe
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Request, Worker
from factory.sampling.engines.replica_pool import ReplicaPool
from factory.sampling.episodes import EpisodeEngine
from factory.sampling.turn_log import FILE, TurnLog
from tests.episodes import read_samples, roles, write_recipe
from tests.sampling import test_replicas
from tests.sampling.conftest import make_spec

HOSTILE = Path(__file__).parents[1] / "environments" / "hostile.py"
PROMPT = Prompt(
    "test",
    "math",
    (Message(role="user", content="What is 2 + 3?"),),
    environment={"kind": "calculator"},
)

pytestmark = pytest.mark.usefixtures("trusted_code")


def run_recipe(recipe: Path, run: Path) -> None:
    build(load_recipe(recipe), run, Console(quiet=True))


class Script:
    """An engine that answers each request by a function of the assistant turns so far."""

    capacity = 2

    def __init__(self, write: Any) -> None:
        self.write = write
        self.asked: list[Request] = []
        self.held = 0
        self._waiting: deque[Request] = deque()
        self._aborted: set[str] = set()

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        while len(self._waiting) > self.held:
            request = self._waiting.popleft()
            number = sum(turn.role == "assistant" for turn in request.turns or ())
            answer = self.write(request, number)
            if isinstance(answer, Failure):
                yield answer
                continue
            reason = "abort" if request.sample_id in self._aborted else "stop"
            text = f"{answer}"
            yield Sample(
                request.prompt.id, request.index, text, "asked", reason, 10, 5, "m", "fp", number
            )

    def abort(self, sample_ids: Iterable[str]) -> None:
        self._aborted |= set(sample_ids)

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()


@pytest.mark.parametrize("lifetimes", [(), (1, 2)], ids=["all live", "some die"])
def test_episodes_are_played_on_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifetimes: tuple[int, ...]
) -> None:
    """Turns of one episode go to any replica; those of one that died go to another."""

    def answer(request: Request, reason: Any = "stop") -> Sample:
        spoken = any(turn.role == "assistant" for turn in request.turns or ())
        text = "It is \\boxed{5}." if spoken else calls()
        return Sample(request.prompt.id, request.index, text, "", reason, 1, 1, "m", "fp", 0)

    monkeypatch.setattr(test_replicas, "sample", answer)
    pool = ReplicaPool(test_replicas.Room(lifetimes=lifetimes), make_spec(), tmp_path, 1)
    played = play(tmp_path, pool, requests=[Request(PROMPT, index) for index in range(12)])
    assert sorted(one.index for one in played) == list(range(12))
    for one in played:
        assert isinstance(one, Sample)
        assert roles(one) == ["tools", "assistant", "tool", "assistant", "end"]


def calls(expression: str = "2 + 3") -> str:
    call = {"name": "calculate", "arguments": {"expression": expression}}
    return f"<tool_call>{json.dumps(call)}</tool_call>"


def play(
    folder: Path,
    script: Any,
    sampling: Sampling | None = None,
    requests: Iterable[Request] = (Request(PROMPT, 0),),
    then: Any = None,
) -> list[Sample | Failure]:
    """Play requests to the end; `then` is called with the engine between two steps."""
    log = TurnLog(folder, ())
    notes: list[tuple[str, Any]] = []
    host = EnvironmentHost(StepLimits())
    options = sampling or Sampling()
    engine = EpisodeEngine(script, host, log, options, lambda kind, **f: notes.append((kind, f)))
    outcomes: list[Sample | Failure] = []
    try:
        waiting = list(requests)
        for request in waiting:
            engine.submit(request)
        while len(outcomes) < len(waiting):
            outcomes += engine.completed()
            if then is not None:
                then(engine)
    finally:
        engine.close()
        log.close()
    return outcomes


def test_a_build_plays_episodes_and_counts_tokens_once(tmp_path: Path) -> None:
    run_recipe(write_recipe(tmp_path), tmp_path / "run")
    samples = read_samples(tmp_path / "run")
    assert len(samples) == 12
    for sample in samples.values():
        assert roles(sample) == ["tools", "assistant", "tool", "assistant", "end"]
        assert sample.turns is not None
        assert sample.n_tokens == sum(turn.n_tokens for turn in sample.turns) == 19
        assert sample.text == sample.turns[-2].text
        assert sample.finish_reason == "stop"
    assert not (tmp_path / "run" / "samples" / FILE).exists()
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    assert rows.height == 6  # two samples of a prompt are the same
    row = rows.row(0, named=True)
    shown = [(m["role"], m["content"], m["tool_calls"]) for m in row["messages"]]
    assert [role for role, _, _ in shown] == ["user", "assistant", "tool", "assistant"]
    (called,) = shown[1][2]
    expression = json.loads(called["function"]["arguments"])["expression"]
    assert expression in row["messages"][0]["content"]
    assert called["id"] == row["messages"][2]["tool_call_id"]
    assert shown[3][1].endswith(f"\\boxed{{{shown[2][1]}}}.")
    assert [tool["function"]["name"] for tool in json.loads(row["tools"])] == ["calculate"]


def test_a_run_without_episodes_has_no_new_column(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, environment="null", filters="{}")
    run_recipe(recipe, tmp_path / "run")
    (part,) = (tmp_path / "run" / "samples").glob("part-*.parquet")
    assert "turns" not in pl.read_parquet_schema(part)
    (shard,) = (tmp_path / "run" / "corpus").glob("*.parquet")
    assert "tools" not in pl.read_parquet_schema(shard)


SLOW = """
import time
from factory.environments.calculator import Calculator

class Slow(Calculator):
    replayable = {replayable}

    def calculate(self, expression: str) -> str:
        time.sleep({seconds})
        return super().calculate(expression)
"""


def slow_recipe(folder: Path, *, replayable: bool, seconds: float) -> Path:
    text = SLOW.format(replayable=replayable, seconds=seconds)
    (folder / "slow.py").write_text(text, encoding="utf-8")
    return write_recipe(folder, 12, environment="{class: slow.py:Slow}")


@pytest.mark.parametrize("replayable", [True, False])
def test_a_build_killed_between_turns_continues(tmp_path: Path, replayable: bool) -> None:
    recipe = slow_recipe(tmp_path, replayable=replayable, seconds=30.0)
    run, log = tmp_path / "run", tmp_path / "run" / "samples" / FILE
    command = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--run", str(run)]
    building = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not log.exists() or log.read_bytes().count(b"\n") < 48:  # tools and a call of each
        assert building.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(building.pid, signal.SIGKILL)
    building.wait()
    slow_recipe(tmp_path, replayable=replayable, seconds=0.0)
    run_recipe(recipe, run)
    whole = tmp_path / "whole"
    run_recipe(recipe, whole)
    assert read_samples(run) == read_samples(whole)
    again = [e for e in read_lines(run / "events.jsonl") if e["event"] == "episode_restarted"]
    assert len(again) == (0 if replayable else 24)
    first, second = (pl.read_parquet(folder / "corpus" / "*.parquet") for folder in (run, whole))
    assert first.equals(second)
    # Beyond the sealed samples nothing is left of the episodes.
    assert not log.exists()


def test_replay_plays_the_recorded_turns_again(tmp_path: Path) -> None:
    recorded, again = tmp_path / "recorded", tmp_path / "again"
    run_recipe(write_recipe(tmp_path), recorded)
    replay = write_recipe(
        tmp_path, engine=f"{{kind: replay, replay: '{recorded}'}}", name="replay.yaml"
    )
    run_recipe(replay, again)
    assert read_samples(again) == read_samples(recorded)


def test_replay_refuses_turns_that_do_not_fit(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    recipe = slow_recipe(tmp_path, replayable=True, seconds=0.0)
    run_recipe(recipe, recorded)
    text = (tmp_path / "slow.py").read_text(encoding="utf-8")
    (tmp_path / "slow.py").write_text(
        text.replace("return super().calculate(expression)", 'return "another"'), encoding="utf-8"
    )
    replay = write_recipe(
        tmp_path,
        12,
        engine=f"{{kind: replay, replay: '{recorded}'}}",
        environment="{class: slow.py:Slow}",
        name="replay.yaml",
    )
    with pytest.raises(Exception, match="do not fit"):
        run_recipe(replay, tmp_path / "again")


def test_limits_end_an_episode(tmp_path: Path) -> None:
    forever = Script(lambda request, number: calls(f"{number} + 1"))
    (sample,) = play(tmp_path, forever, Sampling.model_validate({"episode": {"max_turns": 3}}))
    assert isinstance(sample, Sample)
    assert (sample.finish_reason, roles(sample).count("assistant")) == ("max_turns", 3)
    (sample,) = play(tmp_path, forever, Sampling.model_validate({"episode": {"max_tokens": 25}}))
    assert isinstance(sample, Sample)
    assert (sample.finish_reason, sample.n_tokens) == ("length", 30)
    assert [request.max_tokens for request in forever.asked[-3:]] == [25, 15, 5]


def test_a_context_that_is_full_ends_an_episode(tmp_path: Path) -> None:
    def write(request: Request, number: int) -> Any:
        if number < 2:
            return calls(f"{number} + 1")
        return Failure(request.prompt.id, request.index, "prompt_too_long", "full", False)

    (sample,) = play(tmp_path, Script(write))
    assert isinstance(sample, Sample)
    assert (sample.finish_reason, roles(sample).count("assistant")) == ("length", 2)


def test_a_failed_turn_is_drawn_again_and_the_others_are_not(tmp_path: Path) -> None:
    failing = [True]

    def write(request: Request, number: int) -> Any:
        if number == 1 and failing:
            failing.clear()
            return Failure(request.prompt.id, request.index, "timeout", "late", retryable=True)
        return "It is 5." if number == 1 else calls()

    script = Script(write)
    log = TurnLog(tmp_path, ())
    host = EnvironmentHost(StepLimits())
    engine = EpisodeEngine(script, host, log, Sampling(), lambda kind, **fields: None)
    outcomes: list[Sample | Failure] = []
    for _ in range(2):
        engine.submit(Request(PROMPT, 0))
        before = len(outcomes)
        while len(outcomes) == before:
            outcomes += engine.completed()
    engine.close()
    log.close()
    failure, sample = outcomes
    assert isinstance(failure, Failure)
    assert isinstance(sample, Sample)
    drawn = [sum(turn.role == "assistant" for turn in r.turns or ()) for r in script.asked]
    assert drawn == [0, 1, 1]


def test_an_episode_is_not_continued_by_another_teacher(tmp_path: Path) -> None:
    """A killed run has its first turn. The next process may choose another teacher for it."""
    notes: list[dict[str, Any]] = []

    def begin(write: Any) -> tuple[Script, EpisodeEngine, TurnLog]:
        script, log = Script(write), TurnLog(tmp_path, ())
        engine = EpisodeEngine(
            script,
            EnvironmentHost(StepLimits()),
            log,
            Sampling(),
            lambda kind, **fields: notes.append({"kind": kind, **fields}),
            lambda request: ("fp", "other")[request.level],  # the script's own is "fp"
        )
        return script, engine, log

    late = Failure(PROMPT.id, 0, "timeout", "late", retryable=True)
    asked = []
    for level in (0, 0, 1):
        script, engine, log = begin(lambda _, number: late if number else calls())
        engine.submit(Request(PROMPT, 0, level))
        while not list(engine.completed()):
            pass
        engine.close()
        log.close()
        asked.append([sum(t.role == "assistant" for t in r.turns or ()) for r in script.asked])
    assert asked == [[0, 1], [1], [0, 1]]
    assert [(one["kind"], one["why"]) for one in notes] == [
        ("episode_restarted", "another teacher draws its sample now")
    ]


def test_malformed_and_unknown_calls_are_observed(tmp_path: Path) -> None:
    texts = ["<tool_call>{broken</tool_call>", '<tool_call>{"name": "fly", "arguments": {}}'
             "</tool_call>", "<think>no more</think>It is 5."]  # fmt: skip
    (sample,) = play(tmp_path, Script(lambda request, number: texts[number]))
    assert isinstance(sample, Sample)
    assert sample.turns is not None
    shown = [turn.text for turn in sample.turns if turn.role == "tool"]
    assert shown[0].startswith("error: the call cannot be read: ")
    assert shown[1] == "error: there is no tool 'fly'; the tools are calculate"
    assert sample.text == texts[2]


def test_two_calls_in_one_turn_are_answered_in_order(tmp_path: Path) -> None:
    texts = [calls("1 + 1") + calls("2 + 2"), "2 and 4"]
    (sample,) = play(tmp_path, Script(lambda request, number: texts[number]))
    assert isinstance(sample, Sample)
    assert sample.turns is not None
    shown = [(turn.text, turn.call_id) for turn in sample.turns if turn.role == "tool"]
    assert shown == [("2", "call_0_0"), ("4", "call_0_1")]


def test_an_environment_that_fails_ends_the_episode_undecided(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, 2, environment=f"{{class: '{HOSTILE}:Raises'}}")
    with pytest.raises(QuotaError, match="4 environment_failed"):
        run_recipe(recipe, tmp_path / "run")
    samples = read_samples(tmp_path / "run")
    assert {sample.finish_reason for sample in samples.values()} == {"environment"}
    assert all("no such luck" in s.turns[-1].text for s in samples.values() if s.turns)
    verdicts = pl.read_parquet(tmp_path / "run" / "verdicts" / "*.parquet")
    assert set(verdicts["decision"]) == {"undecided"}
    assert set(verdicts["reason"]) == {"environment_failed"}


def test_an_environment_that_never_begins_stops_the_run(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, 2, environment=f"{{class: '{HOSTILE}:FailsToReset'}}")
    with pytest.raises(EngineError, match="this prompt has no board"):
        run_recipe(recipe, tmp_path / "run")


@pytest.mark.parametrize("hears", [True, False], ids=["in time", "too late"])
def test_an_abort_ends_episodes_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hears: bool
) -> None:
    """A replica or a server may have finished the turn by the time that it hears of the abort."""
    script = Script(lambda request, number: calls())
    if not hears:
        monkeypatch.setattr(script, "abort", lambda names: None)
    script.held = 1  # keeps one request
    requests = [Request(PROMPT, index) for index in range(3)]
    names = [request.sample_id for request in requests]
    seen = [0]

    def then(engine: EpisodeEngine) -> None:
        seen[0] += 1
        if seen[0] == 20:
            engine.abort(names)
            script.held = 0

    limited = Sampling.model_validate({"episode": {"concurrency": 2, "max_turns": 1000}})
    outcomes = play(tmp_path, script, limited, requests, then)
    assert {o.sample_id for o in outcomes} == set(names)
    assert {o.finish_reason for o in outcomes if isinstance(o, Sample)} == {"abort"}


def test_a_waiting_environment_leaves_its_slot_to_others(tmp_path: Path) -> None:
    capacities = []
    script = Script(lambda request, number: "It is 5." if number else calls())
    requests = [Request(PROMPT, index) for index in range(6)]
    play(tmp_path, script, None, requests, lambda engine: capacities.append(engine.capacity))
    assert max(capacities) > script.capacity


def turn(number: int) -> Turn:
    return Turn(role="assistant", text=f"turn {number}", n_tokens=1, token_ids=(1, 2))


def test_the_log_keeps_what_is_unfinished(tmp_path: Path) -> None:
    log = TurnLog(tmp_path, ())
    for index in range(3):
        for number in range(2):
            log.append("p", index, number, turn(number), None)
    log.forget("p-1")
    log.close()
    again = TurnLog(tmp_path, ["p-2"])
    assert again.take("p-0")[0] == [turn(0), turn(1)]
    assert again.take("p-1") == again.take("p-2") == ([], None)
    again.forget("p-0")
    again.close()
    assert not (tmp_path / FILE).exists()


def test_a_damaged_record_costs_the_rest_of_its_episode(tmp_path: Path) -> None:
    log = TurnLog(tmp_path, ())
    for index in range(2):
        for number in range(3):
            log.append("p", index, number, turn(number), None)
    log.close()
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"turn 1", b"turn X")
    (tmp_path / FILE).write_bytes(b"".join(lines)[:-20])  # and a torn end
    again = TurnLog(tmp_path, ())
    assert again.damaged == 1
    assert again.take("p-0")[0] == [turn(0)]
    assert again.take("p-1")[0] == [turn(0), turn(1)]
    again.close()


def test_what_is_drawn_again_replaces_what_was(tmp_path: Path) -> None:
    log = TurnLog(tmp_path, ())
    log.append("p", 0, 0, turn(0), None)
    log.append("p", 0, 1, turn(1), None)
    log.forget("p-0")
    log.append("p", 0, 0, turn(7), None)
    again = TurnLog(tmp_path, ())  # as after a kill
    assert again.take("p-0")[0] == [turn(7)]
    again.close()
    log.close()


def test_parts_with_and_without_turns_are_read_together(tmp_path: Path) -> None:
    run_recipe(write_recipe(tmp_path, 3), tmp_path / "run")
    (name, sample), *_ = read_samples(tmp_path / "run").items()
    plain = Sample(sample.prompt_id, 5, "It is 5.", "asked", "stop", 3, 3, "m", "fp", 0)
    with RunDir(tmp_path / "run") as run:
        run.append(plain)
        run.save_manifest(state="running")
    run_recipe(write_recipe(tmp_path, 3), tmp_path / "run")
    verdicts = pl.read_parquet(tmp_path / "run" / "verdicts" / "*.parquet")
    assert verdicts.height == 7
    assert name in set(verdicts["sample_id"])
