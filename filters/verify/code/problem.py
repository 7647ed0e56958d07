"""A code prompt's verifier mapping, read strictly.

    {"kind": "code", "language": "python" | "cpp",
     "tests": {"stdin": [{"input", "output"}, …]}
           or {"call": {"name", "cases": [{"args", "expected"}, …]}},
     "starter_code", "solution", "time_limit_s", "memory_mb", "checker"}

Only `tests` must be there; it may also be a string that holds the JSON. `checker` is a name from
`checkers` or the source of a Python program that gets three file names, of the input, the
expected output and the program's output, and prints 1 to accept or 0 to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filters.verify.code import checkers
from filters.verify.code.extract import Language
from filters.verify.problem import ProblemError, read_number
from filters.verify.sandbox import Limits

_LONGEST_S, _LEAST_MB, _MOST_MB = 120.0, 16, 1 << 16
_DEFAULT = Limits()
_OUTPUT_MB = 4


@dataclass(frozen=True, slots=True)
class Case:
    """One test: standard input, or a call's arguments as JSON, and what should come of it."""

    given: str
    expected: str


@dataclass(frozen=True, slots=True)
class Problem:
    """How programs for one prompt are judged."""

    language: Language
    function: str | None  # None: a whole program, judged by what it prints
    cases: tuple[Case, ...]
    compare: checkers.Comparison
    checker: str | None  # source; decides in place of `compare`
    starter: str
    solution: str | None
    limits: Limits


def read_problem(spec: Mapping[str, Any]) -> Problem:
    """The problem that `spec` describes. Raises ProblemError."""
    language: Language = _one_of(spec, "language", ("python", "cpp"), "python")
    tests = _tests(spec)
    if "stdin" in tests:
        function, cases = None, _stdin_cases(tests["stdin"])
    else:
        function, cases = _call_cases(tests["call"])
        if language != "python":
            raise ProblemError("tests.call needs language python")
    compare, checker = _checker(spec, calls=function is not None)
    return Problem(
        language=language,
        function=function,
        cases=cases,
        compare=compare,
        checker=checker,
        starter=_completed(_text(spec, "starter_code") or ""),
        solution=_text(spec, "solution"),
        limits=_limits(spec, cases),
    )


def _tests(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    tests = spec.get("tests")
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except (ValueError, RecursionError) as error:
            raise ProblemError(f"tests is not JSON: {error}") from None
    if not isinstance(tests, Mapping):
        raise ProblemError("tests is missing" if tests is None else "tests is not an object")
    kinds = [kind for kind in ("stdin", "call") if kind in tests]
    if len(kinds) != 1:
        raise ProblemError("tests must have exactly one of the keys stdin and call")
    return tests


def _stdin_cases(listed: Any) -> tuple[Case, ...]:
    cases = []
    for place, case in enumerate(_list(listed, "tests.stdin")):
        where = f"tests.stdin[{place}]"
        given, expected = _fields(case, where, "input", "output")
        if not isinstance(given, str) or not isinstance(expected, str):
            raise ProblemError(f"{where}: input and output must be text")
        cases.append(Case(given, expected))
    return tuple(cases)


def _call_cases(call: Any) -> tuple[str, tuple[Case, ...]]:
    name, listed = _fields(call, "tests.call", "name", "cases")
    if not isinstance(name, str) or not name.isidentifier():
        raise ProblemError(f"tests.call.name is {name!r}, which is no name of a function")
    cases = []
    for place, case in enumerate(_list(listed, "tests.call.cases")):
        where = f"tests.call.cases[{place}]"
        arguments, expected = _fields(case, where, "args", "expected")
        if not isinstance(arguments, list | dict):
            raise ProblemError(f"{where}: args must be a list, or an object of named arguments")
        cases.append(Case(_json(arguments, where), _json(expected, where)))
    return name, tuple(cases)


def _checker(spec: Mapping[str, Any], *, calls: bool) -> tuple[checkers.Comparison, str | None]:
    named = checkers.CALL_CHECKERS if calls else checkers.STDIN_CHECKERS
    default = checkers.result if calls else checkers.tokens
    checker = _text(spec, "checker")
    if checker is None:
        return default, None
    if checker in named:
        return named[checker], None
    if checker.strip().isidentifier():
        known = ", ".join(named)
        raise ProblemError(f"checker {checker!r} is unknown; known are {known}, or a program")
    return default, checker


def _limits(spec: Mapping[str, Any], cases: tuple[Case, ...]) -> Limits:
    longest = max(len(case.expected) for case in cases)
    return Limits(
        time_s=read_number(spec, "time_limit_s", _DEFAULT.time_s, 0.01, _LONGEST_S),
        memory_mb=int(read_number(spec, "memory_mb", _DEFAULT.memory_mb, _LEAST_MB, _MOST_MB)),
        output_mb=max(_OUTPUT_MB, (8 * longest >> 20) + 1),
    )


def _completed(starter: str) -> str:
    """LeetCode's starter code ends inside the function: give it a body, so that it compiles."""
    last = starter.rstrip().rpartition("\n")[2]
    if not last.endswith(":"):
        return starter
    indent = last[: len(last) - len(last.lstrip())]
    return f"{starter.rstrip()}\n{indent}    pass\n"


def _fields(value: Any, where: str, first: str, second: str) -> tuple[Any, Any]:
    if not isinstance(value, Mapping):
        raise ProblemError(f"{where} is not an object")
    for key in (first, second):
        if key not in value:
            raise ProblemError(f"{where}.{key} is missing")
    return value[first], value[second]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ProblemError(f"{where} is not a list")
    if not value:
        raise ProblemError(f"{where} is empty: there is no test")
    return list(value)


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON: {error}") from None


def _text(spec: Mapping[str, Any], key: str) -> str | None:
    value = spec.get(key)
    if value is not None and not isinstance(value, str):
        raise ProblemError(f"{key} is not text")
    return value


def _one_of(spec: Mapping[str, Any], key: str, allowed: tuple[Any, ...], default: Any) -> Any:
    value = spec.get(key) or default
    if value not in allowed:
        raise ProblemError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")
    return value
