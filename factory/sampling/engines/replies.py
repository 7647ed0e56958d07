"""Reads the replies of an OpenAI-compatible API. Pure: no network here.

Nothing that a server sends is believed before its type and range are checked. A reply that cannot
be read is `Malformed`, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.core.nouns import FinishReason

if TYPE_CHECKING:
    from factory.sampling.early_stop import Halt, Watch

MAX_CALLS = 1000
"""Tool calls in one reply."""

MAX_COUNT = 10_000_000
"""The largest token count that is believed; no context is longer."""

STOPPED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
CALLED = frozenset({"tool_calls", "tool_use", "function_call"})
TRUNCATED = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
BLOCKED = frozenset({"content_filter", "safety"})
"""Values of finish_reason, in lower case. OpenAI's are `stop`, `length` and `content_filter`; the
others are those of servers and proxies that pass on what their model's own API said."""

_TEXT_PARTS = frozenset({"text", "output_text"})
_THINKING_PARTS = frozenset({"thinking", "reasoning", "reasoning_text"})


class Malformed(ValueError):
    """A reply that is not in the expected format."""


class ErrorReply(Malformed):
    """An error in place of a reply. `code` is the HTTP status it names, or 0."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(f"the reply contains an error: {message}")
        self.message, self.code = message, code


@dataclass(slots=True)
class Reply:
    """A reply, received at once or in pieces."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)  # read by the server, by index
    choices: int = 0
    finish: str | None = None  # as sent, in lower case
    stop: str | None = None  # the stop string that ended it, if reported
    n_tokens: int | None = None
    n_prompt_tokens: int | None = None
    watch: Watch | None = None
    halt: Halt | None = None  # set if the watch stopped it

    def add(self, payload: Any) -> None:
        """Parse a response body or one streamed message. Raises Malformed."""
        if not isinstance(payload, dict):
            raise Malformed(f"expected an object, not a {type(payload).__name__}")
        _raise_error(payload)
        usage = payload.get("usage")
        if isinstance(usage, dict):
            self.n_tokens = read_count(usage, "completion_tokens", self.n_tokens)
            self.n_prompt_tokens = read_count(usage, "prompt_tokens", self.n_prompt_tokens)
        choices = payload.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise Malformed("no list of choices")
        self.choices += len(choices)
        for choice in choices[:1]:
            piece = self._add_choice(choice)
            if self.watch is not None:
                self.halt = self.watch.feed(join_pieces([piece]), self.n_tokens or self.choices)

    def _add_choice(self, choice: dict[str, Any]) -> str:
        """Parse one choice and return its new text."""
        _raise_error(choice)
        part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        if not isinstance(part, dict):
            raise Malformed("a choice without a message")
        content, thinking = _read_content(part.get("content"))
        thinking = _read_reasoning(part) or thinking
        if not content and isinstance(part.get("refusal"), str):  # OpenAI
            content = part["refusal"]
        self.content.append(content)
        self.reasoning.append(thinking)
        self._add_calls(part.get("tool_calls"))
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish = finish.lower()
            ended_by = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM, SGLang
            self.stop = ended_by if isinstance(ended_by, str) else None
        return thinking + content

    def _add_calls(self, pieces: Any) -> None:
        """Add tool calls, or pieces of them: a stream sends the arguments bit by bit."""
        for place, piece in enumerate(pieces if isinstance(pieces, list) else ()):
            function = piece.get("function") if isinstance(piece, dict) else None
            if not isinstance(function, dict):
                raise Malformed("a tool call without a function")
            number = piece.get("index", place)
            if type(number) is not int or not 0 <= number < MAX_CALLS:
                raise Malformed(f"a tool call with the index {str(number)[:40]}")
            call = self.calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or _read_text(piece.get("id"))
            for key in ("name", "arguments"):
                value = function.get(key)
                # Some servers send the arguments as an object.
                call[key] += json.dumps(value) if isinstance(value, dict) else _read_text(value)

    @property
    def has_text(self) -> bool:
        return any(self.content) or any(self.reasoning) or bool(self.calls)

    @property
    def is_called(self) -> bool:
        """Whether it ended because tools are called, and has the calls."""
        return self.finish in CALLED and bool(self.calls)

    @property
    def reason(self) -> FinishReason:
        if self.halt is not None:
            return self.halt.finish_reason
        return "length" if self.finish in TRUNCATED else "stop"


def write_calls(calls: Mapping[int, Mapping[str, str]]) -> str:
    """Return tool calls that a server read as the text of Hermes and Qwen, in their order."""
    lines = []
    for _, call in sorted(calls.items()):
        arguments = call["arguments"].strip() or "{}"  # no JSON stays so, for the parser to see
        identity = f', "id": {json.dumps(call["id"])}' if call["id"] else ""
        lines.append(
            f'<tool_call>\n{{"name": {json.dumps(call["name"])}, "arguments": {arguments}'
            f"{identity}}}\n</tool_call>"
        )
    return "\n".join(lines)


def read_count(usage: dict[str, Any], name: str, default: int | None = None) -> int | None:
    """Return a token count, or `default` where the server gives none that can be one."""
    value = usage.get(name)
    return value if type(value) is int and 0 <= value <= MAX_COUNT else default


def join_pieces(pieces: list[str]) -> str:
    """Join the pieces. Lone surrogates, valid in JSON but not in UTF-8, are replaced."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _raise_error(payload: dict[str, Any]) -> None:
    """Raise the error in a body or a choice. OpenRouter and proxies send some with status 200."""
    error = payload.get("error")
    if not error:
        return
    code = error.get("code") if isinstance(error, dict) else None
    message = error.get("message", error) if isinstance(error, dict) else error
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    if type(code) is not int or not 400 <= code <= 599:
        code = 0
    raise ErrorReply(str(message)[:300], code)


def _read_content(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning of a content: a text, null, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise Malformed(f"expected text, not a {type(content).__name__}")
    text, thinking = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS:
            text.append(_read_text(part.get("text")))
        elif kind in _THINKING_PARTS:
            inner, _ = _read_content(part.get("thinking", part.get("text")))
            thinking.append(inner)
        elif kind == "refusal":
            text.append(_read_text(part.get("refusal")))
        else:
            raise Malformed(f"a content part of type {str(kind)[:40]!r}, which is no text")
    return "".join(text), "".join(thinking)


def _read_reasoning(part: dict[str, Any]) -> str:
    """Return the reasoning that is sent next to the content.

    `reasoning_content`: DeepSeek, SGLang, older vLLM, LiteLLM. `reasoning`: vLLM, OpenRouter.
    `reasoning_details`: OpenRouter. Some send the same text in two of them; one is read.
    """
    for name in ("reasoning_content", "reasoning"):
        text = _read_text(part.get(name))
        if text:
            return text
    details = part.get("reasoning_details")
    if details is None:
        return ""
    if not isinstance(details, list) or not all(isinstance(d, dict) for d in details):
        raise Malformed("reasoning_details is no list of objects")
    # What is encrypted has no text.
    return "".join(_read_text(detail.get("text") or detail.get("summary")) for detail in details)


def _read_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise Malformed(f"expected text, not a {type(value).__name__}")
