"""Tool calls in every format that is read, and what looks like a call and is none."""

from __future__ import annotations

import json
import keyword

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.tool_calls.calls import ToolCall
from filters.tool_calls.parsing import FORMATS, parse_turn

OSLO = ToolCall("get_weather", {"city": "Oslo"})
SUM = ToolCall("math.add", {"a": 1, "b": -2.5})

HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
DEEPSEEK = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    '```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
)
SERVER_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}
MESSAGE = {"role": "assistant", "content": None, "tool_calls": [SERVER_CALL]}
XML = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n"
    "</function>\n</tool_call>"
)

ONE_CALL = [
    ("hermes", HERMES),
    ("hermes", f"I look it up.\n{HERMES}<|im_end|>"),
    ("hermes", '<tool_call>{"name":"get_weather","arguments":{"city":"Oslo"}}</tool_call>'),
    ("json", '{"name": "get_weather", "parameters": {"city": "Oslo"}}<|eot_id|>'),
    ("json", '{"type": "function", "name": "get_weather", "parameters": {"city": "Oslo"}}'),
    ("json", '[{"name": "get_weather", "arguments": {"city": "Oslo"}}]'),
    ("llama", '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}<|eom_id|>'),
    ("llama", '<|python_tag|>get_weather.call(city="Oslo")<|eom_id|>'),
    ("llama", '<function=get_weather>{"city": "Oslo"}</function><|eom_id|>'),
    ("mistral", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}}]</s>'),
    ("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}</s>'),
    ("mistral", '[TOOL_CALLS]get_weather{"city": "Oslo"}'),
    ("deepseek", DEEPSEEK),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        '{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    ("pythonic", '[get_weather(city="Oslo")]'),
    ("pythonic", "[get_weather(city='Oslo')]<|eot_id|>"),
]


@pytest.mark.parametrize(("format", "text"), ONE_CALL)
def test_one_call_in_its_format(format: str, text: str) -> None:
    for thinking in ("", "<think>Where is it?</think>\n\n"):
        turn = parse_turn(thinking + text)
        assert (turn.calls, turn.malformed, turn.format) == ((OSLO,), (), format)
        assert turn.thinking == ("Where is it?" if thinking else "")
        named = "llama" if "parameters" in text else format
        assert parse_turn(thinking + text, named).calls == (OSLO,)


def test_qwen3_coder_writes_texts() -> None:
    (call,) = parse_turn(XML).calls
    assert call == ToolCall("get_weather", {"city": "Oslo"}, untyped=True)


@pytest.mark.parametrize("text", [json.dumps(MESSAGE), json.dumps([SERVER_CALL])])
def test_calls_as_a_server_returns_them(text: str) -> None:
    assert parse_turn(text).calls == (ToolCall("get_weather", {"city": "Oslo"}, "call_1"),)


def test_a_message_of_a_server_keeps_its_think_section() -> None:
    said = MESSAGE | {"content": "<think>Hm.</think>Wait.", "reasoning_content": ""}
    turn = parse_turn(json.dumps(said))
    assert (turn.thinking, turn.content, len(turn.calls)) == ("Hm.", "Wait.", 1)
    plain = parse_turn(json.dumps({"role": "assistant", "content": "No."}))
    assert (plain.content, plain.calls, plain.format) == ("No.", (), None)
    assert parse_turn(json.dumps(MESSAGE | {"reasoning": "Hm."})).thinking == "Hm."


SEVERAL = [
    HERMES + '\n<tool_call>{"name": "math.add", "arguments": {"a": 1, "b": -2.5}}</tool_call>',
    '{"name": "get_weather", "parameters": {"city": "Oslo"}}; '
    '{"name": "math.add", "parameters": {"a": 1, "b": -2.5}}',
    '[{"name": "get_weather", "arguments": {"city": "Oslo"}}, '
    '{"name": "math.add", "arguments": {"a": 1, "b": -2.5}}]',
    '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]math.add[ARGS]{"a": 1, "b": -2.5}',
    '[get_weather(city="Oslo"), math.add(a=1, b=-2.5)]',
    DEEPSEEK.replace(
        "<｜tool▁calls▁end｜>",
        "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>math.add\n```json\n"
        '{"a": 1, "b": -2.5}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
]


@pytest.mark.parametrize("text", SEVERAL)
def test_parallel_calls_keep_their_order(text: str) -> None:
    turn = parse_turn(text)
    assert (turn.calls, turn.malformed) == ((OSLO, SUM), ())


def test_content_is_what_stands_outside_of_calls() -> None:
    turn = parse_turn(f"Let me see.\n{HERMES}\nIt is 5 degrees.<|im_end|>")
    assert turn.content == "Let me see.\n\nIt is 5 degrees."
    assert parse_turn("Oslo is cold.<|im_end|>\n").content == "Oslo is cold."


NO_CALL = [
    "I would call get_weather(city='Oslo').",
    'Here it is: {"name": "get_weather", "arguments": {"city": "Oslo"}}',
    '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
    'The call is [get_weather(city="Oslo")]',
    '{"name": "Ann", "age": 3}',
    '[{"name": "Ann"}, {"name": "Bob"}]',
    "[1, 2, 3]",
    "[]",
    "{}",
    "[link](https://example.org)",
    "{unbalanced",
    "",
    f"<think>{HERMES}</think>\n\nIt is cold.",
    f"<think>I could write {HERMES}",
    '<think>[get_weather(city="Oslo")]</think>No.',
]


@pytest.mark.parametrize("text", NO_CALL)
def test_prose_and_thoughts_hold_no_call(text: str) -> None:
    turn = parse_turn(text)
    assert (turn.calls, turn.malformed, turn.format) == ((), (), None)


MALFORMED = [
    (HERMES[:-12], "not closed"),
    (HERMES[:30], "no JSON"),
    (HERMES.replace("}}", "}"), "no JSON"),
    (HERMES.replace("</tool_call>", "x</tool_call>"), "text stands between"),
    (HERMES + "</tool_call>", "without <tool_call>"),
    (HERMES.replace('"name"', '"tool"'), "no name"),
    (HERMES.replace("arguments", "parameters"), "no arguments"),
    (HERMES.replace('{"city": "Oslo"}', '"Oslo"'), "no JSON object"),
    (HERMES.replace('"city": "Oslo"', '"city": "Oslo", "city": "Rome"'), "twice"),
    (HERMES.replace('"Oslo"', "NaN"), "NaN"),
    (HERMES.replace('"Oslo"', "1e999"), "out of range"),
    (HERMES.replace('"Oslo"', "[" * 100 + "]" * 100), "nested"),
    (HERMES.replace('"Oslo"', "[" * 100_000), "no JSON"),
    (f"```\n{HERMES}\n```", "quoted"),
    (f"You write `{HERMES}`.", "quoted"),
    (XML.replace("</parameter>", ""), "not closed"),
    (XML.replace("<tool_call>\n", "").replace("\n</tool_call>", ""), "no JSON"),
    ('{"name": "get_weather", "arguments": {"city": "Oslo"}', "no JSON"),
    ('{"name": "get_weather", "arguments": {"city": "Oslo"}} Done.', "no JSON"),
    ('[TOOL_CALLS] {"name": "get_weather", "arguments": {}}', "no list"),
    ("[TOOL_CALLS] get_weather", "no JSON"),
    (DEEPSEEK.replace("\n```<", "\n<"), "not closed"),
    (DEEPSEEK.replace("<｜tool▁calls▁end｜>", ""), "not closed"),
    ('[get_weather("Oslo")]', "no name"),
    ('[get_weather(city="Oslo"), 3]', "no call"),
    ('[get_weather(city=open("/etc/passwd").read())]', "no literal"),
    ('[get_weather(city=f"{1}")]', "no literal"),
    ('[get_weather(city="Oslo", city="Rome")]', "twice"),
    ("[get_weather(**{'city': 'Oslo'})]", "not written out"),
    ('[get_weather(city="Oslo")', "no Python"),
    ("[get_weather(city=" + "[" * 100_000, "nested"),
    ("[get_weather(ﬁeld=1)]", "letters that Python changes"),
    ("[get_weather(city=1e999)]", "no literal"),
    (json.dumps(MESSAGE)[:-3], "no JSON"),
    (json.dumps(MESSAGE).replace("Oslo", "\\\\"), "no JSON"),
]


@pytest.mark.parametrize(("text", "reason"), MALFORMED)
def test_a_failed_call_says_why(text: str, reason: str) -> None:
    turn = parse_turn(text)
    assert reason in " ".join(turn.malformed)


def test_a_good_call_next_to_a_failed_one_is_still_read() -> None:
    turn = parse_turn(f"<tool_call>oops</tool_call>{HERMES}")
    assert (len(turn.calls), len(turn.malformed)) == (1, 1)


def test_a_closing_mark_inside_an_argument_is_text() -> None:
    written = json.dumps({"name": "note", "arguments": {"text": "</tool_call><tool_call>["}})
    (call,) = parse_turn(f"<tool_call>{written}</tool_call>").calls
    assert call.arguments == {"text": "</tool_call><tool_call>["}


def test_json_before_a_marked_call_does_not_hide_it() -> None:
    assert parse_turn('{"a": 1} ' + HERMES).calls == (OSLO,)
    assert parse_turn("[1] " + HERMES).calls == (OSLO,)


def test_a_named_format_reads_only_itself() -> None:
    assert parse_turn(HERMES, "mistral").calls == ()
    assert parse_turn(HERMES, "mistral").content == HERMES
    with pytest.raises(ValueError, match="'qwen'; it must be auto or one of hermes"):
        parse_turn(HERMES, "qwen")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[A-Za-z_][A-Za-z0-9_]{0,8})?", fullmatch=True)
ARGUMENTS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
        lambda name: not keyword.iskeyword(name)
    ),
    JSON_VALUES,
    max_size=3,
)
CALLS = st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=3)


def write(calls: list[tuple[str, dict[str, object]]], format: str) -> str:
    """The calls as a model of this format writes them."""
    objects = [{"name": name, "arguments": arguments} for name, arguments in calls]
    match format:
        case "hermes":
            return "\n".join(f"<tool_call>\n{json.dumps(o)}\n</tool_call>" for o in objects)
        case "llama":
            given = [{"name": o["name"], "parameters": o["arguments"]} for o in objects]
            return "; ".join(map(json.dumps, given))
        case "mistral":
            return "".join(f"[TOOL_CALLS]{n}[ARGS]{json.dumps(a)}" for n, a in calls)
        case "deepseek":
            each = (
                f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{json.dumps(a)}\n```"
                "<｜tool▁call▁end｜>"
                for n, a in calls
            )
            return "<｜tool▁calls▁begin｜>" + "\n".join(each) + "<｜tool▁calls▁end｜>"
        case "pythonic":
            return "[" + ", ".join(
                f"{n}({', '.join(f'{key}={value!r}' for key, value in a.items())})"
                for n, a in calls
            ) + "]"  # fmt: skip
        case "openai":
            functions = [{"name": n, "arguments": json.dumps(a)} for n, a in calls]
            return json.dumps({"tool_calls": [{"function": f} for f in functions]})
    return json.dumps(objects)


@pytest.mark.parametrize("format", FORMATS)
@given(calls=CALLS)
@settings(max_examples=40)
def test_what_is_written_is_read(format: str, calls: list[tuple[str, dict[str, object]]]) -> None:
    if format == "pythonic":
        calls = [(n, a) for n, a in calls if not any(map(keyword.iskeyword, n.split(".")))]
        if not calls:
            return
    text = write(calls, format)
    if "think>" in text:
        return
    for name in ("auto", format):
        turn = parse_turn(text, name)
        assert turn.malformed == ()
        assert [(call.name, call.arguments) for call in turn.calls] == calls


PIECES = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "{", "}", "[", "]", '"', "\\", "name",
    '{"name": "f", "arguments": {}}', "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<function=f>",
    "</function>", "<parameter=a>", "</parameter>", "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>",
    "```", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "f(a=1)", "[f(a=1)]", ",", ":",
    "\ud800", "\0",
    '"tool_calls"', '"role": "assistant"', "é", "\n", " ", ";", "-", "1", "null", "lambda", "'''",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join))
@settings(max_examples=400)
def test_any_text_gives_a_result(text: str) -> None:
    for format in ("auto", *FORMATS):
        turn = parse_turn(text, format)
        assert all(isinstance(call.arguments, dict) and call.name for call in turn.calls)
        assert bool(turn.calls or turn.malformed) == (turn.format is not None)


@pytest.mark.parametrize("piece", [*PIECES, '<tool_call>["</tool_call>', "[TOOL_CALLS]f{"])
def test_long_texts_are_read_in_linear_time(piece: str) -> None:
    """No clock: a quadratic reader would run into the test's timeout."""
    text = piece * (3_000_000 // len(piece))
    for format in ("auto", "hermes") if piece.isalnum() else ("auto",):
        assert parse_turn(text, format).calls is not None
