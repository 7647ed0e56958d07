"""The shared nouns and their Arrow schemas."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.nouns import Message, Prompt, Sample, fingerprint, prompt_schema, sample_schema


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
