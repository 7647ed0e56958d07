"""The base of environments that offer tools: calls in, answers out, an answer without calls ends.

    class Dice(ToolEnvironment):
        def roll(self, sides: int = 6) -> str:
            '''Roll a die.

            sides: how many sides it has
            '''
            return str(self.random.randint(1, sides))

Every public method that a subclass adds is a tool. Its docstring and type hints are the schema.
"""

from __future__ import annotations

import inspect
import json
import random
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt

MAX_CALLS = 16
"""Calls in one turn that are answered. More are answered by an error."""


class ToolError(Exception):
    """A call that cannot be answered; the model reads why."""


class EnvironmentLost(BaseException):
    """The environment cannot go on. It is a failure of its own, and nothing for the model to read:
    no `except Exception` takes it for a tool's answer."""


class ToolEnvironment:
    """Offers the public methods of a subclass as tools. `state` is what a verifier may look at."""

    replayable: bool = True

    def begin(self, prompt: Prompt) -> None:
        """Prepare an episode. `self.random` has been seeded."""

    def state(self) -> Mapping[str, Any]:
        """Return the state as JSON values."""
        return {}

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        self.random = random.Random(f"{prompt.id}/{seed}")
        self.begin(prompt)
        self._tools = self.find_tools()
        return Observation((), state=self.state(), tools=self.describe_tools())

    def find_tools(self) -> dict[str, Callable[..., Any]]:
        """Return the tools by name."""
        return public_methods(self, ToolEnvironment)

    def describe_tools(self) -> tuple[Mapping[str, Any], ...]:
        """Return the schemas of the tools, in OpenAI's form."""
        return tuple(describe_function(name, tool) for name, tool in self._tools.items())

    def step(self, action: Action) -> Observation:
        calls, malformed = action.get("tool_calls", []), action.get("malformed", [])
        if not calls and not malformed:
            return Observation((), done=True, state=self.state())
        messages = [
            self._answer(call) if place < MAX_CALLS else _refuse(call, "too many calls in one turn")
            for place, call in enumerate(calls)
        ]
        messages += [
            Message(role="tool", content=f"error: the call cannot be read: {why}")
            for why in malformed[:MAX_CALLS]
        ]
        return Observation(tuple(messages), state=self.state())

    def _answer(self, call: Mapping[str, Any]) -> Message:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(self._tools)
            return _refuse(call, f"there is no tool {name!r}; the tools are {known}")
        try:
            inspect.signature(tool).bind(**arguments)
        except TypeError as error:
            return _refuse(call, f"{name}: {error}")
        try:
            content = as_text(tool(**arguments))
        except ToolError as error:
            return _refuse(call, str(error))
        except Exception as error:  # arguments of a wrong type may do anything
            return _refuse(call, f"{type(error).__name__}: {error}")
        return _message(call, content)


def public_methods(instance: Any, base: type) -> dict[str, Callable[..., Any]]:
    """Return the bound methods of an object that are public and not those of `base`."""
    names = [name for name in dir(type(instance)) if not name.startswith("_")]
    return {
        name: getattr(instance, name)
        for name in names
        if not hasattr(base, name) and inspect.isfunction(getattr(type(instance), name))
    }


def as_text(value: Any) -> str:
    """Return what a tool gave as the text that the model reads."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _message(call: Mapping[str, Any], content: str) -> Message:
    message = Message(role="tool", content=content, name=call["function"]["name"])
    if call.get("id"):
        message["tool_call_id"] = call["id"]
    return message


def _refuse(call: Mapping[str, Any], why: str) -> Message:
    return _message(call, f"error: {why}")


def describe_function(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the OpenAI schema of a function, from its type hints and docstring.

    A line `parameter: text` in the docstring describes a parameter.
    """
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    summary, described = _read_docstring(inspect.getdoc(function) or "", parameters)
    properties = {}
    for parameter in parameters:
        schema = type_schema(hints.get(parameter, Any))
        if parameter in described:
            schema["description"] = described[parameter]
        properties[parameter] = schema
    required = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty]
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": summary,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def type_schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type hint. An unknown one allows anything."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        return type_schema(kinds[0]) if len(kinds) == 1 else {}
    if hint is list or origin in (list, tuple, Sequence):
        return {"type": "array", "items": type_schema(inner[0])} if inner else {"type": "array"}
    if hint is dict or origin in (dict, Mapping):
        return {"type": "object"}
    return {}


def _read_docstring(
    text: str, parameters: Mapping[str, inspect.Parameter]
) -> tuple[str, dict[str, str]]:
    summary, described = [], {}
    for line in text.splitlines():
        found = re.match(r"\s*(\w+): (.+)", line)
        if found and found[1] in parameters:
            described[found[1]] = found[2].strip()
        else:
            summary.append(line)
    return "\n".join(summary).strip(), described
