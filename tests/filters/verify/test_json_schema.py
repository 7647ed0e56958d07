"""JSON against a schema: near misses, equal values, schemas that attack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from filters.verify.json_schema import JsonSchemaVerifier, look_up_pointer
from filters.verify.verifiers import Item, Verifiers

INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^INV-[0-9]+$"},
        "total": {"type": "number", "minimum": 0},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "date": {"type": "string", "format": "date"},
    },
    "required": ["number", "total"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "properties": {"count": {"type": "integer"}}}},
}
EQUALS = {"/number": "INV-7", "/total": 12.5}
RIGHT = {"number": "INV-7", "total": 12.5, "items": [{"count": 2}], "date": "2024-02-29"}


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1, deadline_s=1.0) as made:
        yield made


def spec(schema: Any = INVOICE, **more: Any) -> dict[str, Any]:
    return {"kind": "json_schema", "schema": schema} | more


def test_a_right_answer_and_what_was_checked(verifiers: Verifiers) -> None:
    text = f"Here it is:\n```json\n{json.dumps(RIGHT)}\n```"
    whole, schema_only = verifiers.verify(
        [Item(spec(equals=EQUALS), text), Item(spec(), json.dumps(RIGHT))]
    )
    assert (whole.state, whole.method, whole.detail) == ("correct", "json_schema", None)
    assert (schema_only.state, schema_only.method) == ("correct", "json_schema_only")
    assert schema_only.detail == "only the schema was checked"


NEAR = [
    (RIGHT | {"total": "12.5"}, "schema: /total: '12.5' is not of type 'number'"),
    (RIGHT | {"total": -1}, "schema: /total"),
    (RIGHT | {"number": "INV-"}, "schema: /number"),
    (RIGHT | {"note": ""}, "schema: the answer: Additional properties"),
    (RIGHT | {"items": [{"count": 2.5}]}, "schema: /items/0/count"),
    (RIGHT | {"items": [{"count": True}]}, "schema: /items/0/count"),
    (RIGHT | {"date": "2023-02-29"}, "schema: /date"),
    ({"number": "INV-7"}, "schema: the answer: 'total' is a required property"),
    ([RIGHT], "schema: the answer"),
    (RIGHT | {"total": 12.49}, "equals: /total is 12.49, not 12.5"),
    (RIGHT | {"number": "INV-8"}, 'equals: /number is "INV-8"'),
]


@pytest.mark.parametrize(("value", "detail"), NEAR)
def test_near_misses(verifiers: Verifiers, value: Any, detail: str) -> None:
    (found,) = verifiers.verify([Item(spec(equals=EQUALS), json.dumps(value))])
    assert found.state == "wrong"
    assert str(found.detail).startswith(detail)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("```python\nprint(1)\n```", "no_answer"),
        ('{"number": "INV-7", "total": 12', "unparseable"),
        ('{"number": "INV-7", "total": 1, "total": 12.5}', "unparseable"),
        ('{"number": "INV-7", "total": NaN}', "unparseable"),
        ('```json\n{"number": "INV-7", "total": 12.5}\n```\nor {"number": "INV-8"}', "wrong"),
        ("[" * 100_000, "unparseable"),
    ],
    ids=range(6),
)
def test_what_is_no_answer(verifiers: Verifiers, text: str, state: str) -> None:
    (found,) = verifiers.verify([Item(spec(equals=EQUALS), text)])
    assert found.state == state


def nested(levels: int) -> Any:
    schema: Any = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


BAD = [
    ({"schema": None}, "no schema"),
    ({"schema": {"type": "text"}}, "not valid under any"),
    ({"schema": {}}, "accepts every value"),
    ({"schema": {"title": "Anything", "description": "x"}}, "accepts every value"),
    ({"schema": {"$ref": "http://127.0.0.1:1/x.json"}}, "only references within it"),
    ({"schema": {"items": {"$ref": "file:///etc/passwd"}}}, "only references within it"),
    ({"schema": {"$ref": "other.json"}}, "only references within it"),
    ({"schema": {"$ref": "#/$defs/none"}}, "cannot be used"),
    ({"schema": {"$ref": "#"}}, "nested too deeply"),
    ({"schema": {"pattern": "("}}, "regex"),
    ({"schema": {"enum": ["x" * 10_000_000]}}, "at most 200,000"),
    ({"schema": nested(200)}, "more than 100 levels"),
    ({"schema": INVOICE, "equals": ["total"]}, "no mapping"),
    ({"schema": INVOICE, "equals": {"total": 3}}, "no JSON pointer"),
    ({"schema": INVOICE, "equals": {"/total": float("nan")}}, "cannot be compared"),
]


@pytest.mark.parametrize(("bad", "why"), BAD, ids=range(len(BAD)))
def test_a_schema_that_cannot_be_used_says_why(verifiers: Verifiers, bad: Any, why: str) -> None:
    given = {"kind": "json_schema"} | bad
    (problem,) = verifiers.check([given])
    assert why in str(problem)
    (found,) = verifiers.verify([Item(given, '"a"')])
    assert found.state == "bad_reference"


def test_a_pattern_that_backtracks_forever_is_a_timeout(verifiers: Verifiers) -> None:
    hostile = spec({"type": "string", "pattern": "^(a+)+$"})
    slow, fast = verifiers.verify(
        [Item(hostile, json.dumps("a" * 60 + "!")), Item(hostile, json.dumps("aaa"))]
    )
    assert (slow.state, fast.state) == ("timeout", "correct")
    assert verifiers.check([hostile]) == [None]


def test_a_schema_without_equals_may_be_an_old_draft(verifiers: Verifiers) -> None:
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    first, second = verifiers.verify([Item(spec(old), "[1]"), Item(spec(old), '["1"]')])
    assert (first.state, second.state) == ("correct", "wrong")


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("", {"a/b": [1, {"~": None}]}), ("/a~1b/0", 1), ("/a~1b/1/~0", None)],
)
def test_pointers(pointer: str, value: Any) -> None:
    assert look_up_pointer({"a/b": [1, {"~": None}]}, pointer) == value


@pytest.mark.parametrize("pointer", ["/x", "/a~1b/2", "/a~1b/-1", "/a~1b/²", "/a~1b/0/x"])
def test_pointers_to_nothing(pointer: str) -> None:
    with pytest.raises(LookupError):
        look_up_pointer({"a/b": [1, {"~": None}]}, pointer)


def test_it_ends_its_processes() -> None:
    verifier = JsonSchemaVerifier(workers=1)
    assert [found.state for found in verifier.verify([(spec(), json.dumps(RIGHT))])] == ["correct"]
    verifier.close()
