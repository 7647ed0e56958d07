"""Reads the tool calls of a model's turn, in whatever format the model writes them.

Any text gives a result: what cannot be read is content or `malformed`, never an exception. A call
counts only where the model's server would run it: not inside the think section, and not in prose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from factory.core.think import split_think
from filters.tool_calls.calls import Malformed, ParsedTurn
from filters.tool_calls.formats import (
    CALL_BEGIN,
    LOOKS_PYTHONIC,
    PYTHON_TAG,
    TOOL_CALLS,
    Found,
    is_message,
    read_bare_json,
    read_deepseek,
    read_hermes,
    read_llama,
    read_mistral,
    read_openai,
    read_pythonic,
    trim,
)
from filters.tool_calls.values import read_whole_json

FORMATS: Mapping[str, Callable[[str], Found]] = {
    "hermes": read_hermes,
    "llama": read_llama,
    "mistral": read_mistral,
    "deepseek": read_deepseek,
    "pythonic": read_pythonic,
    "openai": read_openai,
    "json": read_bare_json,
}
"""Format → its reader. `hermes` reads Qwen's and Qwen3-Coder's calls too; `json` reads a bare
object or list, as xLAM writes it."""

_MARKS = {
    "<tool_call>": "hermes",
    "</tool_call>": "hermes",
    "<function=": "llama",
    PYTHON_TAG: "llama",
    TOOL_CALLS: "mistral",
    "<｜tool▁calls▁begin｜>": "deepseek",
    CALL_BEGIN: "deepseek",
}
_MARK = re.compile("|".join(map(re.escape, _MARKS)))


def parse_turn(text: str, format: str = "auto") -> ParsedTurn:
    """Split a model's whole turn into thinking, content and tool calls.

    `format` is a name of `FORMATS`, or `auto`: the first mark of a format decides, then whether the
    whole response is JSON or a pythonic list. Raises ValueError for a format that is unknown.

    >>> parse_turn('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>').calls
    (ToolCall(name='f', arguments={'a': 1}, id=None, untyped=False),)
    """
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it must be auto or one of {', '.join(FORMATS)}")
    if format in ("auto", "openai") and (message := read_message(text)) is not None:
        return message
    parts = split_think(text)
    thinking = (parts.thinking or "").strip()
    if parts.response is None:  # never closed: whatever looks like a call is a thought
        return ParsedTurn(thinking, "")
    for name in detect_formats(parts.response) if format == "auto" else (format,):
        found = FORMATS[name](parts.response)
        if found.calls or found.malformed:
            return ParsedTurn(
                thinking, found.content, tuple(found.calls), tuple(found.malformed), name
            )
    return ParsedTurn(thinking, trim(parts.response))


def read_message(text: str) -> ParsedTurn | None:
    """The turn that a server's assistant message is, as JSON; None if the text is no such message.

    Its think section is a field (`reasoning_content`, `reasoning`), or the start of its content.
    """
    if not text.lstrip().startswith("{") or '"role"' not in text:
        return None
    try:
        message = read_whole_json(trim(text))
    except Malformed:
        return None
    if not is_message(message):
        return None
    found = read_openai(text)
    parts = split_think(found.content)
    fields = (message.get("reasoning_content"), message.get("reasoning"), parts.thinking)
    thinking = next((field for field in fields if isinstance(field, str) and field), "")
    attempted = bool(found.calls or found.malformed)
    return ParsedTurn(
        thinking.strip(),
        (parts.response or "").strip(),
        tuple(found.calls),
        tuple(found.malformed),
        "openai" if attempted else None,
    )


def detect_formats(response: str) -> list[str]:
    """The formats that a response's calls may be written in, the likeliest first."""
    start = response.lstrip()
    likely = []
    if start.startswith(("{", "[")):
        if '"tool_calls"' in start or _SERVER_LIST.match(start):
            likely.append("openai")
        if start.startswith("{") or _OBJECT_LIST.match(start):
            likely.append("json")
        if LOOKS_PYTHONIC.match(start):
            likely.append("pythonic")
    mark = _MARK.search(response)
    return [*likely, _MARKS[mark[0]]] if mark else likely


_OBJECT_LIST = re.compile(r"\[\s*\{")
_SERVER_LIST = re.compile(
    r'\[\s*\{\s*(?:"(?:id|type|index)"\s*:\s*(?:"[^"\n]{0,200}"|\d{1,9})\s*,\s*){0,3}"function"\s*:\s*\{'
)
