"""The shared types: Prompt, Sample, Failure, Verdict, and the Arrow schemas of Prompt and Sample.

Single items are frozen dataclasses, bulk data are Arrow tables. Rows are joined by id, never by
position.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    import pyarrow as pa

R1_DOMAINS = ("math", "code", "stem", "logic", "general")
"""R1's five domains, in the order of v2 Table 5. A prompt's domain may be any text."""

Decision = Literal["keep", "drop", "undecided"]


class Message(TypedDict):
    """One turn of a conversation, in the chat format of trainers and servers.

    An assistant's turn may have `tool_calls` ({id, type, function: {name, arguments}}), and what a
    tool answers has the `name` of the tool and the `tool_call_id` of the call.
    """

    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]


class Continues(TypedDict):
    """The start of a model's turn that a prompt's samples continue: the first `cut` characters of
    the text of the sample `parent`."""

    parent: str
    cut: int
    text: str


def fingerprint(value: Any, length: int = 16) -> str:
    """Return a short content hash of a JSON value. The order of keys has no effect."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:length]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question and how its answer is verified.

    `verifier` has a `kind` (math, choice, text, json, code, gym, …) and the fields of that kind
    (`answer`, `tests`, `choices`, …); it is None if answers can't be verified. `tools` are the
    functions that the model is offered, as OpenAI schemas. `environment` has a `kind` and its
    options; the samples of such a prompt are episodes. Samples of a prompt with `continues` go on
    from that text, which is a part of theirs. `id` is a hash of messages and verifier, and of
    tools, environment and continued text where there are any, so the same prompt from two sources
    is one prompt.
    """

    source: str
    domain: str
    messages: tuple[Message, ...]
    verifier: Mapping[str, Any] | None = None
    language: str | None = None  # ISO 639-1; None: detect it
    license: str | None = None  # SPDX id, only if the source names one
    also_in: tuple[str, ...] = ()  # other sources with the same prompt
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, Any] | None = None
    continues: Continues | None = None

    def __post_init__(self) -> None:
        parts: list[Any] = [list(self.messages), self.verifier]
        if self.tools or self.environment is not None:
            parts += [list(self.tools), _place_free(self.environment)]
        if self.continues is not None:
            parts.append({"continues": self.continues["text"]})
        content = fingerprint(parts)
        if self.id and self.id != content:
            raise ValueError(f"prompt id {self.id} does not match its content ({content})")
        object.__setattr__(self, "id", content)

    @property
    def question(self) -> str:
        """The last user turn."""
        for message in reversed(self.messages):
            if message["role"] == "user":
                return str(message["content"])
        return ""

    def to_row(self) -> dict[str, Any]:
        """Return a row of `prompt_schema()`. Open-ended mappings become canonical JSON."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        row["messages"] = [dict(message) for message in self.messages]
        row["verifier"] = None if self.verifier is None else _dump(self.verifier)
        row["also_in"] = list(self.also_in)
        row["meta"] = _dump(self.meta)
        row["tools"] = _dump(list(self.tools)) if self.tools else None
        row["environment"] = None if self.environment is None else _dump(self.environment)
        row["continues"] = None if self.continues is None else _dump(self.continues)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Prompt:
        """Create a prompt from a row of `prompt_schema()`. Older rows lack the last columns."""
        tools, environment = row.get("tools"), row.get("environment")
        continues = row.get("continues")
        return cls(
            source=row["source"],
            domain=row["domain"],
            messages=as_messages(row["messages"]),
            verifier=None if row["verifier"] is None else json.loads(row["verifier"]),
            language=row["language"],
            license=row["license"],
            also_in=tuple(row["also_in"]),
            meta=json.loads(row["meta"]),
            id=row["id"],
            tools=tuple(json.loads(tools)) if tools else (),
            environment=json.loads(environment) if environment else None,
            continues=json.loads(continues) if continues else None,
        )


def _place_free(environment: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return an environment with the name of its file or folder, wherever that lies here.

    The Python of a taskset of `verifiers` is no part of the task.
    """
    if environment is None:
        return None
    found = dict(environment)
    if found.get("kind") == "verifiers":
        found.pop("python", None)
    if isinstance(found.get("path"), str):
        found["path"] = found["path"].rstrip("/").rpartition("/")[2]
    return found


def as_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Convert plain mappings to messages."""
    return tuple(Message(role=m["role"], content=m["content"]) for m in messages)


FinishReason = Literal["stop", "length", "abort", "early_stop", "max_turns", "environment"]
"""How a sample ended. Episodes may also end by their limit of turns, or by an environment that
failed."""

TurnRole = Literal["assistant", "tool", "user", "tools", "end"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an episode: the model's own words, or what it was shown.

    `assistant`: `text` is what the model wrote, tool calls included. `tool` and `user`: an
    observation. `tools`: the schemas of the functions that the environment offers, as JSON. `end`:
    the environment ended the episode without a message; `text` says why if it failed. `state`
    (JSON), `reward` and `done` are on the last turn of a step.
    """

    role: TurnRole
    text: str
    finish_reason: FinishReason | None = None
    n_tokens: int = 0  # generated for it
    n_prompt_tokens: int = 0  # before it
    token_ids: tuple[int, ...] | None = None  # as generated, with the end of the turn
    logprobs: tuple[float, ...] | None = None  # of these tokens
    name: str | None = None  # of the tool that answers
    call_id: str | None = None
    state: str | None = None
    reward: float | None = None
    done: bool = False
    created_at: int = 0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Turn:
        """Create a turn from a row of `turn_type()`."""
        ids, logprobs = row["token_ids"], row["logprobs"]
        return cls(
            **{
                **row,
                "token_ids": None if ids is None else tuple(ids),
                "logprobs": None if logprobs is None else tuple(logprobs),
            }
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion of one prompt.

    `text` is the whole assistant turn, including a prefilled `<think>`. `prompt_text` is the exact
    input before it. `n_tokens` is the number of generated tokens by the model's own count.
    `params_fp` is the fingerprint of the generation settings, which run.json has. `created_at` is
    Unix time in milliseconds. Of an episode `text` is the last assistant turn, `prompt_text` the
    input of the first one, `n_tokens` counts all, and `turns` has every turn in order. A sample
    that is no episode has one turn if its token ids or log-probabilities are kept, else None.
    A sample that continues another one has its id as `parent`, and as `cut` the number of
    characters it shares with it: `text` has them, `n_tokens` does not, since they were generated
    only once.
    """

    prompt_id: str
    index: int
    text: str
    prompt_text: str
    finish_reason: FinishReason
    n_tokens: int
    n_prompt_tokens: int
    model: str
    params_fp: str
    created_at: int
    turns: tuple[Turn, ...] | None = None
    parent: str | None = None
    cut: int | None = None

    @property
    def sample_id(self) -> str:
        return sample_id(self.prompt_id, self.index)

    def to_row(self) -> dict[str, Any]:
        """Return a row of `sample_schema()`, without optional columns that have no value."""
        row = dataclasses.asdict(self)
        return {name: row[name] for name in row if name not in OPTIONAL or row[name] is not None}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sample:
        """Create a sample from a row of `sample_schema()`, whose time is in milliseconds."""
        turns = row.get("turns")
        parsed = None if turns is None else tuple(Turn.from_row(turn) for turn in turns)
        return cls(**{**row, "turns": parsed})


OPTIONAL = ("turns", "parent", "cut")
"""Columns of samples that a part lacks if none of its samples has a value for them."""


def sample_id(prompt_id: str, index: int) -> str:
    return f"{prompt_id}-{index}"


FailureKind = Literal["prompt_too_long", "bad_request", "timeout", "engine", "empty", "environment"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a sample. It is data, not an exception."""

    prompt_id: str
    index: int
    kind: FailureKind
    detail: str
    retryable: bool

    @property
    def sample_id(self) -> str:
        return sample_id(self.prompt_id, self.index)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A filter's verdict on one sample: a decision, a stable reason code, the measured value."""

    decision: Decision
    reason: str | None = None
    value: Any = None


def _dump(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@cache
def prompt_schema() -> pa.Schema:
    """Return the schema of prompts.parquet."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    columns: list[tuple[str, pa.DataType]] = [
        ("source", pa.string()),
        ("domain", pa.string()),
        ("messages", pa.list_(message)),
        ("verifier", pa.string()),
        ("language", pa.string()),
        ("license", pa.string()),
        ("also_in", pa.list_(pa.string())),
        ("meta", pa.string()),
        ("id", pa.string()),
        ("tools", pa.string()),
        ("environment", pa.string()),
        ("continues", pa.string()),
    ]
    return pa.schema(columns)


@cache
def turn_type() -> pa.StructType:
    """Return the Arrow type of a turn."""
    import pyarrow as pa

    return pa.struct(
        [
            ("role", pa.string()),
            ("text", pa.large_string()),
            ("finish_reason", pa.string()),
            ("n_tokens", pa.int32()),
            ("n_prompt_tokens", pa.int32()),
            ("token_ids", pa.list_(pa.int32())),
            ("logprobs", pa.list_(pa.float32())),
            ("name", pa.string()),
            ("call_id", pa.string()),
            ("state", pa.string()),
            ("reward", pa.float64()),
            ("done", pa.bool_()),
            ("created_at", pa.int64()),
        ]
    )


@cache
def sample_schema() -> pa.Schema:
    """Return the schema of samples/part-*.parquet, whose `OPTIONAL` columns a part may lack."""
    import pyarrow as pa

    columns: list[tuple[str, pa.DataType]] = [
        ("prompt_id", pa.string()),
        ("index", pa.int32()),
        ("text", pa.large_string()),
        ("prompt_text", pa.large_string()),
        ("finish_reason", pa.string()),
        ("n_tokens", pa.int32()),
        ("n_prompt_tokens", pa.int32()),
        ("model", pa.string()),
        ("params_fp", pa.string()),
        ("created_at", pa.timestamp("ms", tz="UTC")),
        ("turns", pa.list_(turn_type())),
        ("parent", pa.string()),
        ("cut", pa.int32()),
    ]
    return pa.schema(columns)


PENDING = "pending"
"""The reason of a sample that is undecided because its verdict comes later."""


class Judged(NamedTuple):
    """An early verdict, for the scheduler and the progress display. Final verdicts come later."""

    sample_id: str
    decision: str
    reason: str | None
