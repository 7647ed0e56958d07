"""Given calls against expected ones: near misses, types, parallel calls, irrelevance."""

from __future__ import annotations

import itertools
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.base import INPUT_COLUMNS
from filters.correctness import Correctness
from filters.tool_calls.calls import ToolCall
from filters.tool_calls.matching import compare_calls, read_expected
from filters.verify.tool_call import ToolCallVerifier
from filters.verify.verifiers import Item, verify_responses

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "limit": {"type": "number"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}}},
                "exact": {"type": "boolean"},
                "zone": {"type": ["string", "null"]},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [WEATHER, CLOCK]
OSLO = {"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}
ROME = {"name": "get_weather", "arguments": {"city": "Rome"}}


def hermes(*calls: Any) -> str:
    return "\n".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls)


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "get_weather", "arguments": arguments}


def verdict(calls: Any, response: str, **more: Any) -> tuple[str, str | None]:
    spec = {"kind": "tool_call", "calls": calls, "tools": TOOLS} | more
    assert ToolCallVerifier().problem(spec) is None
    (found,) = verify_responses([Item(spec, response)])
    return found.state, found.detail


RIGHT = [
    ([OSLO], hermes(OSLO)),
    ([OSLO], "I ask.\n" + hermes(call(days=3, city="Oslo"))),
    ([OSLO], '[get_weather(city="Oslo", days=3)]'),
    ([OSLO, ROME], hermes(ROME, OSLO)),
    ([ROME, ROME], hermes(ROME, ROME)),
    ([call(city="a", limit=2)], hermes(call(city="a", limit=2.0))),
    ([call(city="a", zone=None)], hermes(call(city="a", zone=None))),
    ([call(city="a", where={"lat": 1, "name": "b"})],
     hermes(call(city="a", where={"name": "b", "lat": 1.0}))),
    ([], "It is cold in Oslo."),
    ([{"name": "get_time", "arguments": {}}], hermes({"name": "get_time", "arguments": {}})),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "response"), RIGHT)
def test_right_calls(calls: Any, response: str) -> None:
    assert verdict(calls, response) == ("correct", None)


WRONG = [
    ([OSLO], "It is cold in Oslo.", "missing: get_weather is not called"),
    ([OSLO], "get_weather(city='Oslo', days=3)", "missing"),
    ([], hermes(OSLO), "extra: get_weather"),
    ([OSLO], hermes(OSLO, OSLO), "extra"),
    ([OSLO, ROME], hermes(OSLO), "missing"),
    ([ROME, ROME], hermes(ROME, OSLO), 'wrong_argument: get_weather.city is "Oslo"'),
    ([OSLO], hermes(call(city="oslo", days=3)), "wrong_argument"),
    ([OSLO], hermes(call(city="Oslo")), "wrong_argument: get_weather.days is missing"),
    ([OSLO], hermes(call(city="Oslo", days=3, limit=1)), "limit is not expected"),
    ([OSLO], hermes(call(city="Oslo", days="3")), 'wrong_type: get_weather.days: "3" is a string'),
    ([OSLO], hermes(call(city="Oslo", days=3.0)), "wrong_type: get_weather.days: 3.0 is a number"),
    ([call(city="a", days=1)], hermes(call(city="a", days=True)), "wrong_type"),
    ([call(city="a", exact=True)], hermes(call(city="a", exact=1)), "wrong_type"),
    ([call(city="a", exact=True)], hermes(call(city="a", exact=False)), "wrong_argument"),
    ([call(city="a", tags=["b", "c"])], hermes(call(city="a", tags=["c", "b"])), "wrong_argument"),
    ([call(city="a", tags=["1"])], hermes(call(city="a", tags=[1])), "wrong_type"),
    ([call(city="a", where={"lat": 1})], hermes(call(city="a", where={"lat": "1"})), "wrong_type"),
    ([call(city="a", where={"lat": 1})], hermes(call(city="a", where={})), "wrong_argument"),
    ([call(city="a", zone=None)], hermes(call(city="a", zone="")), "wrong_argument"),
    ([OSLO], hermes({"name": "weather", "arguments": OSLO["arguments"]}), "unknown_tool"),
    ([OSLO], hermes({"name": "Get_weather", "arguments": OSLO["arguments"]}), "unknown_tool"),
    ([OSLO], hermes({"name": "get_time", "arguments": {}}), "extra: get_time"),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "response", "detail"), WRONG)
def test_near_misses_say_what_differs(calls: Any, response: str, detail: str) -> None:
    state, found = verdict(calls, response)
    assert state == "wrong"
    assert detail in str(found)


def test_an_attempt_that_cannot_be_read_is_unparseable_whatever_else_is_right() -> None:
    for calls in ([OSLO], []):
        state, detail = verdict(calls, hermes(*calls) + "<tool_call>oops</tool_call>")
        assert (state, str(detail)[:9]) == ("unparseable", "malformed")


def test_accepted_values_and_optional_arguments() -> None:
    accepted = {"city": ["Oslo", "Oslo, Norway"], "days": [3, 4], "tags": [[], ["a"]]}
    calls = [{"name": "get_weather", "accepted": accepted, "optional": ["days", "tags"]}]
    for right in (
        call(city="Oslo"),
        call(city="Oslo, Norway", days=4),
        call(city="Oslo", tags=["a"]),
    ):
        assert verdict(calls, hermes(right))[0] == "correct"
    for wrong in (
        call(days=3),
        call(city="Bergen"),
        call(city="Oslo", days=5),
        call(city="Oslo", tags="a"),
    ):
        assert verdict(calls, hermes(wrong))[0] == "wrong"


def test_members_of_an_object_have_accepted_values_of_their_own() -> None:
    where = {"$object": {"lat": [59, 59.9], "name": ["x"]}, "$optional": ["name"]}
    calls = [{"name": "get_weather", "accepted": {"city": ["a"], "where": [where]}}]
    assert verdict(calls, hermes(call(city="a", where={"lat": 59.9})))[0] == "correct"
    assert verdict(calls, hermes(call(city="a", where={"lat": 59, "name": "x"})))[0] == "correct"
    for wrong in ({"name": "x"}, {"lat": 60}, {"lat": 59, "name": "y"}, {"lat": 59, "z": 1}, [59]):
        assert verdict(calls, hermes(call(city="a", where=wrong)))[0] == "wrong"


def test_folded_texts_ignore_case_and_punctuation_but_not_words() -> None:
    calls = [call(city="San Francisco, CA")]
    near = hermes(call(city="san francisco CA"))
    assert verdict(calls, near)[0] == "wrong"
    assert verdict(calls, near, strings="folded")[0] == "correct"
    assert verdict(calls, hermes(call(city="San Jose, CA")), strings="folded")[0] == "wrong"


def test_a_variable_that_the_reference_names_may_stand_for_a_number() -> None:
    calls = [call(city="a", days="horizon")]
    assert verdict(calls, hermes(call(city="a", days="horizon")))[0] == "correct"
    assert verdict(calls, hermes(call(city="a", days=3)))[0] == "wrong"


def test_any_call_that_fits_its_schema_is_marked_as_no_more_than_that() -> None:
    spec = {"kind": "tool_call", "calls": "any", "tools": TOOLS}
    items = [
        Item(spec, text)
        for text in (
            hermes(OSLO),
            "No.",
            hermes(call(days=1)),
            hermes(call(city=1)),
            hermes({"name": "f", "arguments": {}}),
            hermes(call(city="a", colour="red")),
        )
    ]
    found = verify_responses(items)
    assert [item.state for item in found] == ["correct", *["wrong"] * 5]
    assert {item.method for item in found} == {"tool_call_schema"}
    reasons = [str(item.detail).partition(":")[0] for item in found[1:]]
    assert reasons == ["missing", "wrong_argument", "wrong_type", "unknown_tool", "wrong_argument"]


def test_texts_of_qwen3_coder_get_their_types_from_the_schema() -> None:
    def xml(days: str) -> str:
        return (
            "<tool_call><function=get_weather><parameter=city>\nOslo\n</parameter>"
            f"<parameter=days>{days}</parameter></function></tool_call>"
        )

    assert verdict([OSLO], xml("3"))[0] == "correct"
    assert verdict([OSLO], xml("3.0"))[0] == "wrong"
    assert "wrong_type" in str(verdict([OSLO], xml("three"))[1])
    where = xml('3</parameter><parameter=where>{"lat": 1}')
    assert verdict([call(city="Oslo", days=3, where={"lat": 1})], where)[0] == "correct"


BAD = [
    ({}, "calls is no list"),
    ({"calls": [3]}, "has no name"),
    ({"calls": [{"name": "get_weather"}]}, "needs either arguments or accepted"),
    ({"calls": [{"name": "get_weather", "arguments": []}]}, "no mapping"),
    ({"calls": [{"name": "get_weather", "accepted": {"city": "Oslo"}}]}, "no list"),
    ({"calls": [{"name": "get_weather", "accepted": {"city": []}}]}, "empty"),
    ({"calls": [{"name": "f", "accepted": {}, "optional": ["a"]}]}, "not accepted"),
    ({"calls": [{"name": "f", "arguments": {}}], "tools": TOOLS}, "there is no tool 'f'"),
    ({"calls": [call(city="a", colour="red")], "tools": TOOLS}, "has no argument 'colour'"),
    ({"calls": [], "tools": [WEATHER, WEATHER]}, "given twice"),
    ({"calls": [], "tools": "get_weather"}, "no list"),
    ({"calls": [], "tools": [{"type": "function"}]}, "no tool"),
    ({"calls": [], "format": "qwen"}, "format is 'qwen'"),
    ({"calls": [], "strings": "loose"}, "strings is 'loose'"),
    ({"calls": "any"}, "there are no tools"),
    ({"calls": [ROME] * 100}, "100 calls are expected"),
]


@pytest.mark.parametrize(("spec", "why"), BAD)
def test_a_reference_that_cannot_be_used_says_why(spec: Any, why: str) -> None:
    problem = ToolCallVerifier().problem({"kind": "tool_call"} | spec)
    assert why in str(problem)
    (found,) = verify_responses([Item({"kind": "tool_call"} | spec, "No.")])
    assert found.state == "bad_reference"


def test_tools_may_be_absent() -> None:
    spec = {"kind": "tool_call", "calls": [ROME]}
    found = verify_responses([Item(spec, hermes(ROME)), Item(spec, hermes(OSLO))])
    assert [item.state for item in found] == ["correct", "wrong"]


VALUES = st.sampled_from([1, 2, "a", "b", True, None])
PLAIN = st.lists(st.tuples(st.sampled_from("fg"), st.dictionaries(st.sampled_from("xy"), VALUES)),
                 max_size=4)  # fmt: skip


@given(PLAIN, PLAIN)
def test_calls_match_exactly_if_some_order_of_them_is_the_expected_one(
    wanted: list[tuple[str, dict[str, Any]]], made: list[tuple[str, dict[str, Any]]]
) -> None:
    expected = [read_expected({"name": name, "arguments": given}) for name, given in wanted]
    calls = [ToolCall(name, given) for name, given in made]

    def key(item: tuple[str, dict[str, Any]]) -> str:
        return repr((item[0], sorted(item[1].items(), key=repr)))

    same = sorted(map(key, wanted)) == sorted(map(key, made))
    assert (compare_calls(expected, calls, {}) == []) == same


@given(st.lists(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3), max_size=4),
       st.lists(st.sampled_from([1, 2, 3]), max_size=4))  # fmt: skip
def test_a_matching_is_found_wherever_there_is_one(
    accepted: list[list[int]], made: list[int]
) -> None:
    expected = [read_expected({"name": "f", "accepted": {"x": values}}) for values in accepted]
    calls = [ToolCall("f", {"x": value}) for value in made]
    possible = len(accepted) == len(made) and any(
        all(value in values for value, values in zip(order, accepted, strict=True))
        for order in itertools.permutations(made)
    )
    assert (compare_calls(expected, calls, {}) == []) == possible


def test_the_funnel_counts_each_reason_by_its_own_code() -> None:
    spec = {"kind": "tool_call", "calls": [OSLO], "tools": TOOLS}
    texts = {
        "malformed_call": "<tool_call>oops</tool_call>",
        "unknown_tool": hermes({"name": "f", "arguments": {}}),
        "missing_call": "It is cold.",
        "extra_call": hermes(OSLO, OSLO),
        "wrong_type": hermes(call(city="Oslo", days="3")),
        "wrong_argument": hermes(call(city="Oslo", days=4)),
    }
    rows = [
        {
            **dict.fromkeys(INPUT_COLUMNS),
            "sample_id": reason,
            "text": text,
            "response": text,
            "shape": "no_think",
            "question": "?",
            "verifier": json.dumps(spec),
        }
        for reason, text in [*texts.items(), ("kept", hermes(OSLO))]
    ]
    filter_ = Correctness(think="optional")
    metrics = filter_.measure(pl.DataFrame(rows))
    reasons = [pl.when(rule.when).then(pl.lit(rule.reason)) for rule in filter_.rules()]
    assert metrics.select(pl.coalesce(reasons)).to_series().to_list() == [*texts, None]
