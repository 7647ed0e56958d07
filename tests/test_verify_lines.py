from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from factory.judging.standalone import CHUNK, verify, verify_lines

RECORDS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "math", "reference": "1/2", "text": "<think>x</think>0.5"}, "correct"),
    ({"kind": "math", "reference": 3, "text": r"\boxed{4}"}, "wrong"),
    (
        {"kind": "choice", "reference": "B", "choices": {"A": "x", "B": "y"}, "text": "(B)"},
        "correct",
    ),
    ({"kind": "text", "reference": ["yes", "y"], "text": "Yes."}, "correct"),
    ({"kind": "json", "reference": {"a": 1}, "text": '{"a": 1}'}, "correct"),
    ({"kind": "arithmetic", "numbers": [2, 3], "target": 6, "text": "2*3"}, "correct"),
    ({"kind": "math", "reference": "", "text": "4"}, "bad_reference"),
    ({"kind": "poetry", "reference": "", "text": "4"}, "unverifiable"),
    ({"kind": "math", "reference": "4", "text": "<think>4"}, "no_answer"),
    (
        {
            "kind": "gym",
            "task": "spell_backward",
            "entry": {"question": "?", "answer": "cba", "metadata": {}},
            "text": "<answer>cba</answer>",
        },
        "correct",
    ),
]


def lines() -> list[str]:
    return [json.dumps({"id": i, **record}) for i, (record, _) in enumerate(RECORDS)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_kind(workers: int) -> None:
    rows = list(verify_lines(lines(), workers))
    assert [row["id"] for row in rows] == list(range(len(RECORDS)))
    assert [row["state"] for row in rows] == [state for _, state in RECORDS]
    assert all(row.keys() == {"id", "state", "extracted", "method", "ms", "detail"} for row in rows)
    json.dumps(rows)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{bad", "not JSON"),
        ("[]", "expected an object, not list"),
        ("null", "expected an object, not NoneType"),
        ('{"id": 7, "kind": "math"}', "text is None"),
        ('{"id": 7, "text": "x"}', "kind is None"),
        ('{"id": 7, "kind": ["math"], "text": "x"}', "kind is"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_cannot_be_judged_says_so_and_the_rest_goes_on(line: str, why: str) -> None:
    good = '{"id": 1, "kind": "math", "reference": "5", "text": "5"}'
    first, second, third = verify_lines([good, line, good], 1)
    assert first["state"] == third["state"] == "correct"
    assert second["state"] == "error"
    assert second["method"] == "input"
    assert second["detail"].startswith("line 2: ")
    assert why in second["detail"]


def test_blank_lines_are_passed_over_but_counted() -> None:
    (row,) = verify_lines(["\n", "  \n", "{"], 1)
    assert row["detail"].startswith("line 3: ")


def test_order_survives_many_chunks_on_two_cores() -> None:
    n = 5 * CHUNK + 3
    records = [
        {"id": i, "kind": "math", "reference": str(i % 9), "text": rf"\boxed{{{i % 7}}}"}
        for i in range(n)
    ]
    rows = list(verify(records, 2))
    assert [row["id"] for row in rows] == list(range(n))
    assert [row["state"] == "correct" for row in rows] == [i % 9 == i % 7 for i in range(n)]


def test_with_one_worker_a_line_is_answered_before_the_next_is_read() -> None:
    read = []

    def source() -> Iterator[str]:
        for i in range(3):
            read.append(i)
            yield json.dumps({"id": i, "kind": "math", "reference": "5", "text": "5"})

    rows = verify_lines(source(), 1)
    next(rows)
    assert read == [0]
    assert len(list(rows)) == 2


def test_nothing_in_nothing_out() -> None:
    assert list(verify_lines([], 2)) == []


def test_odd_text_goes_through() -> None:
    record = {
        "id": "é\udc80",
        "kind": "text",
        "reference": "é",
        "text": "<answer>é\udc80\x00</answer>",
    }
    (row,) = verify([record], 2)
    assert row["state"] in ("wrong", "correct")
