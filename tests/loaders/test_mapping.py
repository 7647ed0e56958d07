"""One row, one outcome: the column mapping and the verifier shapes of `files` and `hub`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.core.nouns import Prompt
from factory.prompts.files import Files
from factory.prompts.mapping import as_turns, lookup
from factory.prompts.source import BadRow, Reject

MATH = {"verifier": {"kind": "math"}}
CHOICE = {"verifier": {"kind": "choice"}}
CODE = {"verifier": {"kind": "code", "time_limit_s": 2}}
TEXT = {"verifier": {"kind": "text"}}
JSON = {"verifier": {"kind": "json"}}
STDIN = {"stdin": [{"input": "1", "output": "1"}]}
CODED = {"kind": "code", "language": "python", "tests": STDIN, "time_limit_s": 2.0}
YES = {"kind": "text", "answer": "yes"}
B_OF_XY = {"kind": "choice", "answer": "B", "choices": {"A": "x", "B": "y"}}
NESTED = MATH | {"columns": {"question": "problem", "answer": "a.b.0"}}
LABELLED = {"text": ["x", "y"], "label": ["a", "b"]}


def outcome(row: dict[str, Any], **keys: Any) -> Prompt | str:
    source = Files(path="rows.jsonl", **keys)
    found = source._convert("rows.jsonl:1", row)
    assert isinstance(found, Prompt | Reject)
    return found.reason if isinstance(found, Reject) else found


@pytest.mark.parametrize(
    ("row", "keys", "verifier"),
    [
        ({"question": "q", "answer": "42"}, MATH, {"kind": "math", "answer": "42"}),
        ({"question": "q", "answer": 42}, MATH, {"kind": "math", "answer": "42"}),
        ({"question": "q", "answer": 0}, MATH, {"kind": "math", "answer": "0"}),
        ({"question": "q", "answer": 0.5}, MATH, {"kind": "math", "answer": "0.5"}),
        ({"problem": "q", "a": {"b": [7]}}, NESTED, {"kind": "math", "answer": "7"}),
        ({"question": "q", "answer": True}, TEXT, {"kind": "text", "answer": "true"}),
        ({"question": "q", "answer": '{"a": 1}'}, JSON, {"kind": "json", "answer": {"a": 1}}),
        ({"question": "q", "answer": [1]}, JSON, {"kind": "json", "answer": [1]}),
        ({"question": "q", "answer": "(b)", "choices": ["x", "y"]}, CHOICE, B_OF_XY),
        ({"question": "q", "answer": 1, "choices": ["x", "y"]}, CHOICE, B_OF_XY),
        ({"question": "q", "answer": "y", "choices": '{"A": "x", "B": "y"}'}, CHOICE, B_OF_XY),
        ({"question": "q", "answer": "B", "choices": LABELLED}, CHOICE, B_OF_XY),
        ({"question": "q", "tests": STDIN}, CODE, CODED),
        ({"question": "q", "verifier": '{"kind": "text", "answer": "yes"}'}, {}, YES),
        ({"question": "q", "verifier": YES}, MATH, YES),
        (
            {"question": "q", "verifier": B_OF_XY | {"answer": 1, "choices": ["x", "y"]}},
            {},
            B_OF_XY,
        ),
        ({"question": "q"}, {}, None),
        ({"question": "q", "answer": "42"}, {"columns": {"answer": None}}, None),
    ],
)
def test_verifier(row: dict[str, Any], keys: dict[str, Any], verifier: Any) -> None:
    prompt = outcome(row, **keys)
    assert isinstance(prompt, Prompt)
    assert prompt.verifier == verifier


@pytest.mark.parametrize(
    ("row", "keys", "reason"),
    [
        ({"problem": "q"}, {}, "no_question"),
        ({"question": "  "}, {}, "no_question"),
        ({"question": 5}, {}, "no_question"),
        ({"question": "q"}, {"columns": {"answer": "final"}}, "no_column"),
        ({"question": "q", "answer": "42"}, {}, "no_verifier"),
        ({"question": "q"}, MATH, "no_answer"),
        ({"question": "q", "answer": " "}, MATH, "no_answer"),
        ({"question": "q", "answer": float("nan")}, MATH, "no_answer"),
        ({"question": "q", "answer": [1]}, MATH, "no_answer"),
        ({"question": "q", "answer": "C", "choices": ["x", "y"]}, CHOICE, "bad_choice"),
        ({"question": "q", "answer": 2, "choices": ["x", "y"]}, CHOICE, "bad_choice"),
        ({"question": "q", "answer": "x", "choices": ["x", "x"]}, CHOICE, "bad_choice"),
        ({"question": "q", "answer": "A", "choices": ["x"]}, CHOICE, "bad_choices"),
        ({"question": "q", "answer": "A"}, CHOICE, "bad_choices"),
        (
            {"question": "q", "answer": "A", "choices": LABELLED | {"label": ["A"]}},
            CHOICE,
            "bad_choices",
        ),
        ({"question": "q", "answer": "A", "choices": "{"}, CHOICE, "bad_json"),
        ({"question": "q", "tests": {"stdin": []}}, CODE, "bad_tests"),
        ({"question": "q", "tests": {"stdin": [{"input": "1"}]}}, CODE, "bad_tests"),
        ({"question": "q", "tests": {"call": {"cases": []}}}, CODE, "bad_tests"),
        ({"question": "q", "tests": [1]}, CODE, "bad_tests"),
        ({"question": "q", "verifier": {"kind": "maths", "answer": "1"}}, {}, "bad_verifier"),
        ({"question": "q", "verifier": {"kind": "math"}}, {}, "bad_verifier"),
        ({"question": "q", "verifier": {"kind": ["math"]}}, {}, "bad_verifier"),
        ({"question": "q", "verifier": B_OF_XY | {"choices": [1]}}, {}, "bad_choices"),
        ({"question": "q", "verifier": B_OF_XY | {"answer": "E"}}, {}, "bad_choice"),
        ({"question": "q", "verifier": {"kind": "code", "tests": {}}}, {}, "bad_tests"),
        (
            {"question": "q", "verifier": {"kind": "gym", "task": "t", "entry": 1}},
            {},
            "bad_verifier",
        ),
        ({"question": "q", "verifier": {"kind": "json", "answer": {1, 2}}}, {}, "not_json"),
        ({"question": "q", "domain": 3}, {}, "bad_domain"),
        ({"question": "q", "system": 1}, {}, "not_text"),
        ({"question": "q", "language": "English"}, {}, "bad_language"),
        ({"question": "q \ud800"}, {}, "bad_unicode"),
        ({"question": "q", "answer": "\udfff"}, MATH, "bad_unicode"),
        ({"messages": [{"role": "robot", "content": "q"}]}, {}, "bad_messages"),
        ({"messages": ["q"]}, {}, "bad_messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, {}, "no_question"),
    ],
)
def test_reject(row: dict[str, Any], keys: dict[str, Any], reason: str) -> None:
    assert outcome(row, **keys) == reason


def test_an_sft_conversation_gives_its_prompt() -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "2+2?"},
        {"from": "gpt", "value": "4"},
    ]
    assert [turn["role"] for turn in as_turns(turns)] == ["system", "user"]


def test_the_options_are_shown_once() -> None:
    row = {"question": "Which metal?", "answer": "B", "choices": ["sulphur", "iron"]}
    bare = outcome(row, **CHOICE)
    shown = outcome(row | {"question": "Which? (A) sulphur (B) iron"}, **CHOICE)
    assert isinstance(bare, Prompt)
    assert isinstance(shown, Prompt)
    assert bare.question == "Which metal?\n\nA. sulphur\nB. iron"
    assert shown.question == "Which? (A) sulphur (B) iron"


def test_the_recipe_wins_over_the_row() -> None:
    row = {"question": "q", "domain": "logic", "language": "de-AT", "license": "MIT", "level": 3}
    prompt = outcome(row, domain="stem", license="Apache-2.0", keep=("level", "absent"))
    assert isinstance(prompt, Prompt)
    assert (prompt.domain, prompt.language, prompt.license) == ("stem", "de", "Apache-2.0")
    assert prompt.meta == {"level": 3}


@pytest.mark.parametrize(
    "keys",
    [
        {"colums": {}},
        {"columns": {"anwser": "a"}},
        {"verifier": {"kind": "maths"}},
        {"limit": 0},
        {"verifier": {"kind": "math", "memory_mb": 64}},
    ],
)
def test_unknown_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Files(path="rows.jsonl", **keys)


texts = st.text(st.characters(), max_size=9)  # lone surrogates too, which Arrow would refuse
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = ("question", "messages", "answer", "choices", "tests", "verifier", "domain", "system")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(fields), json_values), st.sampled_from([{}, MATH, CHOICE]))
def test_no_row_raises(row: dict[str, Any], keys: dict[str, Any]) -> None:
    outcome(row, **keys)


def test_lookup_prefers_a_column_that_has_dots_in_its_name() -> None:
    assert lookup({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    with pytest.raises(BadRow):
        Files(path="x", columns={"answer": "a.9"}, verifier={"kind": "math"}).prompt(
            {"question": "q", "a": [1]}
        )
