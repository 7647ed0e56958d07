"""Rubrics: a list of yes-or-no items, each of which must have its answer.

Items that a program can answer come first: instructions (`filters.verify.instructions`) and
patterns. What is left is for a judge model, which the filter `correctness` asks item by item
(`filters.judges.rubric`). Until then the verdict is `pending`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from filters.verify.instructions.base import Check
from filters.verify.instructions.verifier import read_instruction
from filters.verify.pool import Outcome, Pool
from filters.verify.verification import State, Verification

MAX_ITEMS = 50
_TASK = "filters.verify.rubric:run"


class Pattern(BaseModel):
    """Whether a regular expression of Python occurs in the response."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    expect: Literal["yes", "no"] = "yes"


class Ask(BaseModel):
    """A question about the response, for a judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ask: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    expect: Literal["yes", "no"] = Field("yes")


Item = Check | Pattern | Ask


class RubricVerifier:
    """Verifier of `{"kind": "rubric", "items": [{"check": …}, {"pattern": …}, {"ask": …}]}`.

    `wrong` if an item that needs no judge has the other answer; `unparseable` if one can't be
    decided; `pending` if all of them hold and a judge has items left; else `correct`. The detail
    names the items, from 0. `deadline_s` is the CPU time of one response's patterns.
    """

    VERSION = 1

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(_TASK, workers=workers, attempts=(0.2 * deadline_s, 0.8 * deadline_s))

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        work: dict[int, dict[str, Any]] = {}
        for position, (spec, response) in enumerate(items):
            started = time.perf_counter()
            try:
                listed = read_items(spec)
            except ValueError as error:
                verdicts.append(_say("bad_reference", str(error), 0.0))
                continue
            state, detail = _judge_checks(listed, response)
            patterns = [item.pattern for item in listed if isinstance(item, Pattern)]
            if patterns and state != "wrong":
                work[position] = {"patterns": patterns, "text": response}
            ms = (time.perf_counter() - started) * 1000
            verdicts.append(_say(state, detail, ms))
        for position, outcome in zip(work, self._pool.run([*work.values()]), strict=True):
            before = verdicts[position]
            assert before is not None
            verdicts[position] = _with_patterns(before, read_items(items[position][0]), outcome)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        return [_problem(spec) for spec in specs]

    def close(self) -> None:
        self._pool.close()


def run(payload: Mapping[str, Any]) -> list[bool]:
    """Whether each pattern occurs in a text. In a worker: a pattern may never end."""
    return [re.search(pattern, payload["text"]) is not None for pattern in payload["patterns"]]


def read_items(spec: Mapping[str, Any]) -> list[Item]:
    """The items of a rubric. Raises ValueError, naming the place."""
    given = spec.get("items")
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError("items is no list, or an empty one")
    if len(given) > MAX_ITEMS:
        raise ValueError(f"{len(given)} items; at most {MAX_ITEMS} are judged")
    return [_read_item(item, f"items.{place}") for place, item in enumerate(given)]


def _read_item(given: Any, place: str) -> Item:
    if not isinstance(given, Mapping):
        raise ValueError(f"{place} is no mapping")
    if "check" in given:
        return read_instruction(given, place)
    if ("pattern" in given) == ("ask" in given):
        raise ValueError(f"{place} needs one of check, pattern and ask")
    kind: type[Pattern] | type[Ask] = Pattern if "pattern" in given else Ask
    try:
        item = kind.model_validate(given)
        if isinstance(item, Pattern):
            _compile(item.pattern)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])])
        raise ValueError(f"{where}: {first['msg']}"[:300]) from None
    except re.error as error:
        raise ValueError(f"{place}.pattern is no regular expression: {error}") from None
    return item


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _problem(spec: Mapping[str, Any]) -> str | None:
    try:
        read_items(spec)
    except ValueError as error:
        return str(error)
    return None


def _judge_checks(listed: Sequence[Item], response: str) -> tuple[State, str | None]:
    """What the instructions say, as if every pattern held."""
    broken, unclear = [], []
    for place, item in enumerate(listed):
        if isinstance(item, Check):
            finding = item.judge(response)
            said = f"items.{place} {item.check}: {finding.seen or 'not followed'}"
            if finding.followed is False:
                broken.append(said)
            elif finding.followed is None:
                unclear.append(said)
    if broken:
        return "wrong", "; ".join(broken)[:600]
    if unclear:
        return "unparseable", "; ".join(unclear)[:600]
    left = sum(isinstance(item, Ask) for item in listed)
    return ("pending", f"{left} items are for a judge") if left else ("correct", None)


def _with_patterns(before: Verification, listed: Sequence[Item], outcome: Outcome) -> Verification:
    ms = before.ms + outcome.ms
    if outcome.failure:
        return _say(outcome.failure, outcome.detail, ms)
    places = [(place, item) for place, item in enumerate(listed) if isinstance(item, Pattern)]
    broken = [
        f"items.{place} pattern: it {'occurs' if occurs else 'does not occur'}"
        for (place, item), occurs in zip(places, outcome.value, strict=True)
        if occurs != (item.expect == "yes")
    ]
    if broken:
        return _say("wrong", "; ".join(broken)[:600], ms)
    return _say(before.state, before.detail, ms)


def _say(state: State, detail: str | None, ms: float) -> Verification:
    return Verification(state, None, "rubric", round(ms, 3), detail)
