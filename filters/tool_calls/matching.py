"""Whether calls are the expected ones: in any order, each with arguments that are accepted.

An expected call is `{"name": …, "arguments": {…}}`, or `{"name": …, "accepted": {argument: [value,
…]}, "optional": [argument, …]}` where more than one value is right. A value among the accepted ones
may be `{"$object": {key: [value, …]}, "$optional": [key, …]}`: an object, each of whose members has
accepted values of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from filters.tool_calls.calls import ToolCall
from filters.tool_calls.schemas import (
    Schema,
    has_member,
    json_type,
    properties,
    required,
    type_problem,
)

Reason = Literal["malformed", "unknown_tool", "missing", "extra", "wrong_type", "wrong_argument"]

MAX_EXPECTED = 64
_FOLDED = re.compile(r"[ ,./\-_*^]")


class Difference(NamedTuple):
    """One way in which calls are not the expected ones."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Expected:
    """One expected call, read. `folded`: texts are compared without case, spaces and `,./-_*^`."""

    name: str
    accepted: Mapping[str, Sequence[Any]]
    optional: frozenset[str]
    folded: bool = False


def read_expected(value: Any, *, folded: bool = False) -> Expected:
    """An expected call. Raises ValueError for what is none."""
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"{str(value)[:80]!r} is no call: it has no name")
    exact, accepted = value.get("arguments"), value.get("accepted")
    if (exact is None) == (accepted is None):
        raise ValueError(f"the call of {name!r} needs either arguments or accepted")
    if exact is not None:
        if not isinstance(exact, Mapping):
            raise ValueError(f"the arguments of {name!r} are no mapping")
        accepted = {key: [argument] for key, argument in exact.items()}
    if not isinstance(accepted, Mapping):
        raise ValueError(f"the accepted arguments of {name!r} are no mapping")
    optional = value.get("optional") or []
    if not isinstance(optional, Sequence) or isinstance(optional, str):
        raise ValueError(f"optional of {name!r} is no list of arguments")
    for key, values in accepted.items():
        if not isinstance(values, list) or not (values or key in optional):
            raise ValueError(f"the accepted values of {name}.{key} are no list, or an empty one")
    unknown = [key for key in optional if key not in accepted]
    if unknown:
        raise ValueError(f"optional of {name!r} names {unknown[0]!r}, which is not accepted")
    return Expected(name, accepted, frozenset(optional), folded)


def compare_calls(
    expected: Sequence[Expected], given: Sequence[ToolCall], tools: Mapping[str, Schema]
) -> list[Difference]:
    """The differences between the expected calls and the given ones; none if they are the same.

    Calls are an unordered multiset: each expected call wants one given call of its own. `tools`
    may be empty; then any name may be called, and no type is checked.
    """
    if len(given) > len(expected) + MAX_EXPECTED:
        return [Difference("extra", f"{len(given)} calls instead of {len(expected)}")]
    fits = [
        [
            place
            for place, call in enumerate(given)
            if next(differences(want, call, tools.get(call.name)), None) is None
        ]
        for want in expected
    ]
    taken = _match(fits)
    open_given = [place for place in range(len(given)) if place not in taken]
    open_wanted = [index for index in range(len(expected)) if index not in taken.values()]
    found = [
        Difference("unknown_tool", f"there is no tool {given[place].name[:80]!r}")
        for place in open_given
        if tools and given[place].name not in tools
    ]
    open_given = [place for place in open_given if not tools or given[place].name in tools]
    for index in open_wanted:
        want = expected[index]
        near = [place for place in open_given if given[place].name == want.name]
        if not near:
            found.append(Difference("missing", f"{want.name} is not called"))
            continue
        listed = {
            place: list(differences(want, given[place], tools.get(want.name))) for place in near
        }
        closest = min(near, key=lambda place: len(listed[place]))
        open_given.remove(closest)
        found.extend(listed[closest])
    found.extend(
        Difference("extra", f"{given[place].name[:80]} is called too often, or for no reason")
        for place in open_given
    )
    return found


def schema_differences(call: ToolCall, tools: Mapping[str, Schema]) -> Iterator[Difference]:
    """How a call breaks the schema of its tool, whatever it was meant to do."""
    if call.name not in tools:
        yield Difference("unknown_tool", f"there is no tool {call.name[:80]!r}")
        return
    schema = tools[call.name]
    for name in required(schema):
        if name not in call.arguments:
            yield Difference("wrong_argument", f"{call.name}.{name} is missing")
    for name, value in call.arguments.items():
        if not has_member(schema, name):
            yield Difference("wrong_argument", f"{call.name} has no argument {name[:80]!r}")
            continue
        problem = type_problem(value, properties(schema).get(name))
        if problem:
            yield Difference("wrong_type", f"{call.name}.{name}: {problem}")
        elif not _in_enum(value, properties(schema).get(name)):
            yield Difference(
                "wrong_argument", f"{call.name}.{name} is {_show(value)}, none of enum"
            )


def differences(want: Expected, call: ToolCall, schema: Schema | None) -> Iterator[Difference]:
    """How a call differs from an expected one. The arguments that its schema requires are too."""
    if call.name != want.name:
        yield Difference("missing", f"{want.name} is not called")
        return
    described = properties(schema or {})
    must = {name for name in want.accepted if name not in want.optional}
    for name in dict.fromkeys([*want.accepted, *required(schema or {})]):
        if name not in call.arguments and (name in must or name in required(schema or {})):
            yield Difference("wrong_argument", f"{want.name}.{name} is missing")
    for name, value in call.arguments.items():
        if not has_member(schema or {}, name):
            yield Difference("wrong_argument", f"{want.name} has no argument {name[:80]!r}")
            continue
        if name not in want.accepted:
            yield Difference("wrong_argument", f"{want.name}.{name[:80]} is not expected")
            continue
        accepted = want.accepted[name]
        problem = type_problem(value, described.get(name))
        if problem and not _breaks_too(value, accepted, described.get(name)):
            yield Difference("wrong_type", f"{want.name}.{name}: {problem}")
            continue
        folded = want.folded and not problem  # the name of a variable has its exact letters
        if not any(is_accepted(value, other, folded=folded) for other in accepted):
            shown = ", ".join(_show(_first(other)) for other in accepted[:3])
            yield Difference("wrong_argument", f"{want.name}.{name} is {_show(value)}, not {shown}")


def is_accepted(value: Any, wanted: Any, *, folded: bool = False) -> bool:
    """Whether a value is the wanted one: 1.0 is 1, true is not, and a text is never a number."""
    if isinstance(wanted, Mapping) and "$object" in wanted:
        return _is_accepted_object(value, wanted, folded)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) and isinstance(wanted, str):
        return value == wanted or (folded and fold(value) == fold(wanted))
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return value.keys() == wanted.keys() and all(
            is_accepted(value[key], wanted[key], folded=folded) for key in wanted
        )
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return len(value) == len(wanted) and all(
            is_accepted(one, other, folded=folded) for one, other in zip(value, wanted, strict=True)
        )
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return value == wanted
    return value is None and wanted is None


def _is_accepted_object(value: Any, wanted: Mapping[str, Any], folded: bool) -> bool:
    if not isinstance(value, Mapping):
        return False
    members, optional = wanted["$object"], wanted.get("$optional") or ()
    return all(key in members for key in value) and all(
        any(is_accepted(value[key], other, folded=folded) for other in accepted)
        if key in value
        else key in optional
        for key, accepted in members.items()
    )


def fold(text: str) -> str:
    """A text without case, spaces and `,./-_*^`, its single quotation marks doubled (as BFCL's)."""
    return _FOLDED.sub("", text).lower().replace("'", '"')


def _breaks_too(value: Any, accepted: Sequence[Any], schema: Any) -> bool:
    """Whether the reference itself breaks the schema with a value of this type, such as a
    variable's name for a number: then the schema does not decide."""
    plain = map(_first, accepted)
    return any(json_type(value) == json_type(item) and type_problem(item, schema) for item in plain)


def _first(wanted: Any) -> Any:
    """A value that is the wanted one: of each member's accepted values the first."""
    if isinstance(wanted, Mapping) and "$object" in wanted:
        members = wanted["$object"].items()
        return {key: _first(accepted[0]) for key, accepted in members if accepted}
    return [_first(item) for item in wanted] if isinstance(wanted, list) else wanted


def _in_enum(value: Any, schema: Any) -> bool:
    allowed = schema.get("enum") if isinstance(schema, Mapping) else None
    return not isinstance(allowed, list) or any(is_accepted(value, item) for item in allowed)


def _match(fits: Sequence[Sequence[int]]) -> dict[int, int]:
    """A largest matching: which expected call each given call is taken for."""
    taken: dict[int, int] = {}

    def take(index: int, seen: set[int]) -> bool:
        for place in fits[index]:
            if place not in seen:
                seen.add(place)
                if place not in taken or take(taken[place], seen):
                    taken[place] = index
                    return True
        return False

    for index in range(len(fits)):
        take(index, set())
    return taken


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
