"""JSON answers that a schema accepts, with values that must be equal at chosen places.

Schemas may come from strangers. A `$ref` that leaves the schema is refused, nothing is fetched, and
all validation runs in killable processes: a pattern that backtracks forever is a `timeout`. Formats
are checked for `FORMATS` only: the others depend on which packages are installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from filters.verify.json_answer import Ambiguous, find_value, read, same
from filters.verify.pool import Outcome, Pool
from filters.verify.verification import State, Verification

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_SCHEMA = 200_000
MAX_DEPTH = 100
MAX_PROBLEMS = 3
FORMATS = ("date", "email", "ipv4", "ipv6", "uuid")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_TASK = "filters.verify.json_schema:run"


class JsonSchemaVerifier:
    """Verifier of `{"kind": "json_schema", "schema": {…}, "equals": {"/total": 3}}`.

    `equals` maps JSON pointers (RFC 6901) to values. Without it a right verdict has the method
    `json_schema_only`: the schema says nothing of what is true. `deadline_s` is the CPU time of one
    answer.
    """

    VERSION = 1

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(_TASK, workers=workers, attempts=(0.2 * deadline_s, 0.8 * deadline_s))

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        work: dict[int, dict[str, Any]] = {}
        for position, (spec, response) in enumerate(items):
            started = time.perf_counter()
            verdict = _at_once(spec, response)
            if isinstance(verdict, str):
                work[position] = {"schema": spec["schema"], "text": verdict}
                verdicts.append(None)
                continue
            state, text, detail = verdict
            ms = round((time.perf_counter() - started) * 1000, 3)
            verdicts.append(Verification(state, text, _method(spec), ms, detail))
        for position, outcome in zip(work, self._pool.run([*work.values()]), strict=True):
            spec, text = items[position][0], work[position]["text"]
            state, detail = _decide(spec, text, outcome)
            ms = round(outcome.ms, 3)
            verdicts[position] = Verification(state, text[:200], _method(spec), ms, detail)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A schema is sound if it is one, stays within itself, and asks for anything at all.

        What runs out of time here is not known to be bad.
        """
        problems = [_problem(spec) for spec in specs]
        open_ = [position for position, problem in enumerate(problems) if problem is None]
        payloads = [{"schema": specs[at]["schema"], "text": None} for at in open_]
        for at, outcome in zip(open_, self._pool.run(payloads), strict=True):
            if outcome.failure == "error":
                problems[at] = f"the schema cannot be used: {outcome.detail}"
            elif outcome.failure is None and outcome.value:
                problems[at] = "; ".join(outcome.value)
        return problems

    def close(self) -> None:
        self._pool.close()


def run(payload: Mapping[str, Any]) -> list[str]:
    """What is wrong with a JSON text by a schema, or (text None) with the schema. In a worker."""
    import jsonschema

    text = json.dumps(payload["schema"], sort_keys=True)
    if payload["text"] is None:
        found = jsonschema.validators.validator_for(
            payload["schema"], default=jsonschema.Draft202012Validator
        )
        patterns = jsonschema.FormatChecker(formats=("regex",))
        meta = found(found.META_SCHEMA, format_checker=patterns)
        errors = meta.iter_errors(payload["schema"])
        problems = list(islice(_describe(errors, "the schema"), MAX_PROBLEMS))
        if not problems:  # a reference that leads nowhere shows on use
            list(_validator(text).iter_errors({}))
        return problems
    errors = _validator(text).iter_errors(json.loads(payload["text"]))
    return list(islice(_describe(errors, "the answer"), MAX_PROBLEMS))


def warm_up() -> None:
    """Import the library before workers are forked."""
    run({"schema": {"type": "object"}, "text": "{}"})


@lru_cache(maxsize=256)
def _validator(text: str) -> Validator:
    import jsonschema
    from referencing import Registry

    schema = json.loads(text)
    found = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    formats = jsonschema.FormatChecker(formats=FORMATS)
    made: Validator = found(schema, registry=Registry(), format_checker=formats)
    return made


def _describe(errors: Any, whole: str) -> Iterator[str]:
    for error in errors:
        place = "".join(f"/{_escape(str(part))}" for part in error.absolute_path)
        yield f"{place or whole}: {error.message[:160]}"


def _problem(spec: Mapping[str, Any]) -> str | None:
    """What is wrong with a prompt's mapping, without asking the library."""
    schema, equals = spec.get("schema"), spec.get("equals", {})
    if not isinstance(schema, Mapping):
        return "there is no schema, as a mapping"
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        return f"the schema is no JSON: {error!s:.120}"
    if len(text) > MAX_SCHEMA:
        return f"the schema has {len(text):,} characters; at most {MAX_SCHEMA:,} are read"
    for reference in _references(schema):
        if not reference.startswith("#"):
            return (
                f"the schema refers to {reference[:80]!r}; only references within it are followed"
            )
    if not isinstance(equals, Mapping):
        return "equals is no mapping of JSON pointers to values"
    for pointer in equals:
        if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
            return f"{pointer!r:.80} in equals is no JSON pointer, such as /items/0/name"
    try:
        read(json.dumps(equals))
    except (TypeError, ValueError, RecursionError) as error:
        return f"equals cannot be compared: {error!s:.120}"
    if not equals and not set(schema) - {"$schema", "$id", "title", "description", "$comment"}:
        return "the schema accepts every value, and equals is empty"
    return None


def _references(schema: Any) -> Iterator[str]:
    """Every reference in a schema, without recursion; MAX_DEPTH levels and more are refused."""
    level = [schema]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                for key in _REFERENCES:
                    if isinstance(value.get(key), str):
                        yield value[key]
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    yield f"more than {MAX_DEPTH} levels"


def _at_once(spec: Mapping[str, Any], response: str) -> str | tuple[State, str | None, str | None]:
    """The response's JSON, to be validated; or a state, what was read, and why."""
    problem = _problem(spec)
    if problem is not None:
        return "bad_reference", None, problem
    try:
        found = find_value(response)
    except Ambiguous as error:
        return "wrong", None, f"ambiguous: {error}"
    except ValueError as error:
        return "unparseable", None, str(error)[:120]
    return found[0] if found is not None else ("no_answer", None, None)


def _decide(spec: Mapping[str, Any], text: str, outcome: Outcome) -> tuple[State, str | None]:
    if outcome.failure == "timeout":
        return "timeout", outcome.detail
    if outcome.failure is not None:  # a reference that never ends, or leads nowhere
        return "bad_reference", f"the schema cannot be used: {outcome.detail}"
    if outcome.value:
        return "wrong", "schema: " + "; ".join(outcome.value)
    unequal = list(islice(_unequal(read(text), spec.get("equals", {})), MAX_PROBLEMS))
    if unequal:
        return "wrong", "equals: " + "; ".join(unequal)
    return "correct", None if spec.get("equals") else "only the schema was checked"


def _unequal(value: Any, equals: Mapping[str, Any]) -> Iterator[str]:
    for pointer, wanted in equals.items():
        try:
            given = look_up_pointer(value, pointer)
        except LookupError:
            yield f"{pointer or 'the answer'} is missing"
            continue
        if not same(read(json.dumps(wanted)), given):
            shown = json.dumps(given, ensure_ascii=False, default=float)[:60]
            yield f"{pointer or 'the answer'} is {shown}, not {json.dumps(wanted)[:60]}"


def look_up_pointer(value: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901). Raises LookupError where there is none.

    >>> look_up_pointer({"items": [{"name": "a"}]}, "/items/0/name")
    'a'
    """
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit():
            value = value[int(key)]
        else:
            raise LookupError(pointer)
    return value


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _method(spec: Mapping[str, Any]) -> str:
    return "json_schema" if spec.get("equals") else "json_schema_only"
