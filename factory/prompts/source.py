"""The base of prompt sources: reads rows and converts each to a prompt or to a reason why not.

A bad row does not end the build. It is recorded with its place and reason.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from factory.core.nouns import Message, Prompt
from factory.prompts.tools import EnvironmentOptions, combine_environments

READ_KEYS = ("read", "written")
"""Of a mathematical verifier mapping: how its reference was read, and what it was before."""

Row = Mapping[str, Any]
"""A row as stored in its file or data set."""


class BadRow(Exception):
    """A row without a usable prompt. `reason` is a stable code, `detail` the value and remedy."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Unwanted(Exception):
    """A valid row that is left out on purpose, such as a proof."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reject:
    """A malformed row. Counts towards the source's `max_reject_rate`."""

    place: str  # "problems.jsonl:12"
    reason: str
    detail: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A row left out on purpose. It is counted, but not as malformed."""

    reason: str


class Source(BaseModel):
    """Base of every loader. Its fields are the keys of an entry of `sources:`; others are refused.

    A subclass implements `read` (yields places and rows) and `prompt` (converts a row to a prompt,
    or raises BadRow or Unwanted).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    SOURCE: ClassVar[str] = ""  # hash of the file that holds a loader that is not shipped
    REFERENCE: ClassVar[str] = ""  # what finds it again: path/to/file.py:Class, or an entry point

    DOMAIN: ClassVar[str | None] = None
    LANGUAGE: ClassVar[str | None] = None
    LICENSE: ClassVar[str | None] = None

    kind: str
    name: str | None = Field(
        None, description="Name of the source in the corpus and in reports. Default: derived."
    )
    domain: str | None = Field(
        None,
        min_length=1,
        description="Domain of all prompts, any text. R1's: math, code, stem, logic, general. "
        "Default: by the row, or by the kind of verifier.",
    )
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2}$",
        description="Language of all prompts, ISO 639-1. Default: detected.",
    )
    license: str | None = Field(
        None, description="SPDX id of the prompts' license, if the source has none."
    )
    limit: int | None = Field(
        None, ge=1, description="Maximum number of distinct prompts from this source."
    )
    shuffle: int = Field(
        0,
        ge=0,
        description="Size of the shuffle buffer in rows. 0: keep the order of the source.",
    )
    seed: int = Field(
        0, ge=0, description="Random seed for the shuffle and everything else in this source."
    )
    environment: EnvironmentOptions | None = Field(
        None,
        description="The environment that a model acts in, turn by turn: `{kind: calculator}`, or "
        "`{class: path/to/file.py:Class}` for one of your own, with its options. A row's own "
        "environment goes first. Default: none.",
    )
    max_reject_rate: float = Field(
        0.05, ge=0, le=1, description="Maximum share of malformed rows before loading fails."
    )

    _unread: Counter[str] = PrivateAttr(default_factory=Counter)

    @property
    def unread(self) -> Counter[str]:
        """The fields of the rows read so far that had no effect on their prompts, with counts."""
        return self._unread

    @property
    def label(self) -> str:
        """The name of the source in its prompts."""
        return self.name or self.kind

    def local_paths(self) -> tuple[str, ...]:
        """Return the local files and folders that the source reads, patterns included."""
        return ()

    def identity(self) -> Any:
        """Return a value that changes with the prompts: the keys, and the state of local files."""
        dump = self.model_dump(mode="json")
        _drop_defaults(dump, ("environment",))
        _drop_defaults(dump.get("columns"), ("tools", "environment"))
        return dump

    def own_verifiers(self) -> tuple[str, ...]:
        """Return the names, in prompts, of the user's own verifiers that the source names."""
        return ()

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        """Yield every row with its place. An unreadable row is yielded as a BadRow."""
        raise NotImplementedError

    def prompt(self, row: Row) -> Prompt:
        """Convert a row to a prompt. Raises BadRow or Unwanted."""
        raise NotImplementedError

    def unread_fields(self, row: Row) -> Iterable[str]:
        """Return the fields of a row that `prompt` does not read."""
        return ()

    def rows(self) -> Iterator[Prompt | Reject | Skip]:
        """Yield the result of every row. The caller applies `limit`, as it knows the duplicates."""
        self._unread.clear()
        results = (self._convert(place, row) for place, row in self.read())
        return shuffle_stream(results, self.shuffle, self.seed) if self.shuffle else results

    def _convert(self, place: str, row: Row | BadRow) -> Prompt | Reject | Skip:
        try:
            if isinstance(row, BadRow):
                raise row
            prompt = self.prompt(row)
            _require_storable(prompt)
            self._unread.update(self.unread_fields(row))
        except BadRow as bad:
            excerpt = "" if isinstance(row, BadRow) else make_excerpt(row)
            return Reject(place, bad.reason, bad.detail, excerpt)
        except Unwanted as unwanted:
            return Skip(unwanted.reason)
        return prompt

    def make(
        self,
        question: str | tuple[Message, ...],
        verifier: Mapping[str, Any] | None,
        *,
        system: str | None = None,
        domain: str | None = None,
        language: str | None = None,
        license: str | None = None,
        meta: Row | None = None,
        tools: tuple[Mapping[str, Any], ...] = (),
        environment: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """Create a prompt. The recipe's values override the row's, and these the set's."""
        messages = question
        if isinstance(messages, str):
            if not messages.strip():
                raise BadRow("no_question", "the question is empty")
            messages = (Message(role="user", content=messages.strip()),)
        if system:
            messages = (Message(role="system", content=system), *messages)
        kept = {key: value for key, value in (meta or {}).items() if value is not None}
        if verifier is not None and verifier["kind"] == "math":
            # How a reference was read is a fact about the row, not part of the prompt's identity.
            kept |= {f"reference_{key}": verifier[key] for key in READ_KEYS if key in verifier}
            verifier = {key: value for key, value in verifier.items() if key not in READ_KEYS}
        environment = combine_environments(environment, self.environment)
        if environment is not None and "kind" not in environment:
            raise BadRow("no_environment", "its environment has no kind, and its source names none")
        try:
            return Prompt(
                source=self.label,
                domain=self.domain or domain or self.DOMAIN or infer_domain(verifier),
                messages=messages,
                verifier=verifier,
                language=self.language or language or self.LANGUAGE,
                license=self.license or license or self.LICENSE,
                meta=kept,
                tools=tools,
                environment=environment,
            )
        except (TypeError, ValueError, RecursionError) as error:  # hashing it as JSON
            raise BadRow("not_json", f"the verifier can't be written as JSON: {error}") from None


def _drop_defaults(dump: dict[str, Any] | None, names: Iterable[str]) -> None:
    """Drop keys without effect that older versions lack, so that they change no identity."""
    for name in names:
        if dump is not None and dump.get(name) in (None, name):
            dump.pop(name, None)


DOMAINS: dict[str, str] = {
    "math": "math",
    "code": "code",
    "choice": "stem",
    "gym": "logic",
    "repository": "code",
}


def infer_domain(verifier: Mapping[str, Any] | None) -> str:
    """Return the default domain for a kind of verifier."""
    return "general" if verifier is None else DOMAINS.get(verifier["kind"], "general")


def _require_storable(prompt: Prompt) -> None:
    """Raise BadRow for lone surrogates, which JSON accepts but Arrow refuses much later."""
    row = prompt.to_row()
    texts = [message["content"] for message in prompt.messages]
    columns = ("verifier", "meta", "tools", "environment", "language", "license")
    for text in (*texts, *(row[name] for name in columns)):
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise BadRow("bad_unicode", f"{error.object[error.start : error.end]!r}") from None


def make_excerpt(row: Row, length: int = 300) -> str:
    """Return the start of a row, so that a person can recognize it."""
    text = ", ".join(f"{key}: {str(value)[:120]!r}" for key, value in row.items())
    return text.encode("utf-8", "replace").decode()[:length]


def shuffle_stream(
    items: Iterator[Prompt | Reject | Skip], buffer_size: int, seed: int
) -> Iterator[Prompt | Reject | Skip]:
    """Shuffle a stream in bounded memory: each new item replaces a random one in the buffer."""
    random_state = random.Random(seed)
    buffer: list[Prompt | Reject | Skip] = []
    for item in items:
        if len(buffer) < buffer_size:
            buffer.append(item)
            continue
        drawn = random_state.randrange(buffer_size)
        buffer[drawn], item = item, buffer[drawn]
        yield item
    random_state.shuffle(buffer)
    yield from buffer
