"""The prompts that ship: whole, licensed, and right by their own solutions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory.prompts.files import Files
from factory.prompts.load import load_prompts
from factory.prompts.references import check_references
from filters.verify.verifiers import Item, Verifiers

FOLDER = Path(__file__).parents[2] / "data" / "prompts"
FILES = sorted(FOLDER.glob("*.jsonl"))
DOMAINS = {
    "arithmetic": "math",
    "functions": "code",
    "dialogues": "general",
    "conversations": "general",
    "invoices": "general",
    "role_play": "general",
}
"""The other files are named for theirs."""

UNVERIFIED = ("dialogues", "general")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file(path: Path) -> None:
    loaded = load_prompts([Files(path=str(path), max_reject_rate=0)])
    assert len(loaded.prompts) == loaded.counts[0].rows >= 24
    for prompt in loaded.prompts:
        assert prompt.domain == DOMAINS.get(path.stem, path.stem)
        assert prompt.license == "Apache-2.0"
        assert prompt.language
        assert (prompt.verifier is None) == (path.stem in UNVERIFIED)


def test_every_reference_passes_its_own_verifier() -> None:
    prompts = load_prompts([Files(path=str(FOLDER / "*.jsonl"))]).prompts
    with Verifiers() as verifiers:
        assert check_references(prompts, verifiers) == []


@pytest.mark.parametrize("name", ["dialogues", "conversations", "role_play"])
def test_dialogues_are_kept_whole(name: str) -> None:
    prompts = load_prompts([Files(path=str(FOLDER / f"{name}.jsonl"))]).prompts
    assert all(len(prompt.messages) > 1 for prompt in prompts)
    assert all(prompt.messages[-1]["role"] == "user" for prompt in prompts)


@pytest.mark.parametrize("name", ["conversations", "invoices"])
def test_every_solution_is_right_and_no_other_one_is(name: str) -> None:
    rows = solved(FOLDER / f"{name}.jsonl")
    own = [Item(row["verifier"], row["solution"]) for row in rows]
    others = [
        Item(row["verifier"], other["solution"])
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    with Verifiers(workers=1) as verifiers:
        assert [found.state for found in verifiers.verify(own)] == ["correct"] * len(rows)
        assert "correct" not in {found.state for found in verifiers.verify(others)}


def solved(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["code", "functions"])
def test_every_code_prompt_is_solved_by_its_solution(name: str) -> None:
    """One process for all: what each solution prints, or returns, on each of its tests."""
    rows = solved(FOLDER / f"{name}.jsonl")
    done = subprocess.run(
        [sys.executable, "-I", "-c", SOLVE],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=True,
    )
    for row, results in zip(rows, json.loads(done.stdout), strict=True):
        tests = row["verifier"]["tests"]
        cases = tests.get("stdin") or tests["call"]["cases"]
        assert results == [case.get("output", case.get("expected")) for case in cases]


SOLVE = """
import contextlib, io, json, sys

def solve(row):
    tests, program = row["verifier"]["tests"], compile(row["solution"], "solution", "exec")
    if "call" in tests:
        names = {}
        exec(program, names)
        yield from (names[tests["call"]["name"]](*case["args"]) for case in tests["call"]["cases"])
        return
    for case in tests["stdin"]:
        sys.stdin = io.StringIO(case["input"])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, {})
        yield printed.getvalue()

print(json.dumps([list(solve(row)) for row in json.load(sys.stdin)]))
"""
