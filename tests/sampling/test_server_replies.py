"""What a server sends is checked before it is believed: tables with near misses, no network."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.nouns import sample_schema
from factory.core.think import split_think
from factory.sampling.engines.faults import clean_message, read_fault
from factory.sampling.engines.openai_api import RenderedRequest
from factory.sampling.engines.replies import ErrorReply, Malformed, Reply, read_count, write_calls
from tests.fake_server import FakeServer
from tests.sampling.conftest import Connect, drive, make_requests, make_spec, samples_of
from tests.sampling.test_server import CHAT
from tests.sampling.test_server_wire import QUESTION, chat_reply, make_wire

COUNTS = [
    (0, 0),
    (12, 12),
    (10_000_000, 10_000_000),
    (10_000_001, None),
    (2**31, None),
    (10**30, None),
    (-1, None),
    (True, None),
    (False, None),
    (12.0, None),
    (float("nan"), None),
    ("12", None),
    (None, None),
    ([12], None),
    ({"value": 12}, None),
]


@pytest.mark.parametrize(("sent", "read"), COUNTS, ids=lambda value: repr(value)[:12])
def test_a_count_is_read_only_if_it_can_be_one(sent: Any, read: int | None) -> None:
    assert read_count({"n": sent}, "n") == read
    assert read_count({"n": sent}, "n", 5) == (5 if read is None else read)
    assert read_count({}, "n", 5) == 5


@pytest.mark.parametrize("count", [True, -5, 1.5, 10**30, "7", None], ids=str)
def test_a_wrong_count_costs_no_sample(count: Any, connected: Connect) -> None:
    """The tokens are counted here instead, and fit their column."""

    class Odd(FakeServer):
        def _payloads(self, body: dict[str, Any], path: str) -> list[dict[str, Any]]:
            usage = {"prompt_tokens": count, "completion_tokens": count}
            return [{**payload, "usage": usage} for payload in super()._payloads(body, path)]

    with Odd(answer=lambda body: "x" * 40) as server:
        (drawn,) = samples_of(drive(connected(server.url, stream=False), make_requests(1)))
    assert drawn.n_tokens == 10
    assert type(drawn.n_prompt_tokens) is int
    assert drawn.n_prompt_tokens > 0
    assert sample_schema().field("n_tokens").type.bit_width == 32


THINKING = [
    # (message, thinking, response)
    ({"content": "b", "reasoning_content": "a"}, "a", "b"),  # DeepSeek, SGLang, LiteLLM
    ({"content": "b", "reasoning": "a"}, "a", "b"),  # vLLM, OpenRouter
    ({"content": "b", "reasoning": "a", "reasoning_content": "a"}, "a", "b"),  # not twice
    ({"content": "b", "reasoning": "", "reasoning_content": "a"}, "a", "b"),
    ({"content": "b", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]}, "a", "b"),
    (
        {"content": "b", "reasoning": "a"}
        | {"reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
        "a",
        "b",
    ),
    ({"content": "b", "reasoning_details": [{"type": "x", "summary": "a"}]}, "a", "b"),
    ({"content": "b", "reasoning_details": [{"type": "reasoning.encrypted"}]}, None, "b"),
    ({"content": "b", "reasoning_details": []}, None, "b"),
    ({"content": [{"type": "text", "text": "b"}]}, None, "b"),
    ({"content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}, None, "bc"),
    (
        {"content": [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}]},
        "a",
        "b",
    ),
    (
        {  # Mistral
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                {"type": "text", "text": "b"},
            ]
        },
        "a",
        "b",
    ),
    ({"content": None, "refusal": "I can't."}, None, "I can't."),
    ({"content": "b", "refusal": None}, None, "b"),
    ({"content": None}, None, ""),
    ({"content": []}, None, ""),
]


@pytest.mark.parametrize(("message", "thinking", "response"), THINKING)
def test_reasoning_and_content_are_found(
    message: dict[str, Any], thinking: str | None, response: str
) -> None:
    ask = RenderedRequest("p-0", messages=QUESTION)
    parts = split_think(make_wire(api="chat").text(ask, chat_reply(**message)))
    assert parts.response is not None
    found = parts.thinking.strip() if parts.thinking is not None else None
    assert (found, parts.response.strip()) == (thinking, response)


MALFORMED = [
    {"content": 5},
    {"content": True},
    {"content": {"text": "a"}},
    {"content": ["a"]},
    {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
    {"content": [{"text": "a"}]},
    {"content": [{"type": "text", "text": 5}]},
    {"content": "b", "reasoning": {"text": "a"}},
    {"content": "b", "reasoning_content": ["a"]},
    {"content": "b", "reasoning_details": "a"},
    {"content": "b", "reasoning_details": [{"type": "reasoning.text", "text": 5}]},
    {"content": "b", "reasoning_details": ["a"]},
]


@pytest.mark.parametrize("message", MALFORMED)
def test_what_is_no_text_is_malformed(message: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        chat_reply(**message)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("tool_calls", None),
        ("insufficient_system_resource", None),
        ("error", None),
        ("something new", None),
        ("", None),
        (5, None),
        (["stop"], None),
    ],
)
def test_an_unknown_finish_reason_is_no_good_answer(
    sent: Any, kept: str | None, stream: bool, connected: Connect
) -> None:
    """The text may be cut off; another attempt may not be."""
    with FakeServer(choice={"finish_reason": sent}) as server:
        engine = connected(server.url, spec=make_spec(**CHAT), api="chat", stream=stream)
        (outcome,) = drive(engine, make_requests(1)).values()
    if kept is None:
        assert not samples_of({"": outcome})
        assert outcome.retryable  # type: ignore[union-attr]
    else:
        assert outcome.finish_reason == kept  # type: ignore[union-attr]


ERRORS = [
    ({"error": {"code": 402, "message": "m"}}, 402),
    ({"error": {"code": "429", "message": "m"}}, 429),
    ({"error": {"code": 200, "message": "m"}}, 0),
    ({"error": {"code": True, "message": "m"}}, 0),
    ({"error": {"code": 10**30, "message": "m"}}, 0),
    ({"error": {"code": "rate_limit", "message": "m"}}, 0),
    ({"error": "m"}, 0),
    ({"choices": [{"error": {"code": 502, "message": "m"}, "delta": {"content": ""}}]}, 502),
]


@pytest.mark.parametrize(("payload", "code"), ERRORS)
def test_an_error_with_status_200_is_an_error(payload: dict[str, Any], code: int) -> None:
    with pytest.raises(ErrorReply, match="an error: m") as caught:
        Reply().add(payload)
    assert caught.value.code == code


@pytest.mark.parametrize("error", [None, "", {}, False])
def test_an_empty_error_is_none(error: Any) -> None:
    reply = Reply()
    reply.add({"error": error, "choices": [{"text": "a", "finish_reason": "stop"}]})
    assert reply.content == ["a"]


TOO_LONG = "This model's maximum context length is 4096 tokens"
STATUSES = [
    # (status, message, code, kind, blame)
    (400, "bad field", "", "bad_request", "request"),
    (400, TOO_LONG, "context_length_exceeded", "prompt_too_long", "request"),
    (401, "wrong key", "", "bad_request", "setup"),
    (402, "Insufficient Balance", "", "bad_request", "setup"),
    (403, "flagged", "", "bad_request", "request"),
    (404, "no such route", "", "bad_request", "endpoint"),
    (404, "The model `x` does not exist", "", "bad_request", "request"),
    (404, "gone", "DeploymentNotFound", "bad_request", "request"),
    (408, "slow", "", "timeout", "unknown"),
    (413, "big", "", "prompt_too_long", "request"),
    (422, "bad field", "", "bad_request", "request"),
    (429, "slow down", "rate_limit_exceeded", "engine", "load"),
    (429, "quota", "insufficient_quota", "bad_request", "setup"),
    (500, "oops", "", "engine", "unknown"),
    (503, "busy", "", "engine", "unknown"),
    (504, "slow", "", "timeout", "unknown"),
    (529, "overloaded", "", "engine", "unknown"),
    (302, "moved", "", "bad_request", "endpoint"),
]


@pytest.mark.parametrize(("status", "message", "code", "kind", "blame"), STATUSES)
def test_whose_fault_a_status_is(
    status: int, message: str, code: str, kind: str, blame: str
) -> None:
    content = json.dumps({"error": {"message": message, "code": code}}).encode()
    fault = read_fault(status, content, httpx.Headers(), "THE_KEY", lambda text: text)
    assert fault is not None
    assert (fault.kind, fault.blame) == (kind, blame)
    assert message in fault.detail


@given(st.integers(300, 599), st.binary(max_size=60))
def test_no_error_body_at_all_raises(status: int, content: bytes) -> None:
    fault = read_fault(status, content, httpx.Headers(), None, lambda text: text)
    assert fault is not None
    fault.detail.encode()
    assert "\n" not in fault.detail


@given(st.text(st.characters(), max_size=400))
def test_a_message_is_one_printable_line(text: str) -> None:
    line = clean_message(text + "\ud800\x1b[31m")
    line.encode()
    assert line.isprintable()
    assert len(line) <= 300


CALLS = [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"a": '}},
    {"index": 0, "function": {"arguments": "1}"}},
    {"index": 1, "id": "c2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
]


def test_calls_that_a_server_read_become_text() -> None:
    """A stream sends them in pieces; the stored text is one that the parser reads."""
    from filters.tool_calls.parsing import parse_turn

    reply = Reply()
    for piece in CALLS:
        reply.add({"choices": [{"delta": {"content": None, "tool_calls": [piece]}}]})
    reply.add({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    assert reply.is_called
    assert reply.has_text
    calls = parse_turn(write_calls(reply.calls)).calls
    found = [(call.name, call.arguments, call.id) for call in calls]
    assert found == [("add", {"a": 1}, "c1"), ("stop", {}, "c2")]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([{"type": "function"}], "without a function"),
        (["add"], "without a function"),
        ([{"index": 10**9, "function": {"name": "f"}}], "with the index"),
        ([{"index": "0", "function": {"name": "f"}}], "with the index"),
        ([{"function": {"name": 3}}], "expected text"),
    ],
)
def test_calls_that_cannot_be_read_are_malformed(calls: Any, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        Reply().add({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "stop"}]})


def test_arguments_that_are_no_json_stay_so() -> None:
    from filters.tool_calls.parsing import parse_turn

    reply = Reply()
    function = {"name": "f", "arguments": '{"a": '}
    reply.add({"choices": [{"message": {"tool_calls": [{"function": function}]}}]})
    parsed = parse_turn(write_calls(reply.calls))
    assert not parsed.calls
    assert parsed.malformed
