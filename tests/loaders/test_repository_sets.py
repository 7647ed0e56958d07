"""Sets of repairs of repositories, on rows in their exact shape, written here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from factory.core.nouns import Prompt
from factory.prompts import loader_class
from factory.prompts.sets.repository_sets import reverse_diff
from factory.prompts.source import Reject, Skip
from filters.verify.repository.notations import read_patch
from filters.verify.repository.patch import apply_changes
from filters.verify.verifiers import Item, Verifiers

PATCH = (
    "diff --git a/kit/sums.py b/kit/sums.py\nindex 8d1c8b7..1f2e3d4 100644\n"
    "--- a/kit/sums.py\n+++ b/kit/sums.py\n@@ -1,2 +1,2 @@ import math\n"
    " def add(a, b):\n-    return a - b\n+    return a + b\n"
)
BEFORE = "def add(a, b):\n    return a - b\n"
AFTER = "def add(a, b):\n    return a + b\n"
COMMON: dict[str, Any] = {
    "instance_id": "kit__kit-12",
    "patch": PATCH,
    "repo": "kit/kit",
    "problem_statement": "add() subtracts.\n",
}
BENCH = COMMON | {
    "base_commit": "a" * 40,
    "test_patch": "diff --git a/tests/test_sums.py b/tests/test_sums.py\n",
    "hints_text": "",
    "created_at": "2024-01-01T00:00:00Z",
    "version": "1.2",
    "FAIL_TO_PASS": json.dumps(["tests/test_sums.py::test_add"]),
    "PASS_TO_PASS": json.dumps(["tests/test_sums.py::test_sub"]),
    "environment_setup_commit": "b" * 40,
}
LISTS: dict[str, Any] = {
    "FAIL_TO_PASS": ["tests/test_sums.py::test_add"],
    "PASS_TO_PASS": ["tests/test_sums.py::test_sub"],
}
GYM = BENCH | LISTS
SMITH = COMMON | LISTS | {"image_name": "jyangballin/swesmith.x86_64.kit_1776_kit.0123abcd"}
REBENCH = GYM | {
    "docker_image": "swerebench/sweb.eval.x86_64.kit_1776_kit-12",
    "image_name": None,
    "license_name": "MIT",
    "install_config": {"python": "3.9", "install": "pip install -e .", "test_cmd": "pytest"},
    "meta": {"has_test_patch": True, "llm_score": {"difficulty_score": 1}},
}
R2E = {
    "repo_name": "kit",
    "docker_image": "namanjain12/kit_final:0123abcd",
    "commit_hash": "c" * 40,
    "parsed_commit_content": "{}",
    "problem_statement": "[ISSUE]\nadd() subtracts.\n[/ISSUE]",
    "expected_output_json": json.dumps({"test_add": "PASSED", "test_sub": "PASSED"}),
    "modified_files": ["kit/sums.py"],
}
GOOD = {
    "swe_bench": BENCH,
    "swe_gym": GYM,
    "swe_smith": SMITH,
    "swe_rebench": REBENCH,
    "r2e_gym": R2E,
}


def convert(kind: str, row: dict[str, Any], **keys: Any) -> Prompt | Reject | Skip:
    return loader_class(kind)(**keys)._convert("set:1", row)


@pytest.mark.parametrize("kind", GOOD)
def test_a_row_of_each_set(kind: str) -> None:
    prompt = convert(kind, GOOD[kind])
    assert isinstance(prompt, Prompt), prompt
    assert "add() subtracts." in prompt.question
    assert "unified diff" in prompt.question
    assert prompt.domain == "code"
    spec = prompt.verifier
    assert spec is not None
    if kind == "r2e_gym":
        assert spec["expected"] == {"test_add": "PASSED", "test_sub": "PASSED"}
        assert spec["image"] == R2E["docker_image"]
        return
    assert spec["fail_to_pass"] == ["tests/test_sums.py::test_add"]
    assert spec["pass_to_pass"] == ["tests/test_sums.py::test_sub"]
    broken, repaired = (AFTER, BEFORE) if kind == "swe_smith" else (BEFORE, AFTER)
    # SWE-smith's patch takes the code as it should be to the bug: here from + to what comes after.
    assert apply_changes(read_patch(spec["solution"]), {"kit/sums.py": broken}) == {
        "kit/sums.py": repaired
    }


def test_what_a_row_names() -> None:
    prompt = convert("swe_rebench", REBENCH | {"install_config": json.dumps({"python": "3.9"})})
    assert isinstance(prompt, Prompt)
    assert (prompt.license, prompt.meta["python"]) == ("MIT", "3.9")
    assert (prompt.verifier or {})["image"] == REBENCH["docker_image"]
    asked = convert("swe_smith", SMITH, notation="search_replace")
    assert isinstance(asked, Prompt)
    assert "<<<<<<< SEARCH" in asked.question


BAD = [
    ("swe_bench", BENCH | {"FAIL_TO_PASS": "[tests"}, "bad_json"),
    ("swe_bench", BENCH | {"FAIL_TO_PASS": '"tests"'}, "bad_tests"),
    ("swe_gym", GYM | {"PASS_TO_PASS": [1]}, "bad_tests"),
    ("swe_gym", GYM | {"FAIL_TO_PASS": []}, "no_failing_test"),
    ("swe_smith", SMITH | {"problem_statement": ""}, "no_problem_statement"),
    ("swe_smith", {"repo": "kit/kit"}, "bad_shape"),
    ("swe_rebench", REBENCH | {"install_config": "[1]"}, "bad_shape"),
    ("r2e_gym", R2E | {"expected_output_json": "{}"}, "bad_tests"),
]


@pytest.mark.parametrize(("kind", "row", "reason"), BAD)
def test_rows_that_cannot_be_used(kind: str, row: dict[str, Any], reason: str) -> None:
    found = convert(kind, row)
    assert isinstance(found, Reject | Skip)
    assert found.reason == reason


def test_without_their_images_attempts_are_undecided() -> None:
    """Not even the published repair is called correct: nothing has run."""
    prompts = [convert(kind, row) for kind, row in GOOD.items()]
    specs = [prompt.verifier for prompt in prompts if isinstance(prompt, Prompt)]
    with Verifiers() as verifiers:
        assert verifiers.check(specs) == [None] * len(GOOD)
        verdicts = verifiers.verify([Item(spec, f"```diff\n{PATCH}```") for spec in specs])
    assert {verdict.state for verdict in verdicts} == {"unverifiable"}
    assert all("no environment" in (verdict.detail or "") for verdict in verdicts)


def test_a_diff_that_is_reversed_twice_is_the_same() -> None:
    new = "--- /dev/null\n+++ b/kit/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
    for diff in (PATCH, new, PATCH + new):
        assert reverse_diff(reverse_diff(diff)) == diff
