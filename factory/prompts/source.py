"""What a prompt source is: it reads rows and makes a prompt of each, or says why not.

A bad row is data, not an exception that ends the build: it is set aside with its place and reason.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from factory.core.nouns import Domain, Message, Prompt

Row = Mapping[str, Any]
"""A row as its file or data set holds it."""


class BadRow(Exception):
    """A row no prompt can be made of: `reason` is a stable code, `detail` the value and remedy."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Unwanted(Exception):
    """A sound row that its set is known to hold and that is left out on purpose (a proof)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reject:
    """A malformed row, set aside. Counts against the source's `max_reject_rate`."""

    place: str  # "problems.jsonl:12"
    reason: str
    detail: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A row left out on purpose: counted, not a fault of the source."""

    reason: str


class Source(BaseModel):
    """Base of every loader. Its fields are the keys of an entry of `sources:`; others are refused.

    A subclass gives `read` (places and rows) and `prompt` (a row's prompt, raising BadRow or
    Unwanted).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    DOMAIN: ClassVar[Domain | None] = None
    LANGUAGE: ClassVar[str | None] = None
    LICENSE: ClassVar[str | None] = None

    kind: str
    name: str | None = Field(
        None, description="Name of the source in the corpus and in reports; derived where absent."
    )
    domain: Domain | None = Field(
        None,
        description="Domain of every prompt: math, code, stem, logic or general; "
        "by the rows or the kind of verifier where absent.",
    )
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2}$",
        description="Language of every prompt, ISO 639-1; detected where absent.",
    )
    license: str | None = Field(
        None, description="SPDX id of the prompts' licence, where the source names none itself."
    )
    limit: int | None = Field(
        None, ge=1, description="Take at most so many distinct prompts from this source."
    )
    shuffle: int = Field(
        0,
        ge=0,
        description="Shuffle the rows through a buffer of so many; 0 keeps the source's order.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random in this source.")
    max_reject_rate: float = Field(
        0.05, ge=0, le=1, description="Fail when a larger share of the rows is malformed."
    )

    @property
    def label(self) -> str:
        """The name prompts carry as their source."""
        return self.name or self.kind

    def identity(self) -> Any:
        """What changes when the prompts do: the keys, and for local files what they are now."""
        return self.model_dump(mode="json")

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        """Every row and its place; a row that cannot be read at all comes as the BadRow it is."""
        raise NotImplementedError

    def prompt(self, row: Row) -> Prompt:
        """The prompt a row holds. Raises BadRow or Unwanted."""
        raise NotImplementedError

    def rows(self) -> Iterator[Prompt | Reject | Skip]:
        """What became of every row, streaming; `limit` is the caller's, who knows duplicates."""
        outcomes = (self._outcome(place, row) for place, row in self.read())
        return shuffled(outcomes, self.shuffle, self.seed) if self.shuffle else outcomes

    def _outcome(self, place: str, row: Row | BadRow) -> Prompt | Reject | Skip:
        try:
            if isinstance(row, BadRow):
                raise row
            prompt = self.prompt(row)
            _require_storable(prompt)
        except BadRow as bad:
            excerpt = "" if isinstance(row, BadRow) else excerpt_of(row)
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
        domain: Domain | None = None,
        language: str | None = None,
        license: str | None = None,
        meta: Row | None = None,
    ) -> Prompt:
        """A prompt of this source. What the recipe says wins over the row, the row over the set."""
        messages = question
        if isinstance(messages, str):
            if not messages.strip():
                raise BadRow("no_question", "the question is empty")
            messages = (Message(role="user", content=messages.strip()),)
        if system:
            messages = (Message(role="system", content=system), *messages)
        try:
            return Prompt(
                source=self.label,
                domain=self.domain or domain or self.DOMAIN or domain_of(verifier),
                messages=messages,
                verifier=verifier,
                language=self.language or language or self.LANGUAGE,
                license=self.license or license or self.LICENSE,
                meta={key: value for key, value in (meta or {}).items() if value is not None},
            )
        except (TypeError, ValueError, RecursionError) as error:  # hashing it as JSON
            raise BadRow("not_json", f"the verifier does not fit into JSON: {error}") from None


DOMAINS: dict[str, Domain] = {"math": "math", "code": "code", "choice": "stem", "gym": "logic"}


def domain_of(verifier: Mapping[str, Any] | None) -> Domain:
    """The domain a kind of verifier suggests, where nothing names one."""
    return "general" if verifier is None else DOMAINS.get(verifier["kind"], "general")


def _require_storable(prompt: Prompt) -> None:
    """Lone surrogates pass JSON and fail Arrow, at the very end of a long run: refuse them here."""
    row = prompt.to_row()
    texts = [message["content"] for message in prompt.messages]
    for text in (*texts, row["verifier"], row["meta"], prompt.language, prompt.license):
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise BadRow("bad_unicode", f"{error.object[error.start : error.end]!r}") from None


def excerpt_of(row: Row, length: int = 300) -> str:
    """The start of a row, for a person to recognise it by."""
    text = ", ".join(f"{key}: {str(value)[:120]!r}" for key, value in row.items())
    return text.encode("utf-8", "replace").decode()[:length]


def shuffled(
    items: Iterator[Prompt | Reject | Skip], buffer_size: int, seed: int
) -> Iterator[Prompt | Reject | Skip]:
    """Shuffle a stream in bounded memory: each new item takes the place of one drawn at random."""
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
