"""JSON and Python literals as a model writes them: read in linear time, never evaluated."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from typing import Any

from filters.tool_calls.calls import Malformed, ToolCall

MAX_DEPTH = 64
MAX_PYTHON = 200_000
"""Characters of a pythonic list that are read: Python's own parser reads it, in one piece."""

_SPACE = re.compile(r"\s*")
_BRACKETS = re.compile(r"[\[\](){}]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Malformed("a key is given twice")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed(f"the number {text[:40]} is out of range")
    return value


def _no_constant(name: str) -> Any:
    raise Malformed(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)


def read_json(text: str, at: int = 0) -> tuple[Any, int]:
    """The JSON value that starts at `at`, and where it ends, with white space. Raises Malformed.

    A key given twice, NaN, an infinite number and deep nesting are malformed.
    """
    try:
        value, end = _DECODER.raw_decode(text, skip_space(text, at))
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "it cannot be read"
        raise Malformed(f"no JSON: {reason}") from None
    if _is_deep(value):
        raise Malformed(f"nested more than {MAX_DEPTH} levels")
    return value, skip_space(text, end)


def read_whole_json(text: str) -> Any:
    """The JSON value that is the whole text. Raises Malformed."""
    value, end = read_json(text)
    if end < len(text):
        raise Malformed("text follows the JSON")
    return value


def skip_space(text: str, at: int) -> int:
    """The position of the next character that is no white space."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def read_call(value: Any, keys: tuple[str, ...] = ("arguments",)) -> ToolCall:
    """The call that `{"name": …, "arguments": {…}}` is. `keys` may hold the arguments.

    Other keys reach no tool and are not read. Raises Malformed.
    """
    if not isinstance(value, dict):
        raise Malformed("a call is no JSON object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise Malformed("a call has no name")
    given = [key for key in keys if key in value]
    if len(given) != 1:
        raise Malformed(f"the call of {name[:80]} has no {' or '.join(keys)}" if not given else
                        f"the call of {name[:80]} has {' and '.join(given)}")  # fmt: skip
    arguments = value[given[0]]
    if not isinstance(arguments, dict):
        raise Malformed(f"the {given[0]} of {name[:80]} are no JSON object")
    call_id = value.get("id")
    return ToolCall(name, arguments, call_id if isinstance(call_id, str) else None)


def read_python_calls(text: str) -> list[ToolCall]:
    """The calls of `f(a=1)` or `[f(a=1), g()]`: keyword arguments of literal values.

    Python's parser reads the text; nothing in it is evaluated. Raises Malformed.
    """
    if len(text) > MAX_PYTHON:
        raise Malformed(f"longer than {MAX_PYTHON} characters")
    depth = 0
    for bracket in _BRACKETS.findall(text):  # those in strings too: a bound, not a measure
        depth += 1 if bracket in "[({" else -1
        if depth > MAX_DEPTH:
            raise Malformed(f"nested more than {MAX_DEPTH} levels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string is the model's own
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Malformed(f"no Python: {getattr(error, 'msg', None) or 'unreadable'}") from None
    nodes = body.elts if isinstance(body, ast.List) else [body]
    return [_python_call(node, text) for node in nodes]


def _python_call(node: ast.expr, text: str) -> ToolCall:
    if not isinstance(node, ast.Call):
        raise Malformed("an item of the list is no call")
    parts = []
    function = node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        raise Malformed("what is called is no name")
    name = ".".join([function.id, *reversed(parts)])
    if node.args:
        raise Malformed(f"an argument of {name[:80]} has no name")
    names = [str(keyword.arg) for keyword in node.keywords if keyword.arg is not None]
    if len(names) != len(node.keywords):
        raise Malformed(f"the arguments of {name[:80]} are not written out")
    if len(set(names)) != len(names):
        raise Malformed(f"an argument of {name[:80]} is given twice")
    if any(word not in text for word in (*names, *parts, function.id)):  # Python folds ﬁ to fi
        raise Malformed(f"a name in the call of {name[:80]} has letters that Python changes")
    values = (_python_value(keyword.value, 0) for keyword in node.keywords)
    return ToolCall(name, dict(zip(names, values, strict=True)))


def _python_value(node: ast.expr, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed(f"nested more than {MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=str() | bool() | int() | None):
            return node.value
        case ast.Constant(value=float(number)) if math.isfinite(number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if (
            not isinstance(number, bool) and math.isfinite(number)
        ):
            return -number
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_python_value(element, depth + 1) for element in elements]
        case ast.Dict(keys=keys, values=values):
            pairs = []
            for key, value in zip(keys, values, strict=True):
                if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                    raise Malformed("a key is no text")
                pairs.append((key.value, _python_value(value, depth + 1)))
            return _unique(pairs)
    raise Malformed("a value is no literal")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)
