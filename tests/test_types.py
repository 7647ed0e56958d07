"""The shared nouns and their Arrow schemas."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.nouns import (
    Message,
    Prompt,
    Sample,
    Turn,
    fingerprint,
    prompt_schema,
    sample_schema,
)


def prompt(question: str = "1 + 1?", **fields: object) -> Prompt:
    messages = (Message(role="user", content=question),)
    return Prompt("s", "math", messages, {"kind": "math", "answer": "2"}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("noun", "schema"), [(Prompt, prompt_schema()), (Sample, sample_schema())])
def test_dataclass_and_schema_have_the_same_fields(noun: type, schema) -> None:  # type: ignore[no-untyped-def]
    assert [field.name for field in dataclasses.fields(noun)] == schema.names


def test_id_is_the_content() -> None:
    assert prompt().id == prompt(language="en", license="MIT").id
    assert prompt().id != prompt("1 + 2?").id
    with pytest.raises(ValueError, match="does not match its content"):
        dataclasses.replace(prompt(), messages=prompt("other").messages)


def test_row_round_trip() -> None:
    original = prompt(also_in=("b",), meta={"k": [1, "é"]}, language="en")
    assert Prompt.from_row(original.to_row()) == original


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values))
def test_fingerprint_ignores_key_order(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


def test_tools_and_environment_are_part_of_the_id_where_there_are_any() -> None:
    tools = ({"type": "function", "function": {"name": "add"}},)
    with_tools, acting = prompt(tools=tools), prompt(environment={"kind": "calculator"})
    assert prompt().id == prompt(tools=(), environment=None).id == "c0590e635635ad9a"
    assert len({prompt().id, with_tools.id, acting.id}) == 3
    for one in (with_tools, acting):
        assert Prompt.from_row(one.to_row()) == one


def test_where_a_file_lies_is_no_part_of_the_id() -> None:
    here, there, other = (
        prompt(environment={"kind": "search", "path": path})
        for path in ("/a/docs.jsonl", "/b/c/docs.jsonl", "/a/more.jsonl")
    )
    assert here.id == there.id != other.id


def test_only_the_text_that_is_continued_is_part_of_the_id() -> None:
    first, same, other = (
        prompt(continues={"parent": parent, "cut": 8, "text": text})
        for parent, text in (("p-0", "<think>1"), ("p-1", "<think>1"), ("p-0", "<think>2"))
    )
    assert prompt(continues=None).id == prompt().id != first.id
    assert first.id == same.id != other.id
    assert Prompt.from_row(first.to_row()) == first


def test_rows_of_older_runs_have_neither() -> None:
    row = prompt().to_row()
    del row["tools"], row["environment"], row["continues"]
    assert Prompt.from_row(row) == prompt()


@given(st.lists(st.sampled_from(["assistant", "tool", "user", "tools", "end"]), max_size=6))
def test_turns_round_trip_through_parquet(roles: list[str]) -> None:
    turns = tuple(
        Turn(role=role, text=f"é {n}", n_tokens=n, token_ids=(n,) if n % 2 else None, reward=n / 2)  # type: ignore[arg-type]
        for n, role in enumerate(roles)
    )
    sample = Sample("p", 0, "t", "q", "stop", 1, 1, "m", "fp", 5, turns)
    table = pa.Table.from_pylist([sample.to_row()], sample_schema())
    (row,) = table.to_pylist()
    row["created_at"] = 5
    assert Sample.from_row(row) == sample


def test_a_sample_has_only_the_optional_columns_it_has_values_for() -> None:
    plain = Sample("p", 0, "t", "q", "stop", 1, 1, "m", "fp", 5)
    assert not {"turns", "parent", "cut"} & plain.to_row().keys()
    assert dataclasses.replace(plain, parent="q-1", cut=3).to_row()["parent"] == "q-1"
