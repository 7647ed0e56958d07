"""How models write tool calls: one reader a format. Sources: the chat templates of the models.

A reader takes a response (what follows the think section) and gives what it found. Each costs time
in proportion to the text: what was read is not read again, and after `MAX_MALFORMED` failures the
rest is content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from filters.tool_calls.calls import Malformed, ToolCall
from filters.tool_calls.values import (
    read_call,
    read_json,
    read_python_calls,
    read_whole_json,
    skip_space,
)

MAX_MALFORMED = 50

_FENCE = "```"
_BOTH = ("arguments", "parameters")
_NAME = r"[A-Za-z_][\w.-]*"
_ENDINGS = re.compile(
    r"(?:<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text)\|>|</s>|<｜end▁of▁sentence｜>|\s)*\Z"
)


class Found(NamedTuple):
    """What a reader found: text outside of calls, calls, and failed attempts."""

    content: str
    calls: list[ToolCall]
    malformed: list[str]


Block = Callable[[str, int], tuple[list[ToolCall], int]]
"""Reads the calls that start behind an opening mark, and says where their block ends."""


def trim(text: str) -> str:
    """A text without white space, and without the marks of a template at its end."""
    text = text.rstrip()
    tail = text[-200:]
    cut = _ENDINGS.search(tail)
    assert cut is not None
    return text[: len(text) - len(tail) + cut.start()].strip()


def _read_blocks(text: str, opening: str, closing: str, read: Block) -> Found:
    """Read the blocks between two marks. An empty `closing`: `read` alone knows the end.

    A block in a code fence or behind a backtick is malformed: a server would run it, and a reader
    would take it for a quotation.
    """
    found = Found("", [], [])
    outside: list[str] = []
    at = fences = 0
    while (start := text.find(opening, at)) >= 0 and len(found.malformed) < MAX_MALFORMED:
        before = text[at:start]
        fences += before.count(_FENCE)
        outside.append(before)
        try:
            calls, end = read(text, start + len(opening))
            if closing and not text.startswith(closing, end):
                raise Malformed(f"{opening} is not closed" if end >= len(text) else
                                f"text stands between a call and {closing}")  # fmt: skip
            end += len(closing)
            if fences % 2 or before.endswith("`"):
                raise Malformed("the call is quoted as code")
            found.calls.extend(calls)
        except Malformed as error:
            found.malformed.append(str(error))
            closed = text.find(closing, start) if closing else text.find(opening, start + 1)
            end = len(text) if closed < 0 else closed + len(closing)
        at = end
    outside.append(text[at:])
    if closing and any(closing in part for part in outside):
        found.malformed.append(f"{closing} without {opening}")
    return found._replace(content=trim("".join(outside)))


def read_hermes(text: str) -> Found:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen), or the XML of
    Qwen3-Coder."""
    return _read_blocks(text, "<tool_call>", "</tool_call>", _hermes_block)


def _hermes_block(text: str, at: int) -> tuple[list[ToolCall], int]:
    at = skip_space(text, at)
    if text.startswith("<function=", at):
        call, end = _xml_function(text, at)
        return [call], skip_space(text, end)
    value, end = read_json(text, at)
    return [read_call(value)], end


_FUNCTION = re.compile(rf"<function=({_NAME})>\s*")
_PARAMETER = re.compile(r"<parameter=([^<>\n]{1,200})>\n?")


def _xml_function(text: str, at: int) -> tuple[ToolCall, int]:
    """`<function=f><parameter=a>…</parameter></function>`: each value is the text between its tags,
    without the line breaks next to them."""
    opened = _FUNCTION.match(text, at)
    if opened is None:
        raise Malformed("<function=…> has no name")
    at, arguments = opened.end(), dict[str, Any]()
    while parameter := _PARAMETER.match(text, at):
        end = text.find("</parameter>", parameter.end())
        if end < 0:
            raise Malformed("<parameter=…> is not closed")
        if parameter[1] in arguments:
            raise Malformed(f"the argument {parameter[1]} is given twice")
        arguments[parameter[1]] = text[parameter.end() : end].removesuffix("\n")
        at = skip_space(text, end + len("</parameter>"))
    if not text.startswith("</function>", at):
        raise Malformed("<function=…> is not closed")
    return ToolCall(opened[1], arguments, untyped=True), at + len("</function>")


PYTHON_TAG = "<|python_tag|>"


def read_llama(text: str) -> Found:
    """Llama 3.x: `{"name": …, "parameters": {…}}` as the whole response, several separated by `;`
    or line breaks; the same or `f.call(a=1)` behind `<|python_tag|>`; or
    `<function=f>{…}</function>`."""
    before, tag, after = text.partition(PYTHON_TAG)
    if tag:
        written = trim(after)
        try:
            calls = _json_series(written) if written[:1] == "{" else _built_in(written)
        except Malformed as error:
            return Found(before.strip(), [], [str(error)])
        return Found(before.strip(), calls, [])
    if "<function=" in text:
        return _read_blocks(text, "<function=", "</function>", _named_json)
    return read_bare_json(text)


def _built_in(text: str) -> list[ToolCall]:
    """`brave_search.call(query="…")`: the name of the tool is what is before `.call`."""
    calls = read_python_calls(text)
    return [ToolCall(call.name.removesuffix(".call"), call.arguments) for call in calls]


def _named_json(text: str, at: int) -> tuple[list[ToolCall], int]:
    named = re.compile(rf"({_NAME})>").match(text, at)
    if named is None:
        raise Malformed("<function=…> has no name")
    value, end = read_json(text, named.end())
    return [read_call({"name": named[1], "arguments": value})], end


def read_bare_json(text: str) -> Found:
    """`{"name": …, "arguments" or "parameters": {…}}` as the whole response, or a list of those.

    JSON without these keys is an answer, not a call.
    """
    whole = trim(text)
    if whole[:1] not in ("{", "["):
        return Found(whole, [], [])
    try:
        if whole[:1] == "[":
            values = read_whole_json(whole)
            calls = [read_call(value, _BOTH) for value in values]
            return Found("", calls, []) if calls else Found(whole, [], [])
        return Found("", _json_series(whole), [])
    except Malformed as error:
        is_attempt = _ATTEMPT.match(whole) is not None
        return Found("" if is_attempt else whole, [], [str(error)] if is_attempt else [])


_ATTEMPT = re.compile(
    r'\[?\s*\{\s*(?:"(?:id|type)"\s*:\s*"[^"\n]{0,100}"\s*,\s*)?'
    r'"name"\s*:\s*"[^"\n]{0,200}"\s*,\s*"(?:arguments|parameters)"\s*:'
)
"""How a bare call begins. What begins so and cannot be read is a failed call, no answer."""


def _json_series(text: str) -> list[ToolCall]:
    calls, at = list[ToolCall](), 0
    while at < len(text):
        value, at = read_json(text, at)
        calls.append(read_call(value, _BOTH))
        if text.startswith(";", at):
            at = skip_space(text, at + 1)
    return calls


TOOL_CALLS = "[TOOL_CALLS]"


def read_mistral(text: str) -> Found:
    """`[TOOL_CALLS] [{"name": …, "arguments": {…}, "id": …}]`, or `[TOOL_CALLS]f[ARGS]{…}`, each
    repeated."""
    return _read_blocks(text, TOOL_CALLS, "", _mistral_block)


_MISTRAL_NAME = re.compile(rf"\s*({_NAME})(?:\[CALL_ID\](\w{{1,64}}))?(?:\[ARGS\])?(?=\s*\{{)")


def _mistral_block(text: str, at: int) -> tuple[list[ToolCall], int]:
    named = _MISTRAL_NAME.match(text, at)
    if named:
        value, end = read_json(text, named.end())
        return [read_call({"name": named[1], "arguments": value, "id": named[2]})], end
    value, end = read_json(text, at)
    if not isinstance(value, list) or not value:
        raise Malformed(f"no list of calls follows {TOOL_CALLS}")
    return [read_call(item) for item in value], end


CALL_BEGIN, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_LIST_MARKS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")


def read_deepseek(text: str) -> Found:
    """DeepSeek V3 and R1: `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f` and a block of JSON; V3.1:
    `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{…}`."""
    found = _read_blocks(text, CALL_BEGIN, CALL_END, _deepseek_block)
    content, malformed = found.content, list(found.malformed)
    opened, closed = (content.count(mark) for mark in _LIST_MARKS)
    if opened != closed and not malformed:
        malformed.append("the list of calls is not closed" if opened > closed else
                         "the list of calls is not opened")  # fmt: skip
    elif not found.calls and not malformed:
        malformed.append("the list of calls is empty")
    for mark in _LIST_MARKS:
        content = content.replace(mark, "")
    calls = [] if opened != closed else found.calls
    return Found(trim(content), calls, malformed)


_DEEPSEEK_NAME = re.compile(
    rf"(?:function{SEPARATOR}({_NAME})\s*```json\s*|({_NAME}){SEPARATOR})(?=\s*\{{)"
)


def _deepseek_block(text: str, at: int) -> tuple[list[ToolCall], int]:
    named = _DEEPSEEK_NAME.match(text, at)
    if named is None:
        raise Malformed(f"no name and JSON follow {CALL_BEGIN}")
    value, end = read_json(text, named.end())
    if named[1]:
        if not text.startswith(_FENCE, end):
            raise Malformed("the block of JSON is not closed")
        end = skip_space(text, end + len(_FENCE))
    return [read_call({"name": named[1] or named[2], "arguments": value})], end


LOOKS_PYTHONIC = re.compile(rf"\[\s*{_NAME}\s*\(")


def read_pythonic(text: str) -> Found:
    """`[f(a=1), g()]` as the whole response (Llama 4, BFCL)."""
    whole = trim(text)
    if not LOOKS_PYTHONIC.match(whole):
        return Found(whole, [], [])
    try:
        return Found("", read_python_calls(whole), [])
    except Malformed as error:
        return Found("", [], [str(error)])


def read_openai(text: str) -> Found:
    """What a server returns, as JSON: an assistant message with `tool_calls`, or that list."""
    whole = trim(text)
    try:
        value = read_whole_json(whole)
    except Malformed as error:
        failed = whole.startswith(("{", "[")) and '"tool_calls"' in whole
        return Found("" if failed else whole, [], [str(error)] if failed else [])
    message = value if isinstance(value, dict) else {"tool_calls": value}
    listed = message.get("tool_calls")
    if not isinstance(listed, list) or not listed:
        return Found(_text(message.get("content")) if is_message(value) else whole, [], [])
    if isinstance(value, list) and not all(_is_server_call(item) for item in listed):
        return Found(whole, [], [])
    calls, malformed = list[ToolCall](), list[str]()
    for item in listed:
        try:
            calls.append(_server_call(item))
        except Malformed as error:
            malformed.append(str(error))
    return Found(_text(message.get("content")), calls, malformed)


def is_message(value: Any) -> bool:
    """Whether a JSON value is an assistant message of a server."""
    return isinstance(value, dict) and value.get("role") == "assistant"


def _is_server_call(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("function"), dict)


def _server_call(item: Any) -> ToolCall:
    if not _is_server_call(item):
        raise Malformed("an item of tool_calls has no function")
    function = dict(item["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        function["arguments"] = read_whole_json(arguments) if arguments.strip() else {}
    return read_call(function | {"id": item.get("id")})


def _text(content: Any) -> str:
    if content is None:
        return ""
    return content.strip() if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
