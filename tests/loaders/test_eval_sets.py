"""GPQA and LiveCodeBench, on rows in their exact shape, written here."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from typing import Any

import pytest

from factory.core.nouns import Prompt
from factory.prompts.sets.benchmarks import Gpqa, LiveCodeBench, read_hidden_tests
from factory.prompts.source import BadRow, Reject, Skip

GPQA = {
    "Question": "Which gas turns limewater milky?\n",
    "Correct Answer": "carbon dioxide",
    "Incorrect Answer 1": "helium",
    "Incorrect Answer 2": "nitrogen ",
    "Incorrect Answer 3": "hydrogen",
    "Subdomain": "Chemistry (general)",
}


def packed(tests: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


STDIN = {
    "question_title": "Twice",
    "question_content": "Print twice the number read.",
    "platform": "atcoder",
    "contest_date": "2024-09-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "5\n", "output": "10\n", "testtype": "stdin"}]),
    "metadata": "{}",
}
CALL = STDIN | {
    "starter_code": "class Solution:\n    def twice(self, xs: List[int]) -> List[int]:",
    "public_test_cases": json.dumps([{"input": "[2]", "output": "[4]", "testtype": "functional"}]),
    "private_test_cases": json.dumps([{"input": "[5]", "output": "[10]"}]),
    "metadata": json.dumps({"func_name": "twice"}),
}


def made(source: Any, row: dict[str, Any]) -> Prompt:
    found = source._convert("set:1", row)
    assert isinstance(found, Prompt), found
    return found


def test_gpqa_shuffles_its_options_the_same_way_each_time() -> None:
    prompt = made(Gpqa(), GPQA)
    assert prompt.verifier is not None
    choices = prompt.verifier["choices"]
    assert choices[prompt.verifier["answer"]] == "carbon dioxide"
    assert sorted(choices.values()) == ["carbon dioxide", "helium", "hydrogen", "nitrogen"]
    assert all(f"{letter}. {text}" in prompt.question for letter, text in choices.items())
    assert made(Gpqa(), GPQA).id == prompt.id
    orders = {tuple(made(Gpqa(seed=s), GPQA).verifier["choices"].values()) for s in range(20)}  # type: ignore[index]
    assert len(orders) > 5


def test_live_code_bench_reads_both_kinds_of_tests() -> None:
    by_stdin = made(LiveCodeBench(), STDIN).verifier
    assert by_stdin is not None
    assert [case["output"] for case in by_stdin["tests"]["stdin"]] == ["4\n", "10\n"]
    by_call = made(LiveCodeBench(), CALL)
    assert by_call.verifier is not None
    call = by_call.verifier["tests"]["call"]
    # A list of one is the result itself here; in APPS it would be a wrapping.
    assert call == {
        "name": "twice",
        "cases": [{"args": [[2]], "expected": [4]}, {"args": [[5]], "expected": [10]}],
    }
    assert "class Solution" in by_call.question


DATES = [
    ({}, True),
    ({"since": "2024-09-01", "until": "2024-09-01"}, True),
    ({"since": "2024-09-02"}, False),
    ({"until": "2024-08-31"}, False),
]


@pytest.mark.parametrize(("window", "used"), DATES)
def test_live_code_bench_by_date(window: dict[str, Any], used: bool) -> None:
    found = LiveCodeBench.model_validate(window)._convert("set:1", STDIN)
    assert isinstance(found, Prompt if used else Skip)


class Command:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


HOSTILE = [
    base64.b64encode(zlib.compress(pickle.dumps(Command()))).decode(),
    "not base64 at all!",
    base64.b64encode(b"not compressed").decode(),
    base64.b64encode(zlib.compress(b"no pickle")).decode(),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_pickle_that_is_more_than_text_is_refused(text: str) -> None:
    with pytest.raises(BadRow):
        read_hidden_tests(text)
    row = STDIN | {"private_test_cases": text}
    assert isinstance(LiveCodeBench()._convert("set:1", row), Reject)


@pytest.mark.parametrize("source", [Gpqa(), LiveCodeBench()])
def test_a_row_of_another_shape_is_set_aside(source: Any) -> None:
    assert isinstance(source._convert("set:1", {"question": "?"}), Reject)
