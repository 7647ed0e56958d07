"""Tools and expected calls of published sets, in the one form that prompts and verifiers hold.

Sets write types in Python's, Java's or JavaScript's words. Here they become JSON Schema; a type
that JSON Schema has no word for becomes no type, so that every value will do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from factory.core.nouns import Message, Prompt
from factory.prompts.source import BadRow, Source

Tool = dict[str, Any]

TYPES = {
    "dict": "object", "object": "object", "hashmap": "object", "hashtable": "object",
    "map": "object", "mapping": "object",
    "float": "number", "double": "number", "number": "number",
    "int": "integer", "integer": "integer", "long": "integer", "short": "integer",
    "byte": "integer", "bigint": "integer",
    "str": "string", "string": "string", "char": "string", "text": "string",
    "bool": "boolean", "boolean": "boolean",
    "list": "array", "array": "array", "arraylist": "array", "tuple": "array", "set": "array",
    "queue": "array", "stack": "array",
    "null": "null", "none": "null",
}  # fmt: skip
"""A type's word in lower case → JSON Schema's."""

_KEPT = ("description", "enum", "default", "format", "minimum", "maximum", "minItems", "maxItems")
_ITEMS = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)


def make_tool(name: Any, description: Any, parameters: Any) -> Tool:
    """A tool in OpenAI's form. `parameters` is a schema of an object, in whatever words."""
    if not isinstance(name, str) or not name.strip():
        raise BadRow("bad_tools", f"a tool has the name {name!r}")
    schema = convert_schema(parameters) if parameters else {"type": "object", "properties": {}}
    if schema.get("type") != "object":
        raise BadRow("bad_tools", f"the parameters of {name!r} are no object: {parameters!r:.80}")
    schema.setdefault("properties", {})
    function = {"name": name, "description": str(description or ""), "parameters": schema}
    return {"type": "function", "function": function}


def convert_schema(schema: Any) -> dict[str, Any]:
    """A parameter's schema with JSON Schema's words. Raises BadRow for what is no schema."""
    if not isinstance(schema, Mapping):
        raise BadRow("bad_tools", f"{schema!r:.80} is no schema")
    found: dict[str, Any] = {key: schema[key] for key in _KEPT if schema.get(key) is not None}
    wanted = schema.get("type")
    if isinstance(wanted, list):
        known = [TYPES[str(name).lower()] for name in wanted if str(name).lower() in TYPES]
        found |= {"type": known} if known else {}
    else:
        found |= parse_type(str(wanted or ""))
    items = schema.get("items")
    if isinstance(items, Mapping) and found.get("type") == "array":
        found["items"] = convert_schema(items)
    members = schema.get("properties")
    if isinstance(members, Mapping):
        found["properties"] = {str(key): convert_schema(value) for key, value in members.items()}
        required = schema.get("required")
        if isinstance(required, list):
            found["required"] = [name for name in required if name in found["properties"]]
    return found


def parse_type(written: str) -> dict[str, Any]:
    """A schema from a type's words: `int`, `List[str]`, `Optional[float]`, `str, optional`.

    >>> parse_type("List[int]")
    {'type': 'array', 'items': {'type': 'integer'}}
    """
    text = re.sub(r",\s*(?:optional|default\b.*)\s*$", "", written.strip(), flags=re.IGNORECASE)
    found = _ITEMS.fullmatch(text)
    if found is None:
        name = TYPES.get(text.lower())
        return {"type": name} if name else {}
    outer, inner = found[1].lower(), found[2]
    if outer == "optional":
        return parse_type(inner)
    if outer in ("list", "array", "set", "sequence", "iterable"):
        items = parse_type(inner)
        return {"type": "array"} | ({"items": items} if items else {})
    name = TYPES.get(outer)
    return {"type": name} if name else {}


def tool_verifier(
    tools: Sequence[Tool], calls: Sequence[Mapping[str, Any]] | str, **more: Any
) -> dict[str, Any]:
    """The verifier mapping of a prompt whose response is tool calls."""
    return {"kind": "tool_call", "calls": calls, "tools": list(tools), **more}


def tool_prompt(
    source: Source,
    question: str | tuple[Message, ...],
    verifier: dict[str, Any],
    tools: Sequence[Tool],
    meta: Mapping[str, Any],
) -> Prompt:
    """The prompt of a question with its tools."""
    return source.make(question, verifier, meta=meta, tools=tuple(tools))
