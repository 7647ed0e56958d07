"""Batches: every request answered once, whatever the provider does and whoever is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError, RecipeError, RunError
from factory.core.files import read_lines
from factory.core.resources import recipe_path
from factory.core.run_dir import read_manifest
from factory.judging.funnel import load_funnel
from factory.recipe.build import Recipe, load_recipe
from tests.sampling.fake_batches import ANSWER, FakeBatches, Line, answer, error
from tests.sampling.test_server_loss import drawn

QUIET = Console(quiet=True)
PROMPTS, N = 6, 2
ALL = PROMPTS * N
FAST = {"poll_s": 0.01, "fill_s": 0.0}


def batch_recipe(folder: Path, url: str | None, *, n: int = N, **parts: Any) -> Recipe:
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = {"api": "chat", "lost_after_s": 0.3, **parts.pop("server", {})}
    if url is not None:
        server["urls"] = [url]
    settings = {**FAST, **parts.pop("batch", {})}
    recipe = {
        "name": "batches",
        "model": "fake",
        "sources": [
            {"kind": "files", "path": str(file), "language": "en", "verifier": {"kind": "math"}}
        ],
        "engine": {"kind": "batch", "server": server, "batch": settings},
        "sampling": {"n": n, "max_tokens": 64},
        "filters": {"format": {}},
        **parts,
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    return load_recipe(folder / "recipe.yaml")


def test_a_build_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cret")
    run = tmp_path / "run"
    with FakeBatches() as api:
        recipe = batch_recipe(
            tmp_path, api.url, server={"api_key_env": "A_KEY"}, batch={"max_requests": 5}
        )
        build(recipe, run, QUIET)
    found = drawn(run)
    assert len(found) == ALL
    assert set(found.values()) == {1}
    assert load_funnel(run).kept.samples == ALL
    assert [len(api.files[b["input_file_id"]].splitlines()) for b in api.batches.values()] == [
        5,
        5,
        2,
    ]
    lines = api.asked()
    assert {line["url"] for line in lines} == {"/v1/chat/completions"}
    assert {line["body"]["model"] for line in lines} == {"fake"}
    assert all("stream" not in line["body"] for line in lines)
    assert all(batch["completion_window"] == "24h" for batch in api.batches.values())
    assert api.keys == {"Bearer s3cret"}
    assert "s3cret" not in "".join(p.read_text() for p in (run / "batches").iterdir())


def test_a_later_build_takes_up_what_is_open_and_asks_nothing_twice(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with FakeBatches(looks=2) as api:
        recipe = batch_recipe(tmp_path, api.url, batch={"wait": False})
        with pytest.raises(EngineError, match="12 requests in 1 batches without results yet"):
            build(recipe, run, QUIET)
        assert not drawn_or_none(run)
        with pytest.raises(EngineError, match="Run the same command later"):
            build(recipe, run, QUIET)
        build(recipe, run, QUIET)
        assert len(api.batches) == 1
    assert len(drawn(run)) == ALL
    assert read_manifest(run)["state"] == "done"


def test_results_fetched_by_a_killed_build_are_not_asked_again(tmp_path: Path) -> None:
    """The results lie in the run directory, but no sample of them reached the journal."""
    run = tmp_path / "run"
    with FakeBatches() as api:
        recipe = batch_recipe(tmp_path, api.url)
        build(recipe, run, QUIET)
        for part in (run / "samples").iterdir():
            part.unlink()
        (run / "run.json").unlink()
        build(recipe, run, QUIET)
        assert len(api.batches) == 1
    assert len(drawn(run)) == ALL


def drawn_or_none(run: Path) -> bool:
    return any((run / "samples").glob("part-*.parquet"))


def test_an_expired_batch_is_asked_again_for_the_rest(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    def half(line: Line) -> Line | None:
        seen[line["custom_id"]] += 1
        return answer(line) if len(seen) % 2 or seen[line["custom_id"]] > 1 else None

    run = tmp_path / "run"
    with FakeBatches(solve=half, status="expired") as api:
        build(batch_recipe(tmp_path, api.url), run, QUIET)
        sizes = [len(api.files[b["input_file_id"]].splitlines()) for b in api.batches.values()]
    assert sizes == [ALL, ALL // 2]
    assert len(drawn(run)) == ALL
    assert read_manifest(run)["unanswered"] == 0


@pytest.mark.parametrize(
    ("result", "kept", "lasting"),
    [
        (lambda line: error(line, 400, "flagged by our moderation"), ALL - N, N),
        (lambda line: error(line, 500, "out of luck"), ALL - N, 0),
        (lambda line: error(line, 429, "slow down"), ALL - N, 0),
        (lambda line: {**answer(line), "response": None, "error": {"code": "x"}}, ALL - N, 0),
        (lambda line: {**answer(line), "response": {"status_code": "200"}}, ALL - N, 0),
        (lambda line: {**answer(line), "response": {"status_code": 200, "body": []}}, ALL - N, 0),
        (lambda line: {"custom_id": 7}, ALL - N, 0),
        (lambda line: {**answer(line), "custom_id": "another"}, ALL - N, 0),
        (lambda line: answer(line, "cut \ud800 off"), ALL, 0),
    ],
)
def test_a_bad_result_costs_its_sample_alone(
    result: Callable[[Line], Line], kept: int, lasting: int, tmp_path: Path
) -> None:
    def solve(line: Line) -> Line:
        return result(line) if "3 + 3" in str(line["body"]["messages"]) else answer(line)

    run = tmp_path / "run"
    with FakeBatches(solve=solve) as api:
        build(batch_recipe(tmp_path, api.url), run, QUIET)
        batches = len(api.batches)
    assert len(drawn(run)) == kept
    assert len(read_lines(run / "failures.jsonl")) == lasting
    assert read_manifest(run)["unanswered"] == ALL - kept - lasting
    assert batches == (1 if lasting or kept == ALL else 2)


def test_a_batch_of_which_nothing_is_answered_ends_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with FakeBatches(solve=lambda line: error(line, 400, "temperature is not supported")) as api:
        recipe = batch_recipe(tmp_path, api.url)
        with pytest.raises(EngineError, match=r"no request of batch 1.*temperature is not supp"):
            build(recipe, run, QUIET)
        assert not (run / "failures.jsonl").exists()  # nothing is given up
        api.solve = answer
        build(recipe, run, QUIET)
    assert len(drawn(run)) == ALL


def test_a_batch_that_fails_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    errors = [{"code": "invalid_model", "message": "no such model: fake", "line": 1}]
    run = tmp_path / "run"
    with (
        FakeBatches(status="failed", errors=errors) as api,
        pytest.raises(EngineError, match="invalid_model: no such model: fake"),
    ):
        build(batch_recipe(tmp_path, api.url), run, QUIET)


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    with FakeBatches(status="failed", errors=[{"code": "token_limit_exceeded"}]) as api:

        def fault(method: str, path: str) -> None:
            if len(api.batches) > 1:
                api.status = "completed"

        api.fault = fault
        build(batch_recipe(tmp_path, api.url), tmp_path / "run", QUIET)
        assert len(api.batches) >= 2
    assert len(drawn(tmp_path / "run")) == ALL


@pytest.mark.parametrize("lost", ["/files", "/batches"])
def test_a_lost_answer_starts_no_second_batch(lost: str, tmp_path: Path) -> None:
    done: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "POST" and path == lost and not done:
            done.append(path)
            return "lost"
        return None

    with FakeBatches(fault=fault) as api:
        build(batch_recipe(tmp_path, api.url, server={"lost_after_s": 20}), tmp_path / "run", QUIET)
        assert len(api.batches) == 1
    assert done
    assert len(drawn(tmp_path / "run")) == ALL


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "check engine.server.api_key_env"),
        (402, "no credit left"),
        (404, "does not handle batch 1"),
        (500, "HTTP 500"),
    ],
)
def test_an_api_that_does_not_work_ends_the_run(status: int, message: str, tmp_path: Path) -> None:
    with (
        FakeBatches(fault=lambda method, path: status) as api,
        pytest.raises(EngineError, match=message),
    ):
        build(batch_recipe(tmp_path, api.url), tmp_path / "run", QUIET)


def test_passing_faults_lose_nothing(tmp_path: Path) -> None:
    calls = Counter[str]()

    def fault(method: str, path: str) -> int | str | None:
        calls[path] += 1
        turns: tuple[int | str | None, ...] = (503, "lost", None)
        return turns[calls[path] % 3]  # of three calls one is answered

    with FakeBatches(fault=fault) as api:
        recipe = batch_recipe(
            tmp_path, api.url, server={"lost_after_s": 60}, batch={"max_requests": 3}
        )
        build(recipe, tmp_path / "run", QUIET)
        asked = Counter(line["custom_id"] for line in api.asked())
    assert set(asked.values()) == {1}
    assert len(drawn(tmp_path / "run")) == ALL


def test_until_stops_and_unwanted_batches_are_cancelled(tmp_path: Path) -> None:
    sampling = {"policy": "until", "n": 6, "accept": 1, "max_tokens": 64}
    with FakeBatches(solve=lambda line: answer(line, ANSWER)) as api:
        build(batch_recipe(tmp_path, api.url, sampling=sampling), tmp_path / "run", QUIET)
        asked = len(api.asked())
    assert asked < 6 * PROMPTS
    assert load_funnel(tmp_path / "run").kept.samples >= PROMPTS


# Files only --------------------------------------------------------------------------------------


def solve_files(run: Path) -> int:
    """Answer every request file that has no results, as another machine would."""
    solved = 0
    for requests in sorted((run / "batches").glob("*.requests.jsonl")):
        results = requests.with_name(requests.name.replace("requests", "results"))
        if not results.exists():
            lines = [json.loads(line) for line in requests.read_text().splitlines()]
            results.write_text("".join(json.dumps(answer(line)) + "\n" for line in lines))
            solved += len(lines)
    return solved


def test_without_a_url_files_are_written_and_taken_back(tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", batch_recipe(tmp_path, None)
    for _ in range(2):  # the second build writes nothing new
        with pytest.raises(EngineError, match=r"00001\.results\.jsonl for 00001\.requests\.jsonl"):
            build(recipe, run, QUIET)
    assert solve_files(run) == ALL
    build(recipe, run, QUIET)
    assert len(drawn(run)) == ALL
    (body,) = {json.dumps(sorted(line["body"])) for line in read_lines(first_requests(run))}
    assert "skip_special_tokens" in body  # vLLM's dialect


def first_requests(run: Path) -> Path:
    return run / "batches" / "00001.requests.jsonl"


def test_a_missing_request_file_is_named(tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", batch_recipe(tmp_path, None)
    with pytest.raises(EngineError):
        build(recipe, run, QUIET)
    first_requests(run).unlink()
    with pytest.raises(RunError, match=r"requests\.jsonl is missing.*remove .*00001\.json"):
        build(recipe, run, QUIET)
    (run / "batches" / "00001.json").write_text("{}")
    with pytest.raises(RunError, match=r"00001\.json is damaged"):
        build(recipe, run, QUIET)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": {"kind": "batch"}}, "and the key server: go together"),
        ({"engine": {"kind": "batch", "server": {}}}, "kind: batch needs server.api: chat"),
        (
            {
                "engine": {
                    "kind": "batch",
                    "server": {"api": "chat", "urls": ["http://a", "http://b"]},
                }
            },
            "takes one of server.urls",
        ),
        ({"engine": {"kind": "server", "server": {"api": "chat"}}}, "needs server.urls"),
        ({"engine": {"kind": "vllm", "batch": {}}}, "the key batch: needs kind: batch"),
        (
            {"sampling": {"n": 1, "max_tokens": 64, "early_stop": {"repetition": True}}},
            "early_stop",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        batch_recipe(tmp_path, None, **changes)


def test_settings_that_the_provider_cannot_apply_are_refused(tmp_path: Path) -> None:
    sampling = {"n": 1, "max_tokens": 64, "top_k": 40}
    with pytest.raises(RecipeError, match=r"sampling\.top_k is 40, which the server does not"):
        build(
            batch_recipe(tmp_path, "http://127.0.0.1:9", sampling=sampling), tmp_path / "run", QUIET
        )


def test_the_recipe_for_openai_speaks_its_dialect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    with FakeBatches(solve=lambda line: answer(line, "The answer is \\boxed{2}.")) as api:
        changes = [
            f"engine.server.urls=[{api.url!r}]",
            f"engine.batch={json.dumps(FAST)}",
            "sources=[{kind: files, path: prompts.jsonl, language: en, verifier: {kind: math}}]",
        ]
        batch_recipe(tmp_path, None)  # writes the prompts
        monkeypatch.chdir(tmp_path)
        build(load_recipe(recipe_path("batches/openai.yaml"), changes), tmp_path / "run", QUIET)
        bodies = [line["body"] for line in api.asked()]
    assert {body["max_completion_tokens"] for body in bodies} == {32768}
    assert not any("max_tokens" in body or "top_k" in body for body in bodies)


def test_the_recipe_for_files_has_vllms_settings(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path("batches/offline.yaml"))
    with pytest.raises(EngineError, match=r"run-batch"):
        build(recipe, tmp_path / "run", QUIET)
    assert all(line["body"]["top_k"] == 20 for line in read_lines(first_requests(tmp_path / "run")))
