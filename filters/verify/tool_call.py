"""Tool calls: the expected ones, in any order, with accepted arguments of the right types.

What is read is in `filters.tool_calls.parsing`, what is compared in `filters.tool_calls.matching`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from filters.tool_calls.calls import ToolCall
from filters.tool_calls.matching import (
    MAX_EXPECTED,
    Difference,
    Expected,
    compare_calls,
    read_expected,
    schema_differences,
)
from filters.tool_calls.parsing import FORMATS, parse_turn
from filters.tool_calls.schemas import Schema, cast_arguments, has_member, read_tools
from filters.verify.base import Immediate
from filters.verify.verification import Verification

ANY = "any"
STRINGS = ("exact", "folded")
MAX_DIFFERENCES = 5
"""Differences that a verdict's detail lists."""


class ToolCallVerifier(Immediate):
    """Verifier of `{"kind": "tool_call", "calls": […], "tools": […], "format": "auto"}`.

    `calls` are expected calls (`filters.tool_calls.matching`). An empty list: no call is right.
    `any`: every call that fits the schema of its tool is right; such a verdict has the method
    `tool_call_schema`, since nothing says that it was the right call.
    """

    METHOD = "tool_call"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        try:
            expected, tools, _ = _read(spec)
        except (ValueError, TypeError, RecursionError) as error:
            return str(error)[:200]
        if expected is None:
            return None if tools else "calls is any, and there are no tools"
        for want in expected:
            if tools and want.name not in tools:
                return f"there is no tool {want.name!r}, which is to be called"
            for name in want.accepted:
                if name not in want.optional and not has_member(tools.get(want.name, {}), name):
                    return f"the tool {want.name!r} has no argument {name!r}, which is expected"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        expected, tools, format = _read(spec)
        turn = parse_turn(response, format)
        calls = [cast_arguments(call, tools.get(call.name, {})) for call in turn.calls]
        extracted = _show(calls)
        if turn.malformed:
            found = [Difference("malformed", problem) for problem in turn.malformed]
            return self.say("unparseable", extracted, _describe(found))
        if expected is None:
            found = [change for call in calls for change in schema_differences(call, tools)]
            if not calls:
                found = [Difference("missing", "no tool is called")]
            verdict = self.say("wrong" if found else "correct", extracted, _describe(found))
            return replace(verdict, method="tool_call_schema")
        found = compare_calls(expected, calls, tools)
        return self.say("wrong" if found else "correct", extracted, _describe(found))


def _read(spec: Mapping[str, Any]) -> tuple[list[Expected] | None, Mapping[str, Schema], str]:
    """The expected calls (None: any), the tools and the format. Raises ValueError."""
    tools = read_tools(spec.get("tools") or [])
    format = spec.get("format", "auto")
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it must be auto or one of {', '.join(FORMATS)}")
    strings = spec.get("strings", "exact")
    if strings not in STRINGS:
        raise ValueError(f"strings is {strings!r}; it must be one of {', '.join(STRINGS)}")
    calls = spec.get("calls")
    if calls == ANY:
        return None, tools, format
    if not isinstance(calls, list):
        raise ValueError("calls is no list of calls; [] says that no call is right")
    if len(calls) > MAX_EXPECTED:
        raise ValueError(f"{len(calls)} calls are expected; at most {MAX_EXPECTED} are compared")
    return [read_expected(call, folded=strings == "folded") for call in calls], tools, format


def _describe(found: Sequence[Difference]) -> str | None:
    """`reason: detail` of each difference, as far as they are listed; None for nothing."""
    listed = [f"{change.reason}: {change.detail}" for change in found[:MAX_DIFFERENCES]]
    if len(found) > MAX_DIFFERENCES:
        listed.append(f"and {len(found) - MAX_DIFFERENCES} more")
    return "; ".join(listed) or None


def _show(calls: Sequence[ToolCall]) -> str | None:
    if not calls:
        return None
    shown = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return json.dumps(shown, ensure_ascii=False, sort_keys=True)[:600]
