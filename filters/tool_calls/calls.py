"""A tool call, and a model's turn split into thinking, content and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool.

    `arguments` are JSON values. With `untyped` they are texts, as in Qwen3-Coder's XML: their types
    are in the tool's schema (`filters.tool_calls.schemas.cast_arguments`).
    """

    name: str
    arguments: dict[str, Any]
    id: str | None = None
    untyped: bool = False


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """A model's turn. `content` is the response without its calls.

    `malformed` says for each attempt at a call why it is none. `format` names the format that the
    calls are written in; None where there is no attempt at a call.
    """

    thinking: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    malformed: tuple[str, ...] = ()
    format: str | None = None


class Malformed(ValueError):
    """An attempt at a call that is none; says why."""
