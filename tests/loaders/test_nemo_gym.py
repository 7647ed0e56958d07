"""Rows of NeMo Gym as prompts: rows of ours, in the shapes of its resource servers' examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Prompt
from factory.prompts.sets.nemo_gym import NemoGym
from factory.prompts.source import Reject

TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Finds a person's address.",
    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
    "strict": False,
}
ANSWER = {
    "id": "resp_1",
    "object": "response",
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text"}]}],
}


def ask(content: Any, **params: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": content}]} | params


def row(content: Any = "What is 2 + 2?", **more: Any) -> dict[str, Any]:
    return {"responses_create_params": ask(content), "expected_answer": "4"} | more


def read(folder: Path, *rows: Any, **options: Any) -> list[Any]:
    options = {"answers": "math"} | options
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    source = NemoGym(path=str(file), max_reject_rate=1.0, **options)
    return list(source.rows())


GOOD: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "math_with_judge": (row(question="What is 2 + 2?"), {"kind": "math", "answer": "4"}),
    "mcqa": (
        row(options=[{"A": "3"}, {"B": "4"}], expected_answer="B", grading_mode="x", uuid="u"),
        {"kind": "choice", "answer": "B", "choices": {"A": "3", "B": "4"}},
    ),
    "code_gen": (
        {
            "responses_create_params": ask("Echo."),
            "verifier_metadata": {"unit_tests": {"inputs": ["a\n"], "outputs": ["a\n"]}},
            "hash_id": "h",
        },
        {"kind": "code", "tests": {"stdin": [{"input": "a\n", "output": "a\n"}]}},
    ),
    "reasoning_gym": (
        {
            "responses_create_params": ask("1 + 1?"),
            "question": "1 + 1?",
            "answer": "2",
            "metadata": {"source_dataset": "chain_sum", "source_index": 0},
        },
        {
            "kind": "gym",
            "task": "chain_sum",
            "entry": {
                "question": "1 + 1?",
                "answer": "2",
                "metadata": {"source_dataset": "chain_sum", "source_index": 0},
            },
        },
    ),
    "a rollout": (row(response=ANSWER, reward=1.0), {"kind": "math", "answer": "4"}),
    "no tools at all": (
        {"responses_create_params": ask("x", tool_choice="none"), "expected_answer": "4"},
        {"kind": "math", "answer": "4"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_row_says_what_is_right(tmp_path: Path, name: str) -> None:
    given, expected = GOOD[name]
    (prompt,) = read(tmp_path, given)
    assert isinstance(prompt, Prompt), prompt
    assert prompt.verifier == expected
    assert prompt.messages[-1]["content"].startswith(
        given["responses_create_params"]["input"][0]["content"]
    )


def test_messages_and_tools(tmp_path: Path) -> None:
    asked = {
        "instructions": "Be short.",
        "input": [
            {"role": "developer", "content": "It is Monday.", "type": "message"},
            {"role": "user", "content": [{"type": "input_text", "text": "Who is Ann?"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Whose Ann?"}]},
            {"role": "user", "content": "Mine."},
        ],
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "temperature": 1.0,
    }
    source = {"responses_create_params": asked, "expected_answer": "4", "id": 7}
    (prompt,) = read(tmp_path, source, keep=("id",))
    assert [(m["role"], m["content"]) for m in prompt.messages] == [
        ("system", "Be short."),
        ("system", "It is Monday."),
        ("user", "Who is Ann?"),
        ("assistant", "Whose Ann?"),
        ("user", "Mine."),
    ]
    (tool,) = prompt.tools
    assert tool["type"] == "function"
    assert {"type": "function", **tool["function"]} == TOOL
    assert prompt.meta == {"id": 7}


def test_a_text_alone_is_a_question_and_unread_keys_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    asked = {"input": "2 + 2?", "temperature": 0.5}
    file.write_text(json.dumps({"responses_create_params": asked, "answer": "4", "uuid": "u"}))
    source = NemoGym(path=str(file), answers="math")
    (prompt,) = source.rows()
    assert isinstance(prompt, Prompt)
    assert prompt.question == "2 + 2?"
    assert dict(source.unread) == {"responses_create_params.temperature": 1, "uuid": 1}


IMAGE = [{"type": "input_image", "image_url": "data:,"}]
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
BAD: dict[str, tuple[Any, str]] = {
    "no request": ({"expected_answer": "4"}, "no_question"),
    "a request that is a list": (row() | {"responses_create_params": []}, "no_question"),
    "no input": (row() | {"responses_create_params": {}}, "no_question"),
    "an empty input": (row() | {"responses_create_params": {"input": []}}, "no_question"),
    "an image": (row(IMAGE), "bad_messages"),
    "no text in a part": (row([{"type": "input_text"}]), "no_question"),
    "a call": (row() | {"responses_create_params": {"input": [CALL]}}, "bad_messages"),
    "a text as item": (row() | {"responses_create_params": {"input": ["x"]}}, "bad_messages"),
    "a tool of the server": (
        row() | {"responses_create_params": ask("x", tools=[{"type": "web_search"}])}, "bad_row",
    ),
    "tools that are none": (row() | {"responses_create_params": ask("x", tools="[")}, "bad_row"),
    "a call that is required": (
        row() | {"responses_create_params": ask("x", tool_choice="required")}, "bad_request",
    ),
    "a format": (
        row() | {"responses_create_params": ask("x", text={"format": {"type": "json_object"}})},
        "bad_request",
    ),
    "nothing is right": ({"responses_create_params": ask("Write.")}, "no_verifier"),
    "calls of an agent": (
        row(expected_answer=None, ground_truth=[{"name": "f", "arguments": "{}"}]), "no_verifier",
    ),
    "tests that do not fit": (
        row(verifier_metadata={"unit_tests": {"inputs": ["a"], "outputs": []}}), "bad_row",
    ),
    "metadata that is a text": (row(metadata="x"), "bad_row"),
    "a choice that is none": (row(options=["x", "y"], expected_answer="Z"), "bad_choice"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_costs_itself_alone(tmp_path: Path, name: str) -> None:
    given, reason = BAD[name]
    bad, good = read(tmp_path, given, row())
    assert isinstance(bad, Reject), bad
    assert bad.reason == reason
    assert isinstance(good, Prompt)


@pytest.mark.parametrize(
    ("given", "answers", "expected"),
    [
        (row(), None, "no_verifier"),  # `simpleqa` and `math_with_judge` have the same keys
        (row(expected_answer="Oslo"), "text", {"kind": "text", "answer": "Oslo"}),
        (row(expected_answer=4), "text", {"kind": "text", "answer": "4"}),
        (
            row(options=["3", "4"], expected_answer="B"),
            None,
            {"kind": "choice", "answer": "B", "choices": {"A": "3", "B": "4"}},
        ),
        (row(verifier={"kind": "math", "answer": "5"}), None, {"kind": "math", "answer": "5"}),
        (row(kind="math", reference="5"), "text", {"kind": "math", "answer": "5"}),
    ],
)
def test_an_answer_alone_does_not_say_how_it_is_verified(
    tmp_path: Path, given: Any, answers: str | None, expected: Any
) -> None:
    (found,) = read(tmp_path, given, answers=answers)
    if isinstance(found, Prompt):
        spec = dict(found.verifier or {})
        assert {key: spec[key] for key in ("kind", *(set(expected) - {"kind"}))} == expected
    else:
        assert found.reason == expected


def test_rows_without_a_verifier_can_be_taken(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, {"responses_create_params": ask("Write.")}, unverified=True)
    assert prompt.verifier is None
