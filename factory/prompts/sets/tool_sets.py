"""Published sets of function calls: xLAM, ToolACE, APIGen-MT, Hermes function calling.

A row becomes one prompt: the conversation up to the first turn that calls functions, and the calls
of that turn as the expected ones. An argument that has its default may be left out, or added.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Message, Prompt
from factory.prompts import verifier_spec
from factory.prompts.mapping import ROLES
from factory.prompts.sets.base import NamedSet
from factory.prompts.sets.tool_schemas import Tool, make_tool, tool_prompt, tool_verifier
from factory.prompts.source import BadRow, Row, Unwanted
from filters.tool_calls.calls import Malformed
from filters.tool_calls.values import read_python_calls

Call = dict[str, Any]

_TOOL_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_SCHEMA = re.compile(r"<schema>\s*(.*?)\s*</schema>", re.DOTALL)
_TOOLS = re.compile(r"<tools>\s*(.*?)\s*</tools>", re.DOTALL)
_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_UNFIT = re.compile(r"[^A-Za-z0-9_.]")


class XLam(NamedSet):
    """xLAM's 60k single-turn questions. Gated: accept its terms on the Hub and set HF_TOKEN.

    Its parameters have Python's types ("str, optional", "List[int]") and no list of required ones.
    """

    DOMAIN = "general"
    LANGUAGE = "en"
    LICENSE = "CC-BY-4.0"

    kind: Literal["xlam"] = "xlam"
    dataset: str = Field(
        "Salesforce/xlam-function-calling-60k", description="Id on the Hub, or a local copy."
    )

    def read_row(self, row: Row) -> Prompt:
        tools = [_flat_tool(tool) for tool in verifier_spec.structured(row["tools"])]
        calls = [
            with_defaults(call["name"], call["arguments"], tools)
            for call in verifier_spec.structured(row["answers"])
        ]
        if not calls:
            raise Unwanted("no_calls")
        verifier = tool_verifier(tools, calls)
        return tool_prompt(self, row["query"], verifier, tools, {"id": row.get("id")})


class ToolAce(NamedSet):
    """ToolACE. Its functions stand as JSON in the system turn, and its calls are pythonic.

    Names may hold spaces and slashes, which become `_`. Rows that begin with an answer in words
    are left out: nothing says that no call was right there.
    """

    DOMAIN = "general"
    LICENSE = "Apache-2.0"

    kind: Literal["toolace"] = "toolace"
    dataset: str = Field("Team-ACE/ToolACE", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        names: dict[str, str] = {}
        tools = []
        for tool in _listed(row["system"]):
            names[tool["name"]] = _fit_name(tool["name"])
            name = names[tool["name"]]
            tools.append(make_tool(name, tool.get("description"), tool.get("parameters")))
        messages, written = split_at_call(row["conversations"], _is_pythonic)
        try:
            calls = read_python_calls(_rename(written, names))
        except Malformed:
            raise Unwanted("unreadable_calls") from None
        expected = [with_defaults(call.name, call.arguments, tools) for call in calls]
        return tool_prompt(self, messages, tool_verifier(tools, expected), tools, {})


class ApiGenMt(NamedSet):
    """APIGen-MT's dialogues of airline and retail agents, up to the first call. Gated.

    The later turns need the simulated services, which the set does not have.
    """

    DOMAIN = "general"
    LANGUAGE = "en"
    LICENSE = "CC-BY-NC-4.0"

    kind: Literal["apigen_mt"] = "apigen_mt"
    dataset: str = Field("Salesforce/APIGen-MT-5k", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        tools = [
            make_tool(tool["name"], tool.get("description"), tool.get("parameters"))
            for tool in verifier_spec.structured(row["tools"])
        ]
        messages, written = split_at_call(
            row["conversations"], lambda turn: turn.get("from") == "function_call"
        )
        call = verifier_spec.structured(written)
        verifier = tool_verifier(tools, [with_defaults(call["name"], call["arguments"], tools)])
        system = (Message(role="system", content=row["system"]),) if row.get("system") else ()
        return tool_prompt(self, (*system, *messages), verifier, tools, {})


class HermesCalls(NamedSet):
    """Hermes function calling v1: calls in four configurations, JSON by a schema in two.

    Its calls are Python literals in place of JSON. The system turn that lists the functions is left
    out, since the chat template writes its own. JSON rows are verified by their schema alone.
    """

    DOMAIN = "general"
    LANGUAGE = "en"
    LICENSE = "Apache-2.0"

    kind: Literal["hermes_calls"] = "hermes_calls"
    dataset: str = Field(
        "NousResearch/hermes-function-calling-v1", description="Id on the Hub, or a local copy."
    )
    config: str | None = Field(
        "func_calling_singleturn",
        description="func_calling_singleturn, func_calling, glaive_func_calling, "
        "json_mode_singleturn or json_mode_agentic.",
    )

    def read_row(self, row: Row) -> Prompt:
        meta = {"id": row.get("id"), "category": row.get("category")}
        turns = row["conversations"]
        system = next((turn["value"] for turn in turns if turn["from"] == "system"), "")
        if found := _SCHEMA.search(system):
            verifier = {"kind": "json_schema", "schema": _literal(found[1])}
            messages, _ = split_at_call(turns, lambda turn: turn.get("from") == "gpt", system=True)
            return self.make(messages, verifier, meta=meta)
        listed = row.get("tools") or next(iter(_TOOLS.findall(system)), None)
        if not listed:
            raise Unwanted("no_tools")
        functions = [tool.get("function", tool) for tool in _literal(listed)]
        tools = [
            make_tool(tool["name"], tool.get("description"), tool.get("parameters"))
            for tool in functions
        ]
        messages, written = split_at_call(turns, lambda turn: "<tool_call>" in turn["value"])
        calls = [_literal(text) for text in _TOOL_CALL.findall(written)]
        if not calls:
            raise Unwanted("unreadable_calls")
        expected = [with_defaults(call["name"], call["arguments"], tools) for call in calls]
        return tool_prompt(self, messages, tool_verifier(tools, expected), tools, meta)


def with_defaults(name: str, arguments: Mapping[str, Any], tools: Sequence[Tool]) -> Call:
    """An expected call in which an argument that has its default may be left out, or added."""
    if not isinstance(arguments, Mapping):
        raise BadRow("bad_answer", f"the arguments of {name!r} are {arguments!r:.80}")
    described: Mapping[str, Any] = next(
        (
            tool["function"]["parameters"]["properties"]
            for tool in tools
            if tool["function"]["name"] == name
        ),
        {},
    )
    accepted = {key: [value] for key, value in arguments.items()}
    optional = []
    for key, schema in described.items():
        default = schema.get("default")
        if default is None or default == "":
            continue
        if key not in arguments:
            accepted[key] = [default]
            optional.append(key)
        elif arguments[key] == default:
            optional.append(key)
    if not optional:
        return {"name": name, "arguments": dict(arguments)}
    return {"name": name, "accepted": accepted, "optional": optional}


def split_at_call(
    turns: Any, is_call: Any, *, system: bool = False
) -> tuple[tuple[Message, ...], str]:
    """The messages before the first turn that answers as `is_call` says, and that turn's text.

    Raises Unwanted where there is none, or where an observation comes before it.
    """
    messages: list[Message] = []
    for turn in turns:
        speaker = turn.get("from", turn.get("role"))
        role = ROLES.get(speaker, speaker)
        if role not in ("system", "user") and is_call(turn):
            if not messages or messages[-1]["role"] != "user":
                raise Unwanted("no_question")
            return tuple(messages), turn["value"]
        if role == "system" and not system:
            continue
        if role not in ("system", "user", "assistant"):
            raise Unwanted("observation_first")
        messages.append(Message(role=role, content=turn["value"]))
    raise Unwanted("no_calls")


def _flat_tool(tool: Mapping[str, Any]) -> Tool:
    """xLAM's tool: parameters by name, without the schema around them."""
    described = tool.get("parameters") or {}
    optional = {key for key, value in described.items() if _is_optional(value)}
    required = [key for key in described if key not in optional]
    schema = {"type": "object", "properties": described, "required": required}
    return make_tool(tool["name"], tool.get("description"), schema)


def _is_optional(parameter: Mapping[str, Any]) -> bool:
    written = str(parameter.get("type", "")).lower()
    return "optional" in written or "default" in parameter or parameter.get("required") is False


def _listed(system: str) -> list[Mapping[str, Any]]:
    """The functions in ToolACE's system turn: the first JSON list of objects."""
    for start in _starts(system):
        try:
            found, _ = json.JSONDecoder().raw_decode(system, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list) and found and all(isinstance(item, Mapping) for item in found):
            return found
    raise BadRow("bad_tools", "the system turn lists no functions")


def _starts(text: str) -> Iterator[int]:
    """The first places where a list of objects may begin."""
    yield from [found.start() for found in re.finditer(r"\[\s*\{", text)][:20]


def _is_pythonic(turn: Mapping[str, Any]) -> bool:
    text = str(turn.get("value", "")).strip()
    return text.startswith("[") and text.endswith(")]")


def _fit_name(name: str) -> str:
    """A name that can stand in a pythonic call, and that servers accept."""
    fit = _UNFIT.sub("_", name)
    return fit if fit[:1].isalpha() or fit[:1] == "_" else f"_{fit}"


def _rename(written: str, names: Mapping[str, str]) -> str:
    """A pythonic list with fitting names. What stands in quotation marks stays as it is."""
    longest_first = sorted(names, key=len, reverse=True)
    called = "|".join(re.escape(name) for name in longest_first)
    pattern = re.compile(rf"{_STRING}|(?<![\w.])({called})(?=\()")
    return pattern.sub(lambda found: names[found[1]] if found[1] else found[0], written)


def _literal(text: Any) -> Any:
    """A value from its JSON, or from a Python literal, as Hermes' rows write it."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise BadRow("bad_json", f"{text[:80]!r} is neither JSON nor a literal") from None
