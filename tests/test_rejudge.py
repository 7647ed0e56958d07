"""Judging again: what another verifier would change, and the change; over runs and logs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from factory.build.build import build
from factory.build.rejudge import NewVersion, rejudge_log, rejudge_run
from factory.cli import cli
from factory.core.errors import RunError, SourceError
from factory.core.files import read_lines
from factory.core.nouns import Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.judging.ledger import FOLDER, read_verdicts
from factory.judging.logs import read_log
from factory.judging.verdicts import load_verdicts
from factory.prompts.load import load_prompts
from factory.recipe.build import Recipe, load_recipe
from filters.verify.verifiers import verifier_version

QUIET = Console(quiet=True)
PROMPTS, N = 4, 4

VERIFIER = """
from filters.verify.own import Asked, OwnVerifier
from filters.verify.verification import Verification

NUMBERS = {words}

class Number(OwnVerifier):
    def verify(self, asked: Asked, response: str) -> Verification:
        answer = response.strip()
        answer = NUMBERS.get(answer, answer)
        return self.verdict("correct" if answer == asked.answer else "wrong", answer)
"""
"""A verifier that reads some numbers in words."""

OLD = VERIFIER.format(words={"naught": "6"})
NEW = VERIFIER.format(words={"two": "2", "four": "4"})


ANSWERS = (
    ("0", "none", "1", "many"),
    ("2", "two", "3", "many"),  # the second one only the new verifier can read
    ("4", "four", "5", "many"),
    ("6", "naught", "7", "many"),  # the second one the old verifier took for 6
)
"""The answers to each prompt, in the order in which they are drawn."""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of recorded answers, verified by a class in a file, which is trusted."""
    monkeypatch.setenv("FACTORY_TRUST_CODE", "1")
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "checks.py").write_text(OLD)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: again\nmodel: demo\nengine: {{kind: replay, replay: recorded}}\n"
        f"sources: [{{kind: files, path: sums.jsonl, name: sums, domain: math, language: en,\n"
        f"  verifier: {{class: checks.py:Number}}}}]\n"
        "prompting: {template: few_shot}\n"
        f"sampling: {{policy: until, n: {N}, accept: 2, wave: {N}}}\nselect: {{per_prompt: 9}}\n"
        "filters: {format: {}, correctness: {}}\n"
    )
    record(tmp_path, load_recipe(path))
    return path


def record(folder: Path, recipe: Recipe) -> None:
    """Record the answers to the prompts of a recipe, for its engine to replay."""
    prompts = load_prompts(recipe.sources).prompts
    recorded = folder / "recorded"
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for k, prompt in enumerate(prompts):
            for index, answer in enumerate(ANSWERS[k]):
                text = f"<think>\nwell\n</think>\n\n{answer}"
                run.append(Sample(prompt.id, index, text, "", "stop", 9, 9, "demo", "x", 0))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def states(run: Path) -> dict[str, str]:
    rows = load_verdicts(run).select("prompt_id", "index", "decision", "reason").collect()
    return {f"{p}-{i}": reason or decision for p, i, decision, reason in rows.iter_rows()}


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a file of code is read once in each."""
    command = [sys.executable, "-m", "factory.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_changed_verifier_is_shown_and_then_used(recipe: Path, tmp_path: Path) -> None:
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    build(load_recipe(recipe), run, QUIET)
    ids = {question: name for name, question in prompt_ids(run)}
    one, two, three = (ids[f"What is {k} + {k}?"] for k in (1, 2, 3))
    was = states(run)
    assert len(was) == 14  # of the last prompt two were enough
    (tmp_path / "checks.py").write_text(NEW)
    before = contents(run)
    estimate = run_cli("rejudge", str(run), "--estimate")
    assert estimate.returncode == 0, estimate.stderr
    assert "14 verdicts, 14 to give again (about " in estimate.stdout
    assert "verdicts    " not in estimate.stdout
    done = run_cli("rejudge", str(run), "--diff", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert contents(run) == before
    flips = {flip["id"]: (flip["was"], flip["now"]) for flip in found["flips"]}
    assert flips == {
        f"{one}-1": ("wrong", "correct"),
        f"{two}-1": ("wrong", "correct"),
        f"{three}-1": ("correct", "wrong"),
    }
    assert found["rows_in"] == sorted([f"{one}-1", f"{two}-1"])
    assert found["rows_out"] == [f"{three}-1"]
    assert found["rates"] == {one: [0.25, 0.5], two: [0.25, 0.5], three: [1.0, 0.5]}
    assert found["more"] == {three: 1}

    done = run_cli("rejudge", str(run))
    assert done.returncode == 0, done.stderr
    rows = [row for file in (run / FOLDER).glob("*.jsonl") for row in read_lines(file)]
    assert Counter(row["sample_id"] for row in rows) == dict.fromkeys(was, 1)
    again = run_cli("rejudge", str(run), "--diff", "--json")
    assert json.loads(again.stdout)["again"] == 0
    built = run_cli("build", str(recipe), "--run", str(fresh))
    assert built.returncode == 0, built.stderr
    now = states(fresh)
    assert {name: now[name] for name in was if name in now} == {
        name: state for name, state in states(run).items() if name in now
    }


def prompt_ids(run: Path) -> list[tuple[str, str]]:
    rows = pl.read_parquet(run / "prompts.parquet").select("id", "messages").to_dicts()
    return [(row["id"], row["messages"][-1]["content"]) for row in rows]


def test_a_class_of_ones_own_can_be_tried_on_a_run(recipe: Path, tmp_path: Path) -> None:
    """Prompts with a shipped verifier, asked about by a class in a file."""
    run = tmp_path / "run"
    fixed = [
        "sources=[{kind: files, path: " + str(tmp_path / "sums.jsonl") + ", name: sums, "
        "domain: math, language: en, verifier: {kind: math}}]",
        f"sampling={{n: {N}}}",
    ]
    loaded = load_recipe(recipe, fixed)
    shutil.rmtree(tmp_path / "recorded")
    record(tmp_path, loaded)
    build(loaded, run, QUIET)
    words = {"two": "2", "four": "4", "many": "2"}
    (tmp_path / "tried.py").write_text(VERIFIER.format(words=words))
    version = NewVersion.read(f"{tmp_path / 'tried.py'}:Number")
    before = contents(run)
    found = rejudge_run(loaded, run, version, QUIET, diff=True)
    assert contents(run) == before
    assert found.again == 16
    assert [(flip.was, flip.now) for flip in found.flips] == [("wrong", "correct")]  # "many"
    with pytest.raises(RunError, match="only --diff is possible"):
        rejudge_run(loaded, run, version, QUIET, diff=False)


def test_versions_that_are_not_here_are_named(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"this r1-factory has {verifier_version('math')}"):
        NewVersion.read("math-9999")
    with pytest.raises(RunError, match="names no version"):
        NewVersion.read("maths-1")
    with pytest.raises(RunError, match="cannot be read"):
        NewVersion.read(f"{tmp_path}/nowhere.py:Mine")
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    with pytest.raises(RunError, match="derive it from that class"):
        NewVersion.read(f"{tmp_path}/mine.py:Mine")
    assert NewVersion.read(verifier_version("math")).kind == "math"
    run = tmp_path / "run"
    build(load_recipe(recipe), run, QUIET)
    other = run_cli("rejudge", str(run), "--with-version", verifier_version("math"), "--estimate")
    assert "0 to give again" in other.stdout
    refused = CliRunner().invoke(cli, ["rejudge", str(tmp_path / "sums.jsonl"), "--diff"])
    assert isinstance(refused.exception, SourceError)


GYM: dict[str, Any] = {
    "responses_create_params": {
        "input": [{"role": "user", "content": "What is 2 + 2?", "type": "message"}],
        "tools": [],
        "parallel_tool_calls": True,
    },
    "response": {
        "id": "resp_1",
        "created_at": 1773381249.0,
        "model": "demo",
        "object": "response",
        "output": [
            {
                "id": "msg_1",
                "content": [
                    {"annotations": [], "text": "It is \\boxed{4}.", "type": "output_text"}
                ],
                "role": "assistant",
                "status": "completed",
                "type": "message",
            }
        ],
        "usage": {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18},
    },
    "reward": 0.0,
    "question": "What is 2 + 2?",
    "expected_answer": "4",
    "_ng_task_index": 7,
    "_ng_rollout_index": 1,
}
"""The shape of math_with_judge's rollouts, as published with NeMo Gym; fewer of the null fields."""

TRACE: dict[str, Any] = {
    "version": 1,
    "id": "3f2a",
    "verifiers": {"version": "0.4.0"},
    "task": {"type": "Sums", "data": {"idx": 3, "answer": "4"}, "key": "sums-3", "hash": "ab"},
    "agent": {"config": {}, "name": "agent", "trainable": True},
    "tools": [],
    "nodes": [
        {"message": {"role": "user", "content": "What is 2 + 2?"}, "sampled": False},
        {
            "parent": 0,
            "message": {"role": "assistant", "content": "\\boxed{5}", "reasoning_content": "hm"},
            "sampled": True,
            "finish_reason": "stop",
        },
    ],
    "calls": [],
    "rewards": {"correct": {"score": 1.0, "weight": 1.0}},
    "metrics": {},
    "is_completed": True,
    "ok": True,
    "errors": [],
}
"""The shape of a trace of verifiers 0.4; token ids and timing left out."""

EVALUATION: dict[str, Any] = {
    "example_id": 0,
    "prompt": [{"role": "user", "content": "What is 2 + 2?"}],
    "completion": [{"role": "assistant", "content": "\\boxed{4}"}],
    "answer": "4",
    "task": "default",
    "reward": 1.0,
    "info": {},
    "metrics": {},
}

BATCH: dict[str, Any] = {
    "id": "batch_req_1",
    "custom_id": "q/1",
    "response": {
        "status_code": 200,
        "request_id": "r",
        "body": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}}]},
    },
    "error": None,
}


def changed(row: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**row, **keys}


def gym_output(*items: dict[str, Any]) -> dict[str, Any]:
    return changed(GYM, response={**GYM["response"], "output": list(items)})


SAID = GYM["response"]["output"][0]
CALL = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
THOUGHT = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]}

ROWS: list[tuple[dict[str, Any], tuple[str, str, str | None, float | None]]] = [
    # a row; its id, the kind that verifies it, the response that is judged, the reward as recorded
    (GYM, ("7-1", "math", "It is \\boxed{4}.", 0.0)),
    (gym_output(THOUGHT, SAID), ("7-1", "math", "It is \\boxed{4}.", 0.0)),
    (gym_output(SAID, CALL, {"type": "function_call_output", "output": "x"}),
     ("7-1", "math", "", 0.0)),
    (changed(GYM, options=[{"A": "3"}, {"B": "4"}], expected_answer="B"),
     ("7-1", "choice", "It is \\boxed{4}.", 0.0)),
    (changed(GYM, expected_answer=None,
             verifier_metadata={"unit_tests": {"inputs": ["1"], "outputs": ["2"]}}),
     ("7-1", "code", "It is \\boxed{4}.", 0.0)),
    (changed(GYM, expected_answer=None, answer="4", metadata={"source_dataset": "chain_sum"}),
     ("7-1", "gym", "It is \\boxed{4}.", 0.0)),
    (TRACE, ("3f2a", "math", "\\boxed{5}", 1.0)),
    (changed(TRACE, rewards={"correct": {"score": 1.0, "weight": 0.5}, "style": None}),
     ("3f2a", "math", "\\boxed{5}", 0.5)),
    (changed(TRACE, ok=False, errors=[{"type": "E", "message": "m"}]),
     ("3f2a", "math", "\\boxed{5}", None)),
    (changed(TRACE, root_reply="\\boxed{4}"), ("3f2a", "math", "\\boxed{4}", 1.0)),
    (EVALUATION, ("0-1", "math", "\\boxed{4}", 1.0)),
    (changed(EVALUATION, completion="so 4"), ("0-1", "math", "so 4", 1.0)),
    (changed(EVALUATION, answer="", info='{"verifier": {"kind": "text", "answer": "Oslo"}}'),
     ("0-1", "text", "\\boxed{4}", 1.0)),
    ({"id": 5, "kind": "choice", "choices": {"A": "x", "B": "y"}, "reference": "B", "text": "B",
      "state": "wrong"}, ("5", "choice", "B", 0.0)),
    ({"id": "a", "kind": "math", "reference": "2", "text": "2", "state": "timeout"},
     ("a", "math", "2", None)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_rows_of_every_shape_are_read(
    tmp_path: Path, row: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(row) + "\n")
    rows, wrong = read_log(file)
    assert wrong == []
    ((name, read),) = rows.items()
    assert read.item.verifier is not None
    response = read.item.response
    assert (name, read.item.verifier["kind"], (response or "").strip(), read.reward) == expected


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    (BATCH, "no_reference"),
    (changed(BATCH, error={"code": "x"}, response=None), "no_answer"),
    (changed(BATCH, response={"status_code": 500, "body": {}}), "no_answer"),
    (changed(GYM, expected_answer=None), "no_reference"),
    (changed(GYM, response={}), "bad_row"),
    (changed(TRACE, nodes=None), "bad_row"),
    ({"a": 1}, "unknown_shape"),
    ({"kind": "own", "class": "x.py:Y", "text": "4"}, "bad_kind"),
    (changed(EVALUATION, verifier={"kind": "own", "class": "x.py:Y"}), "bad_verifier"),
]


@pytest.mark.parametrize(("row", "reason"), UNUSABLE)
def test_rows_that_cannot_be_used_are_named(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps(GYM) + "\n")
    rows, wrong = read_log(file)
    assert list(rows) == ["7-1"]
    (why,) = wrong
    assert why.startswith(f"log.jsonl:1: {reason}: ")
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(SourceError, match=reason):
        read_log(file)


def test_ids_that_are_no_names_of_files_or_repeat_stay_apart(tmp_path: Path) -> None:
    file, references = tmp_path / "out.jsonl", tmp_path / "references.jsonl"
    rows = [BATCH, changed(BATCH, custom_id="../../x"), GYM, GYM]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = [{"custom_id": name, "kind": "math", "reference": "4"} for name in ("q/1", "../../x")]
    references.write_text("".join(json.dumps(row) + "\n" for row in known))
    found, wrong = read_log(file, references)
    assert wrong == []
    assert len(found) == 4
    assert all("/" not in name and not name.startswith(".") for name in found)


def test_a_log_is_judged_again_and_once(tmp_path: Path) -> None:
    """Rewards as recorded against verdicts of now; two processes share the work of one ledger."""
    file = tmp_path / "rollouts.jsonl"
    rows = []
    for task in range(6):
        for number in range(4):
            said = {**SAID, "content": [{**SAID["content"][0], "text": f"\\boxed{{{number}}}"}]}
            row = gym_output(said)
            right = float(number == 1) if task else 1.0  # task 0: all were taken for right
            rows.append(
                changed(row, _ng_task_index=task, _ng_rollout_index=number, reward=right,
                        expected_answer="1" if task < 5 else "9")
            )  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    everything = contents(tmp_path)
    found = rejudge_log(file, NewVersion(), diff=True, workers=1)
    assert contents(tmp_path) == everything
    assert {flip.id for flip in found.flips} == {"0-0", "0-2", "0-3", "5-1"}
    assert found.states == {"correct": 5, "wrong": 19}
    assert found.rates == {"0": (1.0, 0.25), "5": (0.25, 0.0)}
    assert found.more == {"5": 1}
    assert "no cost is recorded" in next(found.lines())

    command = [sys.executable, "-m", "factory.cli", "rejudge", str(file), "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert json.loads(process.communicate()[0])["states"] == found.states
        assert process.returncode == 0
    ledger = file.with_name("rollouts.jsonl.verdicts")
    written = [row for one in (ledger / FOLDER).glob("*.jsonl") for row in read_lines(one)]
    assert len(written) == len(read_verdicts(ledger)) == len(rows)
    assert list((ledger / FOLDER / "leases").iterdir()) == []
