"""Prime Intellect's verifiable sets and SYNTHETIC-1: mathematics and code in one format."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts import verifier_spec
from factory.prompts.sets.code_sets import CodeSet, call_tests, stdin_tests
from factory.prompts.source import BadRow, Row, Unwanted

LANGUAGES = {"python": "python", "python3": "python", "cpp": "cpp", "c++": "cpp"}


class PrimeIntellect(CodeSet):
    """A set with `prompt` and `verification_info`: verifiable-math-problems, SYNTHETIC-1, …

    `verification_info` is text: JSON in some sets, a Python literal in others. Tasks that need a
    judge are left out, and so are programming languages other than Python and C++.
    """

    DOMAIN = None  # depends on the task

    kind: Literal["prime_intellect"] = "prime_intellect"
    dataset: str = Field(
        "PrimeIntellect/verifiable-math-problems", description="Id on the Hub, or a local copy."
    )

    def read_row(self, row: Row) -> Prompt:
        question, info = row["prompt"], parse_info(row["verification_info"])
        meta = {"task_type": row.get("task_type"), "problem_id": row.get("problem_id")}
        cases = info.get("test_cases") or parse_listed_cases(info.get("ground_truth"))
        if cases:
            language = LANGUAGES.get(str(info.get("language") or "python").lower())
            if language is None:
                raise Unwanted("other_language")
            return self.problem(question, parse_tests(cases), language=language, **meta)
        if "judge" in str(row.get("task_type")):
            raise Unwanted("needs_a_judge")
        answer = info.get("ground_truth", info.get("answer"))
        if answer is None or not str(answer).strip():
            raise Unwanted("no_answer")
        if not isinstance(question, str):
            raise BadRow("no_question", f"the prompt is {question!r}")
        verifier = verifier_spec.math(answer) if "math" in str(row.get("task_type")) else None
        return self.make(question, verifier or {"kind": "text", "answer": str(answer)}, meta=meta)


def parse_info(text: Any) -> Mapping[str, Any]:
    """Parse `verification_info`: a mapping, its JSON, or its Python literal."""
    value = text
    if isinstance(text, str):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                value = None
    if not isinstance(value, Mapping):
        raise BadRow("bad_verifier", f"verification_info is {str(text)[:80]!r}")
    return value


def parse_listed_cases(truth: Any) -> list[Any] | None:
    """Return tests stored in `ground_truth` as the JSON of a list, or None."""
    if isinstance(truth, str) and truth.lstrip().startswith("[{"):
        try:
            found = json.loads(truth)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def parse_tests(cases: Any) -> verifier_spec.Spec:
    """Convert test cases, which must be of one type and, for calls, of one function."""
    cases = verifier_spec.structured(cases)
    if not isinstance(cases, list) or not all(isinstance(case, Mapping) for case in cases):
        raise BadRow("bad_tests", f"{str(cases)[:80]!r} is not a list of test cases")
    names = {case.get("fn_name") or None for case in cases}
    if len(names) != 1:
        raise BadRow("bad_tests", f"tests of several functions: {names}")
    pairs = [(case.get("input"), case.get("output")) for case in cases]
    name = names.pop()
    return call_tests(name, pairs) if name else stdin_tests(pairs)
