"""Builds from several teachers: scripted servers with their own acceptance and price."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.build.pilot import run_pilot
from factory.core import journal
from factory.core.errors import EngineError, RecipeError
from factory.core.run_dir import RunDir, read_manifest, sample_parts
from factory.judging.funnel import Funnel, load_funnel
from factory.recipe.build import load_recipe
from factory.report.tables import print_funnel
from factory.sampling import teachers
from tests.fake_server import Body, FakeServer

PROMPTS = 30
PRICES = {"small": 0.2, "large": 2.0}


def read_number(body: Body) -> int:
    found = re.search(r"(\d+) \+", body["messages"][-1]["content"])
    assert found is not None
    return int(found[1])


def solve(body: Body) -> str:
    return f"<think>\nThat is easy.\n</think>\n\n\\boxed{{{2 * read_number(body)}}}"


def solve_even(body: Body) -> str:
    """The right answer for even numbers, a wrong one for the others."""
    return solve(body) if read_number(body) % 2 == 0 else "<think>\nHm.\n</think>\n\n\\boxed{7}"


def fail(body: Body) -> str:
    return "<think>\nHm.\n</think>\n\n\\boxed{-1}"


Answers = dict[str, Callable[[Body], str]]
Start = Callable[[Answers], Path]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server per teacher, and writes a recipe that asks them."""
    with ExitStack() as stack:

        def begin(answers: Answers) -> Path:
            servers = {
                name: stack.enter_context(FakeServer(model=name, answer=answer))
                for name, answer in answers.items()
            }
            return write_recipe(tmp_path, {name: one.url for name, one in servers.items()})

        yield begin


def write_recipe(folder: Path, urls: dict[str, str], **sampling: Any) -> Path:
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"kind": "files", "path": "rows.jsonl", "language": "en", "verifier": {"kind": "math"}}
    engines = {
        name: {
            "kind": "server",
            "server": {"urls": [url], "api": "chat", "max_concurrency": 2, "lost_after_s": 5},
        }
        for name, url in urls.items()
    }
    chosen: list[dict[str, Any]] = [
        {"name": name, "model": name, "engine": engine, "prices": {"per_million_tokens": price}}
        for (name, engine), price in zip(engines.items(), PRICES.values(), strict=True)
    ]
    first = chosen[0]
    recipe = {
        "name": "two",
        "model": first.pop("model"),
        "engine": first.pop("engine"),
        "sources": [source],
        "prompting": {"template": "chat"},
        "sampling": {
            "policy": "until",
            "n": 8,
            "accept": 1,
            "wave": 1,
            "give_up_after": 4,
            "max_tokens": 64,
            "teachers": chosen,
        }
        | sampling,
        "filters": {"format": {}, "correctness": {}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def counts(funnel: Funnel) -> dict[str, tuple[int, int]]:
    return {one.name: (one.drawn.samples, one.kept.samples) for one in funnel.by_teacher}


def test_hard_prompts_move_on_to_the_teacher_that_solves_them(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = load_recipe(start({"small": solve_even, "large": solve})), tmp_path / "run"
    funnel = build(recipe, run, Console(quiet=True))
    drawn = counts(funnel)
    assert drawn["small"][1] + drawn["large"][1] == funnel.kept.samples >= PROMPTS
    assert funnel.by_source["rows"].covered == PROMPTS
    assert drawn["large"][1] == drawn["large"][0] >= PROMPTS // 2
    assert drawn["small"][1] >= 5, "it solved most of the prompts that it can"
    assert load_funnel(run).by_teacher == funnel.by_teacher
    tokens = {one.name: one.drawn.tokens for one in funnel.by_teacher}
    for one in funnel.by_teacher:
        assert one.price == pytest.approx(tokens[one.name] * PRICES[one.name] / 1e6)
    # Every row says whose it is.
    rows = pl.read_parquet(run / "corpus" / "*.parquet")
    named = [json.loads(text)["teacher"] for text in rows["sampling"]]
    assert named == rows["model"].to_list()
    assert set(named) == {"small", "large"}
    print_funnel("two", funnel, Console(width=120))
    assert re.search(r"large +\d+ +\d+ +100\.0%", capsys.readouterr().out)
    assert "Price per accepted sample" in (run / "report.html").read_text()


@pytest.mark.parametrize("useless", ["small", "large"])
def test_a_useless_teacher_is_left(start: Start, tmp_path: Path, useless: str) -> None:
    answers: Answers = {"small": solve, "large": solve} | {useless: fail}
    funnel = build(load_recipe(start(answers)), tmp_path / "run", Console(quiet=True))
    drawn = counts(funnel)
    assert funnel.by_source["rows"].covered == PROMPTS
    assert drawn[useless][1] == 0
    assert drawn[useless][0] < (PROMPTS if useless == "large" else 3 * PROMPTS)


class Killed(Exception):
    """The process ends here."""


def test_a_build_that_is_killed_goes_on_with_what_it_knew(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = load_recipe(start({"small": fail, "large": solve})), tmp_path / "run"
    append, left = RunDir.append, [45]

    def die(self: RunDir, sample: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed
        append(self, sample)

    monkeypatch.setattr(RunDir, "append", die)
    with pytest.raises(Killed):
        build(recipe, run, Console(quiet=True))
    monkeypatch.setattr(RunDir, "append", append)
    monkeypatch.setattr(journal, "SEAL_ROWS", 8)
    before = pl.concat([pl.read_parquet(part) for part in sample_parts(run)])
    funnel = build(recipe, run, Console(quiet=True))
    after = pl.concat([pl.read_parquet(part) for part in sample_parts(run)])
    ids = ["prompt_id", "index"]
    assert after.select(ids).n_unique() == after.height
    assert before.join(after, on=[*ids, "text", "model"], how="anti").is_empty()
    assert funnel.by_source["rows"].covered == PROMPTS
    new = after.join(before, on=ids, how="anti")["model"].to_list()
    # It knows from the samples so far that the small one is useless.
    assert new.count("small") < new.count("large")


def test_a_lost_teacher_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    with FakeServer(model="small", answer=solve_even) as small:
        with FakeServer(model="large", answer=solve) as large:
            urls = {"small": small.url, "large": large.url}
        path = write_recipe(tmp_path, urls)
        recipe = load_recipe(path, ["sampling.teachers.1.engine.server.lost_after_s=0.5"])
        with pytest.raises(EngineError, match=re.escape(urls["large"])):
            build(recipe, tmp_path / "run", Console(quiet=True))


def test_a_batch_that_somebody_else_answers_ends_no_other_teachers_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files alone: the build ends once the server has answered what it was asked."""
    monkeypatch.setattr(teachers, "BATCH_EVERY_S", 0.0)
    batch = {"kind": "batch", "server": {"api": "chat"}, "batch": {"poll_s": 0.01, "fill_s": 0.0}}
    run, quiet = tmp_path / "run", Console(quiet=True)
    with FakeServer(model="small", answer=solve_even) as small:
        path = write_recipe(tmp_path, {"small": small.url, "large": "http://unused:1"})
        recipe = load_recipe(path, [f"sampling.teachers.1.engine={json.dumps(batch)}"])
        with pytest.raises(EngineError, match="without results yet"):
            build(recipe, run, quiet)
        drawn = pl.concat([pl.read_parquet(part) for part in sample_parts(run)])
        lines = [
            json.loads(line)
            for file in (run / "batches").glob("*.requests.jsonl")
            for line in file.read_text().splitlines()
        ]
        asked = {str(line["custom_id"]).split("-")[0] for line in lines}
        assert len(set(drawn["prompt_id"]) | asked) == PROMPTS
        assert len(small.bodies) == drawn.height


def test_an_answer_that_waits_in_a_batch_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that goes on might choose another teacher for a sample: the answer is paid for."""
    monkeypatch.setattr(teachers, "BATCH_EVERY_S", 0.0)
    batch = {"kind": "batch", "server": {"api": "chat"}, "batch": {"poll_s": 0.01, "fill_s": 0.0}}
    run, quiet = tmp_path / "run", Console(quiet=True)
    with FakeServer(model="small", answer=solve_even) as small:
        path = write_recipe(tmp_path, {"small": small.url, "large": "http://unused:1"})
        more = [
            f"sampling.teachers.1.engine={json.dumps(batch)}",
            # Dearer than its answers are worth: only a prompt that the other has given up.
            "sampling.teachers.1.prices.per_million_tokens=0.3",
        ]
        recipe = load_recipe(path, more)
        while read_manifest(run).get("state") != "done":
            with suppress(EngineError):  # it ends where it would wait
                build(recipe, run, quiet)
            answer_batches(run / "batches")
    rows = pl.concat([pl.read_parquet(part) for part in sample_parts(run)])
    used = set(rows.select(pl.format("{}-{}:{}", "prompt_id", "index", "params_fp")).to_series())
    asked = [name for file in batch_files(run / "batches") for name in read_ids(file)]
    assert len(asked) > 5
    assert set(asked) <= used
    assert len(set(asked)) == len(asked)


def batch_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.requests.jsonl"))


def read_ids(file: Path) -> list[str]:
    return [str(json.loads(line)["custom_id"]) for line in file.read_text().splitlines()]


def answer_batches(folder: Path) -> None:
    """Answer the requests that have no results yet, as vLLM's batch runner does."""
    for file in batch_files(folder):
        results = file.with_name(file.name.replace("requests", "results"))
        if results.exists():
            continue
        lines = []
        for line in file.read_text().splitlines():
            asked = json.loads(line)
            message = {"role": "assistant", "content": solve(asked["body"])}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            body = {"model": "large", "choices": [choice], "usage": usage}
            response = {"status_code": 200, "body": body}
            lines.append(json.dumps({"custom_id": asked["custom_id"], "response": response}))
        results.write_text("".join(line + "\n" for line in lines))


MISTAKES = [
    ({"policy": "fixed", "accept": None, "give_up_after": None}, "teachers need `policy: until`"),
    ({"escalate": [{"temperature": 1.0}]}, "give a teacher the settings"),
    ({"prices": {"per_million_tokens": 1.0}}, "prices stand with the teachers"),
    ({"teachers": [{"name": "a", "prices": {"per_million_tokens": 1}}]}, "name at least two"),
    (
        {"teachers": [{"name": "a", "prices": {"per_million_tokens": n}} for n in (1, 2)]},
        "the name a is there twice",
    ),
    (
        {"teachers": [{"name": a, "prices": {"per_million_tokens": 1}} for a in "ab"]},
        "draws the same samples as a",
    ),
    ({"teachers": [{"name": "a", "prices": {}}] * 2}, "per_million_tokens is missing"),
    (
        {
            "teachers": [
                {"name": "a", "prices": {"per_million_tokens": 1}},
                {
                    "name": "b",
                    "engine": {"kind": "vllm"},
                    "temperature": 1,
                    "prices": {"per_million_tokens": 1},
                },
            ]
        },
        "must be one of batch, replay, server",
    ),
]


@pytest.mark.parametrize(("change", "why"), MISTAKES, ids=lambda value: str(value)[:30])
def test_what_does_not_fit_is_named(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    urls = {"small": "http://a:1", "large": "http://b:1"}
    with pytest.raises(RecipeError, match=re.escape(why)):
        load_recipe(write_recipe(tmp_path, urls, **change))


def test_a_pilot_says_that_it_cannot_forecast_a_choice(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, {"small": "http://a:1", "large": "http://b:1"}))
    with pytest.raises(RecipeError, match="leave out --pilot"):
        list(run_pilot(recipe, tmp_path / "run", 4, Console(quiet=True)))


def test_prices_change_no_fingerprint(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, {"small": "http://a:1", "large": "http://b:1"})
    dearer = ["sampling.teachers.0.prices.per_million_tokens=5"]
    assert load_recipe(path).fingerprint() == load_recipe(path, dearer).fingerprint()
    warmer = ["sampling.teachers.1.temperature=1.0"]
    assert load_recipe(path).fingerprint() != load_recipe(path, warmer).fingerprint()
