"""What a tool's schema says of its arguments: which there are, and of which types.

Schemas are OpenAI's function schemas: `{"type": "function", "function": {"name", "parameters"}}`,
or the inner mapping alone. `parameters` is a JSON Schema; of it `type`, `properties`, `required`,
`items`, `anyOf`, `oneOf` and `nullable` are read. Where it says nothing, every type will do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from filters.tool_calls.calls import ToolCall

Schema = Mapping[str, Any]

MAX_DEPTH = 32

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")


def read_tools(tools: Any) -> dict[str, Schema]:
    """The parameters of each tool, by its name. Raises ValueError for what is no list of tools."""
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise ValueError("tools is no list")
    found: dict[str, Schema] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            raise ValueError(f"{str(tool)[:80]!r} is no tool: it has no name")
        if name in found:
            raise ValueError(f"the tool {name!r} is given twice")
        parameters = function.get("parameters") or {}
        if not isinstance(parameters, Mapping):
            raise ValueError(f"the parameters of the tool {name!r} are no mapping")
        found[name] = parameters
    return found


def properties(schema: Schema) -> Mapping[str, Any]:
    """The schemas of an object's members, by name; empty where none are described."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def required(schema: Schema) -> list[str]:
    """The members an object must have."""
    found = schema.get("required")
    return [str(name) for name in found] if isinstance(found, list) else []


def has_member(schema: Schema, name: str) -> bool:
    """Whether an object may have this member: it is described, or nothing is, or others may be."""
    described = properties(schema)
    return not described or name in described or bool(schema.get("additionalProperties"))


def json_type(value: Any) -> str:
    """The JSON Schema type of a value. 5.0 is a number, not an integer."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
    return "object"


def type_problem(value: Any, schema: Any, depth: int = 0) -> str | None:
    """Why a value has not the type that a schema says; None if it has, or nothing is said.

    Strict: "5" is no integer, 5.0 is no integer, 1 is no boolean. An integer is a number.
    """
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            problems = [type_problem(value, option, depth + 1) for option in options]
            return None if None in problems else problems[0]
    wanted = schema.get("type")
    types = wanted if isinstance(wanted, list) else [wanted] if wanted else []
    given = json_type(value)
    known = [name for name in types if name in TYPES]
    if schema.get("nullable") is True and given == "null":
        return None
    if known and given not in known and not (given == "integer" and "number" in known):
        return f"{_show(value)} is {_A[given]}, not {' or '.join(_A[name] for name in known)}"
    if given == "array":
        return next(filter(None, (type_problem(v, schema.get("items"), depth + 1) for v in value)),
                    None)  # fmt: skip
    if given == "object":
        described = properties(schema)
        return next(
            filter(
                None, (type_problem(v, described.get(key), depth + 1) for key, v in value.items())
            ),
            None,
        )
    return None


_A = {name: f"a{'n' if name[0] in 'aio' else ''} {name}" for name in TYPES} | {"null": "null"}


def cast_arguments(call: ToolCall, schema: Schema) -> ToolCall:
    """A call whose arguments were written as texts, with the types that a schema says.

    A text that is no value of its type stays a text, so that its type is reported as wrong.
    """
    if not call.untyped:
        return call
    described = properties(schema)
    typed = {
        key: _cast(value, described.get(key)) if isinstance(value, str) else value
        for key, value in call.arguments.items()
    }
    return replace(call, arguments=typed, untyped=False)


def _cast(text: str, schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return text
    wanted = schema.get("type")
    types = wanted if isinstance(wanted, list) else [wanted]
    if "string" in types or not any(name in TYPES for name in types):
        return text
    try:
        value = json.loads(text.strip())
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return text if type_problem(value, schema) else value


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:80]
