"""Logs of others: who answered what, and what it earned. A row's keys say which shape it has.

gym         NeMo Gym's rollouts: `responses_create_params`, `response`, `reward`
trace       traces of `verifiers` 0.2 and later: `nodes`, `task`, `rewards`
evaluation  results of older `verifiers`: `completion`, `answer`, `reward`
batch       results of an OpenAI batch: `custom_id`, `response`
record      what `factory verify` reads: `kind`, `text`, and `state` or `reward` if there are any

A row says itself how it is verified (`expected_answer`, `options`, tests, or a whole `verifier`),
or a file of references does. Rows are data: they can name no class of a user's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.core.errors import SourceError
from factory.core.think import join_think
from factory.prompts import verifier_spec
from factory.prompts.readers import parse_object
from factory.prompts.source import BadRow
from factory.prompts.verifier_spec import Spec
from factory.recipe.rewards import accuracy
from filters.verify.verifiers import Item

Row = Mapping[str, Any]
_SAFE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
"""Ids that may be names of files."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One answer of a log. `prompt` is what the answers to one question share."""

    id: str
    prompt: str
    item: Item
    reward: float | None  # as recorded


@dataclass(frozen=True, slots=True)
class _Read:
    """What a reader makes of a row. `verifier` None: the file of references says it."""

    id: str
    prompt: str | None
    verifier: Spec | None
    text: str
    reward: float | None = None


def read_log(file: Path, references: Path | None = None) -> tuple[dict[str, Logged], list[str]]:
    """Return the answers of a log by id, and what is wrong with the rows that cannot be used.

    Raises SourceError where no row can be used.
    """
    known = {} if references is None else _read_references(references)
    found: dict[str, Logged] = {}
    wrong = []
    for place, number, row in _objects(file):
        try:
            read = _read_row(row, number)
            spec = read.verifier or known.get(read.id)
            if spec is None:
                raise BadRow(
                    "no_reference",
                    f"nothing says how {read.id!r:.60} is verified; give it with --references",
                )
        except BadRow as error:
            wrong.append(f"{place}: {error.reason}: {error.detail}")
            continue
        name = read.id if _SAFE.fullmatch(read.id) else _digest(read.id)
        name = f"{name}-{number}" if name in found else name
        prompt = read.prompt or _digest(json.dumps(spec, sort_keys=True, default=str))
        found[name] = Logged(name, prompt, Item.of(spec, read.text), read.reward)
    if not found:
        said = f"; the first: {wrong[0]}" if wrong else ""
        raise SourceError(f"{file}: no row can be judged again{said}")
    return found, wrong


def _read_row(row: Row, number: int) -> _Read:
    for is_of, read in SHAPES.values():
        if is_of(row):
            try:
                return read(row, number)
            except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
                what = f"{type(error).__name__}: {error}"
                raise BadRow("bad_row", f"it lacks what its shape has ({what})") from None
    raise BadRow("unknown_shape", f"its keys are {', '.join(map(str, row))[:200] or 'none'}")


def _objects(file: Path) -> Iterator[tuple[str, int, Row]]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                row = parse_object(line, f"{file}:{number}")
                yield f"{file.name}:{number}", number, row
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def _read_references(file: Path) -> dict[str, Spec]:
    """How answers are verified, by their ids: `id`, `custom_id`, or Gym's two numbers."""
    found = {}
    for place, number, row in _objects(file):
        try:
            spec = verifier_spec.find_spec(row)
        except BadRow as error:
            raise SourceError(f"{file}:{number}: {error.reason}: {error.detail}") from None
        if spec is None:
            raise SourceError(f"{place} says not how its answer is verified; give kind, reference")
        found[
            _gym_id(row, number) if _TASK in row else str(row.get("custom_id", row.get("id")))
        ] = spec
    return found


_TASK = "_ng_task_index"


def _read_gym(row: Row, number: int) -> _Read:
    thinking: list[str] = []
    said: list[str] = []
    for item in row["response"]["output"]:
        kind = item.get("type", "message")
        if kind == "reasoning":
            parts = item.get("summary") or item.get("content") or []
            thinking += [part["text"] for part in parts]
        elif kind == "message":
            content = item["content"]
            said += [content] if isinstance(content, str) else [p["text"] for p in content]
        else:  # a call of a tool, or its result: what came before is not the answer
            thinking, said = [], []
    prompt = str(row[_TASK]) if _TASK in row else None
    return _Read(
        _gym_id(row, number),
        prompt,
        verifier_spec.find_spec(row),
        _join("\n".join(thinking), "".join(said)),
        _number(row.get("reward")),
    )


def _gym_id(row: Row, number: int) -> str:
    return f"{row[_TASK]}-{row.get('_ng_rollout_index', 0)}" if _TASK in row else f"line-{number}"


def _read_trace(row: Row, number: int) -> _Read:
    task = row["task"]
    data = task.get("data", task)
    own = [node["message"] for node in row["nodes"] if node.get("sampled")]
    last = own[-1] if own else {}
    said = row.get("root_reply")
    rewards = [reward for reward in row.get("rewards", {}).values() if reward is not None]
    earned = sum(
        one["score"] * one.get("weight", 1.0) if isinstance(one, dict) else one for one in rewards
    )
    failed = bool(row.get("errors")) and not row.get("ok", False)
    return _Read(
        str(row.get("id", f"line-{number}")),
        str(key) if (key := task.get("key") or task.get("hash") or data.get("idx")) else None,
        verifier_spec.find_spec(data),
        _join(last.get("reasoning_content"), _content(last) if said is None else said),
        _number(earned) if rewards and not failed else None,
    )


def _read_evaluation(row: Row, number: int) -> _Read:
    completion = row["completion"]
    text = completion
    if not isinstance(completion, str):
        own = [message for message in completion if message["role"] == "assistant"]
        text = _join(own[-1].get("reasoning_content"), _content(own[-1])) if own else ""
    example = row.get("example_id", row.get("id"))
    info = row.get("info")
    info = json.loads(info) if isinstance(info, str) and info else info
    spec = verifier_spec.find_spec({**row, **(info or {})})
    prompt = None if example is None else str(example)
    return _Read(f"{prompt or 'line'}-{number}", prompt, spec, text, _number(row.get("reward")))


def _read_batch(row: Row, number: int) -> _Read:
    response = row["response"]
    if row.get("error") or response["status_code"] != 200:
        raise BadRow("no_answer", f"the request {row['custom_id']!r:.60} was not answered")
    message = response["body"]["choices"][0]["message"]
    thinking = message.get("reasoning_content") or message.get("reasoning")
    return _Read(str(row["custom_id"]), None, None, _join(thinking, _content(message)))


def _read_record(row: Row, number: int) -> _Read:
    if row["kind"] not in verifier_spec.KEYS:
        known = ", ".join(verifier_spec.KEYS)
        raise BadRow("bad_kind", f"{row['kind']!r:.60} is none of {known}")
    reward = _number(row.get("reward"))
    if row.get("state") is not None:
        reward = accuracy(row["state"])
    prompt = None if row.get("prompt") is None else str(row["prompt"])
    return _Read(
        str(row.get("id", f"line-{number}")),
        prompt,
        verifier_spec.find_spec(row),
        row["text"],
        reward,
    )


SHAPES: dict[str, tuple[Callable[[Row], bool], Callable[[Row, int], _Read]]] = {
    "gym": (lambda row: {"responses_create_params", "response"} <= row.keys(), _read_gym),
    "trace": (lambda row: {"nodes", "task"} <= row.keys(), _read_trace),
    "evaluation": (lambda row: {"completion", "reward"} <= row.keys(), _read_evaluation),
    "batch": (lambda row: {"custom_id", "response"} <= row.keys(), _read_batch),
    "record": (lambda row: {"kind", "text"} <= row.keys(), _read_record),
}
"""Shape → whether a row has it, and its reader."""


def _content(message: Row) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _join(thinking: str | None, said: str) -> str:
    return join_think(thinking, said) if thinking else said


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
