"""Judging during sampling: it gets help while it is behind, and sampling waits for none of it."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.files import read_lines
from factory.core.nouns import Sample
from factory.core.run_dir import sample_parts
from factory.judging import background, verdicts
from factory.judging.funnel import load_funnel
from factory.judging.verdicts import all_filters
from factory.recipe.build import load_recipe
from factory.sampling import loop
from tests.fake_server import FakeServer
from tests.sampling.test_server_loss import PROMPTS, N, drawn, server_recipe

QUIET = Console(quiet=True)


@contextmanager
def seen_judges() -> Iterator[set[int | None]]:
    """The ids of all judging processes while the block runs."""
    seen: set[int | None] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            children = multiprocessing.active_children()
            seen.update(child.pid for child in children if child.name == "judge")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def measured_afterwards(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """How many parts each filter measured after sampling."""
    counts: list[dict[str, int]] = []
    measure = verdicts.measure_parts

    def counting(*args: object) -> dict[str, int]:
        counts.append(measure(*args))  # type: ignore[arg-type]
        return counts[-1]

    monkeypatch.setattr(verdicts, "measure_parts", counting)
    return counts


def test_a_judge_that_is_behind_gets_help_and_one_saves_for_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    measured_afterwards: list[dict[str, int]],
) -> None:
    run = tmp_path / "run"
    with FakeServer() as server:
        recipe = server_recipe(tmp_path, server.url)
        build(recipe, run, QUIET)
    rows = [row for part in sample_parts(run) for row in pq.read_table(part).to_pylist()]
    samples = [Sample(**row | {"created_at": 0}) for row in rows]
    shutil.rmtree(run / "metrics")
    monkeypatch.setattr(background, "BATCH", 2)
    monkeypatch.setattr(background, "BEHIND", 4)
    with seen_judges() as seen:
        prompts = pq.read_table(run / "prompts.parquet")
        numbers = {name: number for number, name in enumerate(prompts["id"].to_pylist())}
        judge = background.LiveJudge(run, prompts, most=2)
        for sample in samples:
            judge.put(sample, numbers[sample.prompt_id])
        for part in sample_parts(run):
            judge.notify_sealed(part.stem)
        judged = []
        while len(judged) < len(samples):
            judged += judge.collect(0.2)
        judge.close()
    assert len(seen) == 2
    assert {verdict.sample_id for verdict in judged} == {sample.sample_id for sample in samples}
    assert {verdict.decision for verdict in judged} == {"keep"}
    measured_afterwards.clear()
    verdicts.judge_run(run, all_filters(recipe), recipe.references)
    assert measured_afterwards == [{}]  # all of it was saved by the judges


@pytest.mark.parametrize("bound", ["MAX_UNJUDGED", "MAX_UNJUDGED_TEXT"])
def test_without_need_of_verdicts_what_is_too_much_is_judged_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    measured_afterwards: list[dict[str, int]],
    bound: str,
) -> None:
    monkeypatch.setattr(loop, bound, 4)
    run = tmp_path / "run"
    with FakeServer() as server:
        build(server_recipe(tmp_path, server.url), run, QUIET)
    assert load_funnel(run).kept.samples == len(drawn(run)) == N * PROMPTS
    (after,) = measured_afterwards
    assert after["format"] == len(sample_parts(run))


def test_a_policy_that_needs_verdicts_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_UNJUDGED", 4)
    run = tmp_path / "run"
    with FakeServer() as server:
        server_recipe(tmp_path, server.url)
        until = ["sampling={policy: until, n: 4, accept: 2, max_tokens: 64}"]
        build(load_recipe(tmp_path / "recipe.yaml", until), run, QUIET)
    assert load_funnel(run).kept.samples >= 2 * PROMPTS
    assert not [event for event in read_lines(run / "events.jsonl") if "judge" in event["event"]]
