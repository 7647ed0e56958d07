"""What is wrong with a prompt's mapping is said with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from filters.verify.code.problem import read_problem
from filters.verify.problem import ProblemError

STDIN = {"stdin": [{"input": "1\n", "output": "1\n"}]}
CALL = {"call": {"name": "f", "cases": [{"args": [1], "expected": 1}]}}

BAD = [
    ({}, "tests is missing"),
    ({"tests": "{"}, "tests is not JSON"),
    ({"tests": "[" * 100_000}, "tests is not JSON"),
    ({"tests": "[]"}, "tests is not an object"),
    ({"tests": {}}, "exactly one"),
    ({"tests": {**STDIN, **CALL}}, "exactly one"),
    ({"tests": {"stdin": []}}, "tests.stdin is empty"),
    ({"tests": {"stdin": {"input": "1"}}}, "tests.stdin is not a list"),
    ({"tests": {"stdin": ["1"]}}, r"tests.stdin\[0\] is not an object"),
    (
        {"tests": {"stdin": [*STDIN["stdin"], {"input": "1"}]}},
        r"tests.stdin\[1\].output is missing",
    ),
    ({"tests": {"stdin": [{"input": 1, "output": 1}]}}, "must be text"),
    ({"tests": {"call": {"name": "f"}}}, "tests.call.cases is missing"),
    ({"tests": {"call": {"name": "f()", "cases": [1]}}}, "no name of a function"),
    ({"tests": {"call": {"name": "f", "cases": [{"args": 1, "expected": 1}]}}}, "args must be"),
    ({"tests": CALL, "language": "cpp"}, "needs language python"),
    ({"tests": STDIN, "language": "cobol"}, "language is 'cobol'"),
    ({"tests": STDIN, "time_limit_s": "5"}, "time_limit_s is '5'"),
    ({"tests": STDIN, "time_limit_s": 0}, "time_limit_s is 0"),
    ({"tests": STDIN, "time_limit_s": float("nan")}, "time_limit_s is nan"),
    ({"tests": STDIN, "memory_mb": True}, "memory_mb is True"),
    ({"tests": STDIN, "memory_mb": 1 << 40}, "memory_mb is"),
    ({"tests": STDIN, "checker": "fuzzy"}, "checker 'fuzzy' is unknown"),
    ({"tests": CALL, "checker": "lines"}, "checker 'lines' is unknown"),
    ({"tests": STDIN, "starter_code": 5}, "starter_code is not text"),
]


@pytest.mark.parametrize(("spec", "message"), BAD)
def test_bad(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        read_problem(spec)


def test_tests_may_be_a_string() -> None:
    assert read_problem({"tests": json.dumps(CALL)}).cases == read_problem({"tests": CALL}).cases


@pytest.mark.parametrize(
    ("starter", "completed"),
    [
        ("def f(x):", "def f(x):\n    pass\n"),
        ("class A:\n    def f(self):\n        ", "class A:\n    def f(self):\n        pass\n"),
        ("import math\n", "import math\n"),
        ("", ""),
    ],
)
def test_starter_gets_a_body(starter: str, completed: str) -> None:
    assert read_problem({"tests": CALL, "starter_code": starter}).starter == completed


def test_a_long_expected_output_raises_the_limit() -> None:
    long = {"stdin": [{"input": "", "output": "x" * (3 << 20)}]}
    assert read_problem({"tests": long}).limits.output_mb > 3
