"""BFCL's multi-turn categories: the services, their scenario, the user's turns, the expected calls.

A row becomes the prompt of an episode in the environment `bfcl`. Its expected calls are Python
source, sometimes with positional arguments; they are read, never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from factory.prompts.sets.tool_schemas import Tool, make_tool
from factory.prompts.source import BadRow, Row, Unwanted

MultiTurn = Literal[
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
]
MULTI_TURN: tuple[MultiTurn, ...] = get_args(MultiTurn)

VERIFIER = {"kind": "state", "reward": 1}
"""The environment compares the state after each turn, and its reward is 1 where all are right."""


def describe_services(row: Row, schemas: Mapping[str, Sequence[Row]]) -> list[Tool]:
    """Return all functions of a row's services. `schemas` has those of each service."""
    return [
        make_tool(function["name"], function.get("description"), function["parameters"])
        for service in row["involved_classes"]
        for function in schemas[service]
    ]


def held_back(row: Row) -> dict[str, list[str]]:
    """Return the functions that are offered only from a turn on, by the number of that turn."""
    return {str(turn): list(names) for turn, names in (row.get("missed_function") or {}).items()}


def build_environment(row: Row, tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the environment of a row. `tools` are all functions of its services."""
    described = {tool["function"]["name"]: tool for tool in tools}
    later = held_back(row)
    turns: list[Any] = []
    for number, messages in enumerate(row["question"][1:], 1):
        content = "\n".join(message["content"] for message in messages)
        new = [described[name] for name in later.get(str(number), ())]
        turns.append({"content": content, "tools": new} if new else content)
    expected = [[read_call(source, described) for source in calls] for calls in row["answer"]]
    if len(expected) != len(row["question"]):
        raise BadRow("bad_answer", f"{row['id']} has {len(expected)} turns of expected calls")
    for turn, names in later.items():
        if {call["name"] for calls in expected[: int(turn)] for call in calls} & {*names}:
            raise Unwanted("expected_too_early")  # no model can call what it is not offered
    found = {
        "kind": "bfcl",
        "services": list(row["involved_classes"]),
        "config": row["initial_config"],
        "turns": turns,
        "expected": expected,
    }
    return found | ({"long_context": True} if "long_context" in row["category"] else {})


def read_call(source: str, described: Mapping[str, Tool]) -> dict[str, Any]:
    """Return the call in Python source. Positional arguments get the schema's names, in order."""
    try:
        node = ast.parse(source.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise ValueError("it is no call of a function")
        name = node.func.id
        names = list(described[name]["function"]["parameters"]["properties"])
        arguments = {
            names[place]: ast.literal_eval(value) for place, value in enumerate(node.args)
        } | {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    except (ValueError, SyntaxError, LookupError, RecursionError, MemoryError) as error:
        raise BadRow("bad_answer", f"the expected call {source[:80]!r}: {error!r}") from None
    return {"name": name, "arguments": arguments}
