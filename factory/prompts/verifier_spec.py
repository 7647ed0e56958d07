"""The verifier mappings that prompts carry, made and checked in one place.

math    {"kind": "math", "answer": "42"}
choice  {"kind": "choice", "answer": "B", "choices": {"A": "iron", "B": "gold"}}
text    {"kind": "text", "answer": "Oslo"}
json    {"kind": "json", "answer": {"total": 3}}
code    {"kind": "code", "language": "python", "tests": {"stdin": [{"input", "output"}]}
         | {"call": {"name", "cases": [{"args", "expected"}]}}, …}
tool_call     {"kind": "tool_call", "calls": [{"name", "arguments"}], "tools": […]}
json_schema   {"kind": "json_schema", "schema": {…}, "equals": {"/total": 3}}
instructions  {"kind": "instructions", "instructions": [{"check": "words", "at_least": 50}]}
rubric        {"kind": "rubric", "items": [{"ask": "Is it polite?"}, {"check": …}]}
gym     {"kind": "gym", "task": "chain_sum", "entry": {"question", "answer", "metadata"}}
repository  {"kind": "repository", "snapshot", "changes", "packages", "fail_to_pass", …}
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from factory.prompts.source import READ_KEYS, BadRow, Row
from factory.prompts.written_answers import read_answer
from filters.verify.json_schema import look_up_pointer

Spec = dict[str, Any]

MAX_WRITTEN = 300
"""Characters, from the end, that are kept of a reference that was read out of something longer."""

KEYS = {
    "math": {"answer"},
    "choice": {"answer", "choices"},
    "text": {"answer"},
    "json": {"answer"},
    "code": {"tests"},
    "gym": {"task", "entry"},
    "state": set(),
    "repository": {"snapshot", "changes", "packages", "fail_to_pass"},
    "tool_call": {"calls"},
    "json_schema": {"schema"},
    "instructions": {"instructions"},
    "rubric": {"items"},
}
"""Kind → what its mapping must hold."""


def answer_text(value: Any) -> str:
    """A reference answer as text; files hold numbers as numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip() if isinstance(value, str | int | float | Decimal) else ""
    if not text or value != value:  # NaN
        raise BadRow("no_answer", f"the answer is {value!r}")
    return text


def math(answer: Any) -> Spec:
    """A mathematical reference, read like a response. Where it was written otherwise, `read` says
    what was done and `written` keeps it; `Source.make` puts both into the prompt's meta."""
    text = answer if isinstance(answer, str) else answer_text(answer)
    read = read_answer(text)  # before `answer_text` strips a form feed that begins \\frac
    if read.how is None:
        return {"kind": "math", "answer": answer_text(text)}
    return {
        "kind": "math",
        "answer": answer_text(read.answer),
        "written": text[-MAX_WRITTEN:],
        "read": read.how,
    }


def choice(answer: Any, choices: Any) -> Spec:
    """A multiple-choice reference: a letter, an option's text, or (in lists) an index from 0."""
    options = lettered(choices)
    letters = list(options)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(letters):
            raise BadRow("bad_choice", f"answer {answer} is no index of {len(letters)} choices")
        return {"kind": "choice", "answer": letters[answer], "choices": options}
    text = answer_text(answer)
    letter = text.strip("() .").upper()
    if letter not in options:
        matches = [key for key, option in options.items() if option == text]
        if len(matches) != 1:
            raise BadRow("bad_choice", f"answer {text!r} is none of {', '.join(letters)}")
        letter = matches[0]
    return {"kind": "choice", "answer": letter, "choices": options}


def lettered(choices: Any) -> dict[str, str]:
    """Choices by letter, from a list of texts, {letter: text}, or {"text": […], "label": […]}."""
    choices = structured(choices)
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(choices, Mapping):
        labels, texts = choices.get("label"), choices.get("text")
        if isinstance(labels, list) and isinstance(texts, list):
            pairs = zip(labels, texts, strict=False) if len(labels) == len(texts) else ()
        else:
            pairs = choices.items()
    elif isinstance(choices, list):
        pairs = zip(string.ascii_uppercase, choices, strict=False)
    options = {str(key).upper(): str(text) for key, text in pairs if text is not None}
    if not 2 <= len(options) <= len(string.ascii_uppercase):
        raise BadRow("bad_choices", f"{str(choices)[:80]!r} does not hold 2 to 26 choices")
    return options


def json_schema(schema: Any, answer: Any, equals: Iterable[str]) -> Spec:
    """A schema, and the values of a reference answer at the JSON pointers `equals`."""
    spec: Spec = {"kind": "json_schema", "schema": structured(schema)}
    found = {}
    for pointer in equals:
        try:
            found[pointer] = look_up_pointer(structured(answer), pointer)
        except LookupError:
            raise BadRow("no_answer", f"the answer has nothing at {pointer!r}") from None
    return spec | ({"equals": found} if found else {})


def structured(value: Any) -> Any:
    """A nested value, which CSV and many sets keep as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRow("bad_json", f"{value[:80]!r} is not JSON ({error})") from None


def checked(spec: Any) -> Spec:
    """A verifier mapping that a row brought along, complete for its kind."""
    spec = structured(spec)
    if not isinstance(spec, Mapping) or str(spec.get("kind")) not in KEYS:
        raise BadRow("bad_verifier", f"{str(spec)[:80]!r}: kind must be one of {', '.join(KEYS)}")
    kind = str(spec["kind"])
    missing = KEYS[kind] - {key for key, value in spec.items() if value is not None}
    if missing:
        raise BadRow("bad_verifier", f"a {kind} verifier needs {', '.join(sorted(missing))}")
    whole = {key: value for key, value in spec.items() if value is not None}
    match kind:
        case "math":
            brought = {key: value for key, value in whole.items() if key not in READ_KEYS}
            whole = brought | math(whole["answer"])
        case "text":
            whole["answer"] = answer_text(whole["answer"])
        case "choice":
            whole |= choice(whole["answer"], whole["choices"])
        case "code":
            whole["tests"] = checked_tests(whole["tests"])
        case "gym" if not isinstance(whole["entry"], Mapping):
            raise BadRow("bad_verifier", f"the entry {str(whole['entry'])[:80]!r} is no mapping")
    return whole


def checked_tests(tests: Any) -> Mapping[str, Any]:
    """Tests of a code prompt: not empty, each with the keys the sandbox reads."""
    tests = structured(tests)
    if isinstance(tests, Mapping):
        call = tests.get("call")
        if isinstance(call, Mapping) and isinstance(call.get("name"), str):
            cases, keys = call.get("cases"), {"args", "expected"}
        else:
            cases, keys = tests.get("stdin"), {"input", "output"}
        if isinstance(cases, Sequence) and cases and all(_has(case, keys) for case in cases):
            return tests
    raise BadRow(
        "bad_tests",
        f"{str(tests)[:80]!r} is neither {{'stdin': [{{input, output}}]}} "
        "nor {'call': {name, cases: [{args, expected}]}}",
    )


def _has(case: Any, keys: set[str]) -> bool:
    return isinstance(case, Mapping) and keys <= case.keys()


def find_spec(row: Row) -> Spec | None:
    """Return the verifier mapping that the keys of a row of others give, or None. Raises BadRow.

    `verifier`; `kind` with `reference`; NeMo Gym's `verifier_metadata.unit_tests`, `answer` with
    `metadata.source_dataset`, and `expected_answer`, with `options` where there are any.
    """
    metadata = row.get("verifier_metadata") or {}
    if isinstance(row.get("verifier"), dict | str):
        return checked(row["verifier"])
    if row.get("kind") in KEYS:
        own = {key: value for key, value in row.items() if key not in _NOT_THE_VERIFIERS}
        return checked(own | {"answer": row.get("reference", row.get("answer"))})
    if isinstance(tests := metadata.get("unit_tests"), dict):
        pairs = zip(tests["inputs"], tests["outputs"], strict=True)
        cases = [{"input": given, "output": wanted} for given, wanted in pairs]
        return checked({"kind": "code", "tests": {"stdin": cases}})
    task = (row.get("metadata") or {}).get("source_dataset")
    if isinstance(task, str) and "answer" in row:
        entry = {key: row.get(key) for key in ("question", "answer", "metadata")}
        return checked({"kind": "gym", "task": task, "entry": entry})
    answer = find_answer(row)
    if answer is None:
        return None
    if options := row.get("options"):
        if isinstance(options, list) and all(isinstance(option, dict) for option in options):
            options = {key: text for option in options for key, text in option.items()}
        return choice(answer, options)
    return math(answer)


def find_answer(row: Row) -> Any:
    """Return the reference answer of a row of others; None for a list, such as an agent's calls."""
    found = next((row[key] for key in _ANSWERS if row.get(key) not in (None, "")), None)
    return None if isinstance(found, list | Mapping) else found


_ANSWERS = ("expected_answer", "answer", "ground_truth")
ROW_KEYS = frozenset(
    (*_ANSWERS, "verifier", "kind", "reference", "verifier_metadata", "metadata", "options")
)
"""The keys by which rows of others say what is right."""

_NOT_THE_VERIFIERS = frozenset(
    ("id", "custom_id", "text", "reference", "state", "reward", "ms", "prompt")
)
