"""Request bodies and parsed replies: tables, without network."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.core.errors import RecipeError
from factory.core.nouns import Message
from factory.prompts.templates import Prompting
from factory.recipe.engines.options import ServerOptions
from factory.recipe.sampling import Sampling
from factory.sampling.engines.openai_api import (
    STREAM_INTERVAL,
    RenderedRequest,
    Served,
    Wire,
    check_api_options,
)
from factory.sampling.engines.replies import Malformed, Reply

VLLM = Served("vllm", "m", contexts={"m": 4096})
HOSTED = Served("openai", "m")
URL = "http://host:8000/v1"
QUESTION = (Message(role="user", content="1 + 1?"),)


def make_wire(
    prompting: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    **options: Any,
) -> Wire:
    return Wire(
        Prompting.model_validate(prompting or {}),
        Sampling.model_validate(sampling or {}),
        ServerOptions(urls=(URL,), **options),
    )


def reply_of(*payloads: Any) -> Reply:
    reply = Reply()
    for payload in payloads:
        reply.add(payload)
    return reply


def chat_reply(finish: str = "stop", **message: Any) -> Reply:
    return reply_of({"choices": [{"message": message, "finish_reason": finish}]})


def text_reply(text: str, **choice: Any) -> Reply:
    return reply_of({"choices": [{"text": text, "finish_reason": "stop", **choice}]})


def test_vllm_is_told_every_setting() -> None:
    """All settings are sent; otherwise generation_config.json would fill them in."""
    wire = make_wire({"template": "r1_zero"}, {"temperature": 0.7, "top_k": 50, "max_tokens": 9999})
    body = wire.body(RenderedRequest("p-0", "<think>\n", "Q", special_tokens=True), VLLM)
    assert body == {
        "model": "m",
        "prompt": "Q<think>\n",
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": 50,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": 4096,  # more than the context is refused, so the context it is
        "stop": ["\nUser:", "</answer>"],
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "add_special_tokens": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "stream_interval": STREAM_INTERVAL,
    }


def test_a_continuation_is_sent_as_the_start_of_the_turn_with_its_own_limits() -> None:
    wire = make_wire({"template": "few_shot"}, {"stop": ["END"]}, api="completions")
    rendered = RenderedRequest("p-0", "<think>\n1\n", "Q\n", max_tokens=5, stop=("\n",))
    body = wire.body(rendered, VLLM)
    assert body["prompt"] == "Q\n<think>\n1\n"
    assert (body["stop"][-2:], body["max_tokens"]) == (["END", "\n"], 5)
    stopped = wire.text(rendered, text_reply("2 + 2", stop_reason="\n"))
    ended = wire.text(rendered, text_reply("2 + 2"))
    assert (stopped, ended) == ("<think>\n1\n2 + 2\n", "<think>\n1\n2 + 2")


def test_a_hosted_api_is_told_standard_fields_only() -> None:
    wire = make_wire({"template": "r1_zero"}, {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64})
    assert wire.body(RenderedRequest("p-0", prompt="Q"), HOSTED) == {
        "model": "m",
        "prompt": "Q",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 64,
        # The server would not report whether it met </answer>, so the stop string is not sent.
        "stop": ["\nUser:"],
    }


def test_a_chat_with_a_prefill_continues_its_last_message() -> None:
    body = make_wire(api="chat").body(RenderedRequest("p-0", "<think>\n", messages=QUESTION), VLLM)
    assert body["messages"] == [*QUESTION, {"role": "assistant", "content": "<think>\n"}]
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert "add_special_tokens" not in body


def test_extra_body_is_added_and_max_completion_tokens_replaces_max_tokens() -> None:
    extra = {"reasoning_effort": "low", "max_completion_tokens": 99}
    body = make_wire(api="chat", extra_body=extra).body(
        RenderedRequest("p-0", messages=QUESTION), HOSTED
    )
    assert body["reasoning_effort"] == "low"
    assert body["max_completion_tokens"] == 99
    assert "max_tokens" not in body


def test_seeds_are_each_samples_own_and_only_on_request() -> None:
    asks = [RenderedRequest(f"p-{index}", prompt="Q") for index in range(50)]
    seeds = [make_wire(request_seeds=True).body(ask, VLLM)["seed"] for ask in asks]
    assert len(set(seeds)) == 50
    assert seeds[0] == make_wire(request_seeds=True).body(asks[0], VLLM)["seed"]
    assert "seed" not in make_wire().body(asks[0], VLLM)


@pytest.mark.parametrize(
    ("sampling", "place"),
    [
        ({"top_k": 50}, "sampling.top_k"),
        ({"min_p": 0.1}, "sampling.min_p"),
        ({"repetition_penalty": 1.1}, "sampling.repetition_penalty"),
    ],
)
def test_what_a_hosted_api_cannot_do_is_named(sampling: dict[str, Any], place: str) -> None:
    (problem,) = make_wire(sampling=sampling).find_unsupported("openai")
    assert problem.place == place
    assert make_wire(sampling=sampling).find_unsupported("vllm") == []


def test_a_search_needs_a_server_that_reports_stop_strings() -> None:
    search = {"policy": "tree", "search": {"value": {"verifier": True, "rollouts": 1}}}
    wire = make_wire({"template": "few_shot"}, search, api="completions")
    assert wire.find_unsupported("vllm") == []
    (problem,) = wire.find_unsupported("openai")
    assert problem.place == "sampling.search"


def test_a_prefill_needs_a_server_that_continues_messages() -> None:
    (problem,) = make_wire({"prefill": "<think>\n"}, api="chat").find_unsupported("openai")
    assert problem.place == "prompting.prefill"
    assert make_wire({"prefill": "<think>\n"}, api="completions").find_unsupported("openai") == []


@pytest.mark.parametrize("template", ["r1_zero", "few_shot"])
def test_a_plain_text_template_does_not_fit_a_chat_api(template: str) -> None:
    prompting = Prompting.model_validate({"template": template})
    check_api_options(prompting, Sampling(), ServerOptions(urls=(URL,)))
    with pytest.raises(RecipeError, match="set api: completions"):
        check_api_options(prompting, Sampling(), ServerOptions(urls=(URL,), api="chat"))


def test_early_stop_needs_a_stream() -> None:
    sampling = Sampling.model_validate({"early_stop": {}})
    with pytest.raises(RecipeError, match=r"engine\.server\.stream is false"):
        check_api_options(Prompting(), sampling, ServerOptions(urls=(URL,), stream=False))
    assert make_wire(sampling={"early_stop": {}}).streams(HOSTED)
    assert not make_wire().streams(HOSTED)


UNTIL = {"policy": "until", "n": 8, "accept": 1, "give_up_after": 4}


def test_an_escalation_has_its_own_settings_and_model() -> None:
    steps = [{"temperature": 1.2}, {"model": "big", "max_tokens": 9}]
    wire = make_wire(sampling={**UNTIL, "temperature": 0.7, "escalate": steps}, api="chat")
    served = Served("openai", "m", frozenset({"big"}))
    bodies = [
        wire.body(RenderedRequest("p-0", messages=QUESTION, level=level, model=model), served)
        for level, model in enumerate([None, None, "big"])
    ]
    assert [body["temperature"] for body in bodies] == [0.7, 1.2, 0.7]
    assert [body["model"] for body in bodies] == ["m", "m", "big"]
    assert bodies[2]["max_tokens"] == 9


def test_another_models_prompts_are_not_rendered_with_this_ones_template() -> None:
    sampling = Sampling.model_validate({**UNTIL, "escalate": [{"model": "big"}]})
    with pytest.raises(RecipeError, match="set api: chat"):
        check_api_options(Prompting(), sampling, ServerOptions(urls=(URL,)))
    check_api_options(Prompting(), sampling, ServerOptions(urls=(URL,), api="chat"))


R1_ZERO_ENDS = [
    # (reply, its canonical text)
    (text_reply("a<answer>2", stop_reason="</answer>"), "a<answer>2</answer>"),
    (text_reply("a<answer>2", matched_stop="</answer>"), "a<answer>2</answer>"),  # SGLang
    (text_reply("a", stop_reason="\nUser:"), "a"),
    (text_reply("a", stop_reason=None), "a"),
    (text_reply("a", stop_reason=151643), "a"),  # a token id
    # A server that did not get the kept stop string generated text beyond it.
    (text_reply("a<answer>2</answer> and more </answer>"), "a<answer>2</answer>"),
    (text_reply(""), ""),
]


@pytest.mark.parametrize(("reply", "text"), R1_ZERO_ENDS)
def test_kept_stops_end_the_text_as_in_the_embedded_engine(reply: Reply, text: str) -> None:
    assert make_wire({"template": "r1_zero"}).text(RenderedRequest("p-0"), reply) == text


JOINED = [
    # (prefill, message, finish_reason, canonical text)
    ("", {"content": "<think>\na\n</think>\n\nb"}, "stop", "<think>\na\n</think>\n\nb"),
    ("", {"content": "b", "reasoning_content": "a"}, "stop", "<think>\na\n</think>\n\nb"),
    ("", {"content": "\n\nb", "reasoning": "\na\n"}, "stop", "<think>\na\n</think>\n\nb"),
    ("", {"content": "b", "reasoning": None}, "stop", "b"),
    ("", {"content": "b", "reasoning_content": ""}, "stop", "b"),
    ("", {"content": None, "reasoning": "a"}, "length", "<think>\na"),  # never closed
    ("", {"content": "", "reasoning": "a"}, "stop", "<think>\na"),
    ("<think>\n", {"content": "a\n</think>\n\nb"}, "stop", "<think>\na\n</think>\n\nb"),
    ("<think>\n", {"content": "b", "reasoning": "a"}, "stop", "<think>\na\n</think>\n\nb"),
    (
        "<think>\nOkay,",
        {"content": "b", "reasoning": " a"},
        "stop",
        "<think>\nOkay, a\n</think>\n\nb",
    ),
]


@pytest.mark.parametrize(("prefill", "message", "finish", "text"), JOINED)
def test_split_reasoning_is_joined(
    prefill: str, message: dict[str, Any], finish: str, text: str
) -> None:
    ask = RenderedRequest("p-0", prefill, messages=QUESTION)
    assert make_wire(api="chat").text(ask, chat_reply(finish, **message)) == text


def test_a_stream_means_what_the_whole_means() -> None:
    streamed = reply_of(
        {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"delta": {"reasoning": "a"}}], "usage": {"completion_tokens": 1}},
        {"choices": [{"delta": {"content": "b"}}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )
    whole = chat_reply("length", reasoning="a", content="b")
    wire, ask = make_wire(api="chat"), RenderedRequest("p-0", messages=QUESTION)
    assert wire.text(ask, streamed) == wire.text(ask, whole)
    assert streamed.reason == whole.reason == "length"
    assert (streamed.n_prompt_tokens, streamed.n_tokens) == (3, 2)


@pytest.mark.parametrize(
    "payload",
    [
        [],
        "text",
        None,
        {},
        {"choices": None},
        {"choices": ["text"]},
        {"choices": [{"text": 5}]},
        {"choices": [{"message": "text"}]},
        {"choices": [{"message": {"content": ["a"]}}]},
        {"error": {"message": "overloaded"}},
    ],
)
def test_a_malformed_reply_is_told_from_a_good_one(payload: Any) -> None:
    with pytest.raises(Malformed):
        Reply().add(payload)


def test_half_a_surrogate_pair_never_reaches_a_file() -> None:
    pieces = json.loads('["\\ud83d", "\\ude00 and ", "\\ud800"]')
    reply = Reply()
    for piece in pieces:
        reply.add({"choices": [{"text": piece}]})
    assert make_wire().text(RenderedRequest("p-0"), reply) == "\U0001f600 and \ufffd"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "text", "message", "delta", "content", "usage", "error"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_reply_at_all_raises_anything_else(payload: Any) -> None:
    reply = Reply()
    try:
        reply.add(payload)
    except Malformed:
        return
    make_wire().text(RenderedRequest("p-0"), reply).encode()


URLS = [
    ("http://host:8000", "http://host:8000/v1"),
    ("http://host:8000/", "http://host:8000/v1"),
    ("https://api.example.com/v1/", "https://api.example.com/v1"),
    ("https://api.example.com/openai/v2", "https://api.example.com/openai/v2"),
]


@pytest.mark.parametrize(("given_url", "used"), URLS)
def test_base_urls(given_url: str, used: str) -> None:
    assert ServerOptions(urls=(given_url,)).urls == (used,)


@pytest.mark.parametrize(
    "fields",
    [
        {"urls": ("host:8000",)},
        {"urls": ("ftp://host/v1",)},
        {"urls": (URL, URL + "/")},
        {"urls": (URL,), "max_concurrency": 0},
        {"urls": (URL,), "timeout_s": 0},
        {"urls": (URL,), "url": URL},
        {"urls": (URL,), "extra_body": {"n": 2}},
    ],
)
def test_wrong_options_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServerOptions.model_validate(fields)


def test_a_password_in_a_url_is_refused_without_being_the_reason_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        ServerOptions(urls=("http://user:hunter2@host/v1",))
    assert "hunter2" not in caught.value.errors(include_input=False, include_url=False)[0]["msg"]
