"""What dies in the background is replaced or ends the run; what had finished is kept."""

from __future__ import annotations

import ctypes
import io
import threading
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError, QuotaError, RunError
from factory.core.files import read_lines
from factory.core.run_dir import read_manifest, sample_parts
from factory.judging.background import LiveJudge, _Worker
from factory.judging.funnel import load_funnel
from factory.recipe.build import load_recipe
from tests.fake_server import FakeServer
from tests.recorded import prompts, recipe_file, record, sample
from tests.sampling.conftest import Connect, drive, make_requests, samples_of
from tests.sampling.test_server_faults import watch_until_the_end
from tests.sampling.test_server_loss import PROMPTS, N, drawn, server_recipe

QUIET = Console(quiet=True)


def kill_judges(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Kill the first `most` judging processes as they start. Returns their ids as they die."""
    killed: list[int] = []
    start = _Worker.start

    def start_and_kill(worker: _Worker) -> None:
        start(worker)
        if len(killed) < most:
            worker.process.kill()
            killed.append(worker.process.pid or 0)

    monkeypatch.setattr(_Worker, "start", start_and_kill)
    return killed


def events(run: Path, kind: str) -> list[str]:
    return [event.get("what") or event.get("why") for event in read_lines(run / "events.jsonl")
            if event["event"] == kind]  # fmt: skip


def test_a_killed_judge_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, killed = tmp_path / "run", kill_judges(monkeypatch, 1)
    with FakeServer() as server:
        build(server_recipe(tmp_path, server.url), run, QUIET)
    assert len(killed) == 1
    (notice,) = events(run, "judge")
    assert "killed by SIGKILL" in notice
    assert events(run, "judge_failed") == []
    assert len(drawn(run)) == N * PROMPTS
    assert load_funnel(run).kept.samples == N * PROMPTS


def test_a_judge_that_dies_again_is_reported_and_costs_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    kill_judges(monkeypatch, 2)
    with FakeServer() as server:
        build(server_recipe(tmp_path, server.url), run, QUIET)
    (why,) = events(run, "judge_failed")
    assert "as the one before it did" in why
    assert load_funnel(run).kept.samples == N * PROMPTS


def test_without_a_judge_no_policy_that_needs_verdicts_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    kill_judges(monkeypatch, 2)
    until = ["sampling={policy: until, n: 4, accept: 2, max_tokens: 64}"]
    with FakeServer() as server:
        server_recipe(tmp_path, server.url)
        recipe = load_recipe(tmp_path / "recipe.yaml", until)
        with pytest.raises(RunError, match="draws by verdicts"):
            build(recipe, run, QUIET)
        kept = set(drawn(run)) if sample_parts(run) else set()
        build(recipe, run, QUIET)
    assert kept <= set(drawn(run))  # what had finished was sealed
    assert read_manifest(run)["state"] == "done"
    assert load_funnel(run).kept.samples >= 2 * PROMPTS


def test_metrics_that_cannot_be_saved_end_no_judging(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = record(tmp_path, 1)
    recipe_file(run, run, 1)
    (run / "metrics").write_text("a file where a folder is expected")
    samples = [sample(prompt, 0) for prompt in prompts()]
    judge = LiveJudge(run, pq.read_table(run / "prompts.parquet"), most=1)
    judged: list[str] = []

    def wait_for_verdicts(count: int) -> None:
        while len(judged) < count:
            judged.extend(verdict.sample_id for verdict in judge.collect(60))

    try:
        for number, one in enumerate(samples):
            judge.put(one, number)
        wait_for_verdicts(len(samples))
        judge.notify_sealed("part-00000")
        for number, again in enumerate(samples[:2]):  # a notice is read with later verdicts
            judge.put(again, number)
            wait_for_verdicts(len(samples) + number + 1)
    finally:
        judge.close()
    (notice,) = judge.notices
    assert str(run / "metrics") in notice
    assert "measured again after sampling" in notice
    assert judge.error is None
    assert "Traceback" not in capfd.readouterr().err


def test_the_death_of_the_servers_thread_ends_the_run(connected: Connect) -> None:
    with FakeServer() as server:
        engine = connected(server.url)
        assert len(samples_of(drive(engine, make_requests(3)))) == 3
        (thread,) = [t for t in threading.enumerate() if t.name == "server-engine"]
        raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        assert raised == 1
        with pytest.raises(EngineError, match="the thread that talks to the servers died"):
            watch_until_the_end(engine)
        with pytest.raises(EngineError, match="the thread that talks to the servers died"):
            engine.submit(make_requests(1)[0])


def test_samples_without_the_reasoning_asked_for_are_reported_early(tmp_path: Path) -> None:
    run, said = tmp_path / "run", Console(record=True, file=io.StringIO(), width=999)
    with FakeServer(answer=lambda body: "The answer is \\boxed{2}.", delay_s=0.05) as server:
        recipe = server_recipe(tmp_path, server.url, api="chat", max_concurrency=4)
        with pytest.raises(QuotaError, match="80 no_think"):  # all of it is paid for by then
            build(recipe, run, said)
    text = said.export_text()
    assert text.count("NO REASONING: the first 32 samples have no think section") == 1
    assert "--reasoning-parser" in text
    kinds = [event["event"] for event in read_lines(run / "events.jsonl")]
    assert kinds.index("no_reasoning") < kinds.index("engine_stopped")


@pytest.mark.parametrize(
    ("answer", "filters"),
    [
        ("<think>\na\n</think>\n\n2", "{format: {}}"),
        ("2", "{format: {thinking: optional}}"),
        ("2", "{length: {}}"),
        ("<think>\nnever closed", "{format: {}}"),
    ],
)
def test_no_warning_where_none_is_due(answer: str, filters: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with FakeServer(answer=lambda body: answer) as server:
        server_recipe(tmp_path, server.url, api="chat")
        recipe = load_recipe(tmp_path / "recipe.yaml", ["filters=null", f"filters={filters}"])
        with suppress(QuotaError):  # what never closes its think section becomes no row
            build(recipe, run, QUIET)
    assert "no_reasoning" not in [event["event"] for event in read_lines(run / "events.jsonl")]
