"""Published sets of programming problems, with their tests in one format.

None of these sets has checkers for problems with several right outputs, so a right program can
fail them. The reliability of the verdict "wrong" differs by source; the report shows it by source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts import verifier_spec
from factory.prompts.sets.base import NamedSet, parse_number
from factory.prompts.source import BadRow, Row, Unwanted

BY_STDIN = "Write a program in {language} that reads standard input and writes standard output."
BY_CALL = "Write a function `{name}` in {language}."
BY_STARTER = "Write it in {language}, starting from this code:\n\n```{language}\n{starter}\n```"


class CodeSet(NamedSet):
    """The base of the sets of programming problems: a statement, tests, limits."""

    DOMAIN: ClassVar[str | None] = "code"

    max_test_bytes: int = Field(
        1_000_000,
        ge=1,
        description="Keep a problem's first tests up to this size in bytes. Some sets have "
        "hundreds of megabytes for one problem.",
    )

    def problem(
        self,
        question: Any,
        tests: verifier_spec.Spec,
        *,
        language: str = "python",
        starter: str | None = None,
        time_limit_s: float | None = None,
        memory_mb: float | None = None,
        **meta: Any,
    ) -> Prompt:
        if not isinstance(question, str) or not question.strip():
            raise BadRow("no_question", f"the statement is {question!r}")
        kept, dropped = limit_tests(tests, self.max_test_bytes)
        verifier: verifier_spec.Spec = {"kind": "code", "language": language, "tests": kept}
        shown = {"python": "Python", "cpp": "C++"}.get(language, language)
        if starter and starter.strip():
            verifier["starter_code"] = starter
            task = BY_STARTER.format(language=shown, starter=starter.rstrip())
        elif "call" in tests:
            task = BY_CALL.format(language=shown, name=tests["call"]["name"])
        else:
            task = BY_STDIN.format(language=shown)
        if time_limit_s:
            verifier["time_limit_s"] = time_limit_s
        if memory_mb:
            verifier["memory_mb"] = int(memory_mb)
        return self.make(
            f"{question.strip()}\n\n{task}",
            verifier,
            meta=meta | {"tests_left_out": dropped or None},
        )


class Taco(CodeSet):
    """TACO. Its Parquet files are read directly, since `datasets` no longer runs its script.

    Tests are JSON text. With `fn_name` they are calls, otherwise standard input. Limits are text
    ("2.0 seconds", "256.0 megabytes").
    """

    LICENSE = "Apache-2.0"

    kind: Literal["taco"] = "taco"
    dataset: str = Field("BAAI/TACO", description="Id on the Hub, or a local copy.")
    files: str | None = Field("ALL/{split}-*.parquet", description="Glob of the files to read.")

    def read_row(self, row: Row) -> Prompt:
        return self.problem(
            row["question"],
            parse_input_output(row["input_output"]),
            starter=row.get("starter_code"),
            time_limit_s=parse_number(row.get("time_limit")),
            memory_mb=parse_number(row.get("memory_limit")),
            difficulty=row.get("difficulty"),
            origin=row.get("source"),
            url=row.get("url"),
        )


class Apps(CodeSet):
    """APPS. The Hub's Parquet conversion is read, since `datasets` no longer runs its script.

    Only its directory `all` is read, since the others repeat it. Problems without tests are left
    out.
    """

    LICENSE = "MIT"

    kind: Literal["apps"] = "apps"
    dataset: str = Field("codeparrot/apps", description="Id on the Hub, or a local copy.")
    revision: str | None = Field("refs/convert/parquet", description="Branch, tag or commit.")
    files: str | None = Field("all/{split}/*.parquet", description="Glob of the files to read.")

    def read_row(self, row: Row) -> Prompt:
        return self.problem(
            row["question"],
            parse_input_output(row["input_output"]),
            starter=row.get("starter_code"),
            difficulty=row.get("difficulty"),
            url=row.get("url"),
        )


class CodeContests(CodeSet):
    """CodeContests, over 100 GB: it is streamed, and the solutions are not downloaded.

    Problems that read or write named files, or show an image, are left out.
    """

    LICENSE = "CC-BY-4.0"
    COLUMNS = (
        "name",
        "description",
        "public_tests",
        "private_tests",
        "generated_tests",
        "time_limit",
        "memory_limit_bytes",
        "input_file",
        "output_file",
        "cf_rating",
    )

    kind: Literal["code_contests"] = "code_contests"
    dataset: str = Field("deepmind/code_contests", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        description = row["description"]
        if row.get("input_file") or row.get("output_file"):
            raise Unwanted("reads_files")
        if "<image>" in (description or ""):
            raise Unwanted("image")
        pairs: list[tuple[Any, Any]] = []
        for kind in ("public_tests", "private_tests", "generated_tests"):
            tests = row.get(kind) or {"input": [], "output": []}
            pairs += zip(tests["input"], tests["output"], strict=True)
        limit = row.get("time_limit") or {}
        return self.problem(
            description,
            stdin_tests(pairs),
            time_limit_s=(limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9,
            memory_mb=(row.get("memory_limit_bytes") or 0) / 1e6,
            title=row.get("name"),
            rating=row.get("cf_rating") or None,
        )


def parse_input_output(text: Any) -> verifier_spec.Spec:
    """Parse the tests of APPS and TACO: JSON text with inputs, outputs and sometimes fn_name."""
    if not text:
        raise Unwanted("no_tests")
    held = verifier_spec.structured(text)
    if not isinstance(held, Mapping):
        raise BadRow("bad_tests", f"{str(text)[:80]!r} is not an object")
    inputs, outputs = held.get("inputs") or [], held.get("outputs") or []
    if len(inputs) != len(outputs):
        raise BadRow("bad_tests", f"{len(inputs)} inputs and {len(outputs)} outputs")
    pairs = list(zip(inputs, outputs, strict=True))
    return call_tests(held["fn_name"], pairs) if held.get("fn_name") else stdin_tests(pairs)


def stdin_tests(pairs: Iterable[tuple[Any, Any]]) -> verifier_spec.Spec:
    """Return tests by standard input and output. Some rows have them as lists of lines."""
    tests = [{"input": as_text(given), "output": as_text(wanted)} for given, wanted in pairs]
    if not tests:
        raise Unwanted("no_tests")
    return {"stdin": tests}


def as_text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def call_tests(name: str, pairs: Sequence[tuple[Any, Any]]) -> verifier_spec.Spec:
    """Return calls of one function.

    APPS and TACO wrap most results in a list of one item, which their own grader accepts. If all
    results of a problem are wrapped, they are unwrapped.
    """
    if not pairs:
        raise Unwanted("no_tests")
    wrapped = all(isinstance(wanted, list) and len(wanted) == 1 for _, wanted in pairs)
    cases = [
        {"args": parse_arguments(given), "expected": wanted[0] if wrapped else wanted}
        for given, wanted in pairs
    ]
    return {"call": {"name": name, "cases": cases}}


def parse_arguments(given: Any) -> list[Any]:
    """Parse a call's arguments: a list, or text with one JSON value per line."""
    if isinstance(given, str):
        return [verifier_spec.structured(line) for line in given.splitlines() if line.strip()]
    if not isinstance(given, list):
        raise BadRow("bad_tests", f"the arguments {str(given)[:80]!r} are not a list")
    return given


def limit_tests(tests: verifier_spec.Spec, budget: int) -> tuple[verifier_spec.Spec, int]:
    """Return the first tests that fit in `budget` bytes of JSON, and the number of the others."""
    cases = tests["stdin"] if "stdin" in tests else tests["call"]["cases"]
    kept = []
    for case in cases:
        size = len(json.dumps(case))
        if size > budget:
            continue
        budget -= size
        kept.append(case)
    if not kept:
        raise Unwanted("tests_too_large")
    whole = {"stdin": kept} if "stdin" in tests else {"call": tests["call"] | {"cases": kept}}
    return whole, len(cases) - len(kept)
