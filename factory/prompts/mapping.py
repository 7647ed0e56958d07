"""From a row with columns of any name to a prompt: the part that `files` and `hub` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from factory.core.nouns import Message, Prompt
from factory.prompts import verifier_spec
from factory.prompts.source import BadRow, Row, Source
from factory.prompts.tools import read_environment, read_tools
from filters.verify.own import entry_point_names, name_verifier

Result = TypeVar("Result")


class Columns(BaseModel):
    """Which column of the source holds what. A path into a nested column is written with dots."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str | None = Field("question", description="The user's turn, as text.")
    messages: str | None = Field(
        "messages",
        description="A conversation ({role, content} or {from, value}), instead of a question; "
        "a last turn by the assistant is left out.",
    )
    system: str | None = Field("system", description="The system turn.")
    answer: str | None = Field("answer", description="The reference answer.")
    choices: str | None = Field("choices", description="The options of a multiple-choice question.")
    tests: str | None = Field("tests", description="The tests of a code question.")
    starter_code: str | None = Field("starter_code", description="Code the answer starts from.")
    verifier: str | None = Field("verifier", description="A whole verifier mapping, or its JSON.")
    domain: str | None = Field("domain", description="The row's domain.")
    language: str | None = Field("language", description="The row's language, ISO 639-1.")
    license: str | None = Field("license", description="The row's licence, an SPDX id.")
    tools: str | None = Field(
        "tools", description="The functions that the model is offered: OpenAI schemas, or JSON."
    )
    environment: str | None = Field(
        None,
        description="The environment that the model acts in: a mapping with a `kind`, or its JSON.",
    )


Shipped = Literal[
    "math", "choice", "text", "json", "code", "tool_call", "json_schema", "instructions", "rubric"
]
SHIPPED: tuple[Shipped, ...] = get_args(Shipped)


class VerifierTemplate(BaseModel):
    """How the answers of a source are verified; its columns fill in the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: Shipped = Field(
        description="math, choice, text and json need an answer column (choice also choices), "
        "code a tests column. tool_call, instructions and rubric read their list from the answer "
        "column, if the recipe does not give it."
    )
    language: Literal["python", "cpp"] | None = Field(None, description="Language of the code.")
    time_limit_s: float | None = Field(None, gt=0, description="Seconds a test may take.")
    memory_mb: int | None = Field(None, ge=16, description="Memory a test may take.")
    checker: str | None = Field(None, description="A program that judges the output.")
    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="For json_schema: the JSON Schema of every answer."
    )
    equals: tuple[str, ...] = Field(
        (),
        description="For json_schema: JSON pointers, such as /total, at which an answer must have "
        "the value of the reference in the answer column.",
    )
    instructions: tuple[dict[str, Any], ...] | None = Field(
        None, description="For instructions: what every response must follow."
    )
    items: tuple[dict[str, Any], ...] | None = Field(
        None, description="For rubric: the items that every response must meet."
    )

    @model_validator(mode="after")
    def _takes_only_its_own_keys(self) -> VerifierTemplate:
        given = self.model_fields_set - {"kind"}
        for name in sorted(given):
            wanted = _TAKEN_BY.get(name, "code")
            if self.kind != wanted:
                raise ValueError(f"{name.strip('_')}: only `kind: {wanted}` takes it")
        if self.kind == "json_schema" and self.schema_ is None:
            raise ValueError("json_schema needs a `schema`")
        return self


_TAKEN_BY = {
    "schema_": "json_schema",
    "equals": "json_schema",
    "instructions": "instructions",
    "items": "rubric",
}


class OwnTemplate(BaseModel):
    """Answers are verified by a class of the user's own, or one of an installed package.

    Every key but `class` and `kind` is an option of that class.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        populate_by_name=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["class"]},
                {"properties": {"kind": {"not": {"enum": list(SHIPPED)}}}, "required": ["kind"]},
            ]
        },
    )

    class_: str | None = Field(
        None, alias="class", description="path/to/file.py:Class, relative to the recipe."
    )
    kind: str | None = Field(
        None, description="The name of an entry point of the group factory.verifiers."
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> OwnTemplate:
        if (self.class_ is None) == (self.kind is None):
            raise ValueError("give either `class`, a file and a class in it, or `kind`")
        self.mapping()
        return self

    def mapping(self) -> verifier_spec.Spec:
        """What every prompt's verifier mapping holds. Raises ValueError naming file and class."""
        return name_verifier(self.class_, self.kind, self.model_extra or {})


def _template_of(value: Any) -> str:
    """Which template a source's `verifier` is."""
    if isinstance(value, OwnTemplate):
        return "own"
    own = isinstance(value, Mapping) and (
        "class" in value or value.get("kind") in entry_point_names()
    )
    return "own" if own else "shipped"


Template = Annotated[
    Annotated[VerifierTemplate, Tag("shipped")] | Annotated[OwnTemplate, Tag("own")],
    Discriminator(_template_of),
]


class Mapped(Source):
    """A source whose rows need a column mapping."""

    columns: Columns = Field(
        default_factory=Columns, description="Which column holds what; null ignores a column."
    )
    verifier: Template | None = Field(
        None,
        description="How answers are verified, where the rows do not say it themselves: a kind, or "
        "`class: path/to/file.py:Class` with its options for one of your own.",
    )
    keep: tuple[str, ...] = Field(
        (), description="Further columns to keep with each prompt, in its meta."
    )

    def prompt(self, row: Row) -> Prompt:
        _refuse_tools(row, self.columns.tools)
        messages = self._messages(row)
        verifier = self._verifier(row)
        meta = json_safe({name: lookup(row, name) for name in self.keep})
        if verifier and verifier["kind"] == "own":
            verifier |= {"meta": meta, "messages": [dict(message) for message in messages]}
        if verifier and verifier["kind"] == "choice":
            messages = with_options(messages, verifier["choices"])
        domain = self._get(row, "domain")
        if domain is not None and not (isinstance(domain, str) and domain.strip()):
            raise BadRow("bad_domain", f"{domain!r} is no text that names a domain")
        return self.make(
            messages,
            verifier,
            system=self._text(row, "system"),
            domain=domain,
            language=language_code(self._text(row, "language")),
            license=self._text(row, "license"),
            meta=meta,
            tools=self._read(row, "tools", read_tools) or (),
            environment=self._read(row, "environment", read_environment),
        )

    def own_verifiers(self) -> tuple[str, ...]:
        if not isinstance(self.verifier, OwnTemplate):
            return ()
        return (str(self.verifier.mapping()["class"]),)

    def unread_fields(self, row: Row) -> Iterator[str]:
        roles = type(self.columns).model_fields
        used = {str(getattr(self.columns, role)).partition(".")[0] for role in roles}
        if self._get(row, "question") is not None:
            used.discard(str(self.columns.messages))
        used |= {name.partition(".")[0] for name in self.keep}
        yield from (str(name) for name, value in row.items() if value and name not in used)

    def _get(self, row: Row, role: str) -> Any:
        """The value of the column that plays `role`; None where it is absent, null or empty."""
        column: str | None = getattr(self.columns, role)
        if column is None:
            return None
        value = lookup(row, column)
        if value is MISSING:
            if role in self.columns.model_fields_set:
                raise BadRow("no_column", f"there is no column {column!r}; there is {_names(row)}")
            return None
        return None if value == "" else value

    def _lacks_answer(self, row: Row) -> bool:
        column = self.columns.answer
        return column is not None and lookup(row, column) is MISSING

    def _text(self, row: Row, role: str) -> str | None:
        value = self._get(row, role)
        if value is not None and not isinstance(value, str):
            raise BadRow("not_text", f"{role} is {str(value)[:80]!r}")
        return value

    def _read(self, row: Row, role: str, read: Callable[[Any], Result]) -> Result | None:
        value = self._get(row, role)
        if not value:
            return None
        try:
            return read(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRow(f"bad_{role}", str(error)) from None

    def _messages(self, row: Row) -> tuple[Message, ...]:
        question = self._get(row, "question")
        if question is not None:
            if not isinstance(question, str) or not question.strip():
                raise BadRow("no_question", f"the question is {question!r}, not text")
            return (Message(role="user", content=question.strip()),)
        conversation = self._get(row, "messages")
        if conversation is None:
            raise BadRow(
                "no_question",
                f"no question in {_names(row)}; name its column: `columns: {{question: …}}`",
            )
        return as_turns(verifier_spec.structured(conversation))

    def _verifier(self, row: Row) -> verifier_spec.Spec | None:
        brought = self._get(row, "verifier")
        if brought is not None:
            return verifier_spec.checked(brought)
        answer, template = self._get(row, "answer"), self.verifier
        if template is None:
            if answer is not None:
                raise BadRow(
                    "no_verifier",
                    "there is an answer and nothing says how to verify it; "
                    "add `verifier: {kind: math}` or ignore it: `columns: {answer: null}`",
                )
            return None
        if isinstance(template, OwnTemplate):
            given = {} if answer is None else json_safe({"answer": answer})
            return template.mapping() | given
        match template.kind:
            case "math" | "choice" | "text" | "json" if self._lacks_answer(row):
                raise BadRow(
                    "no_answer",
                    f"no answer in {_names(row)}; name its column: `columns: {{answer: …}}`",
                )
            case "math":
                return verifier_spec.math(answer)
            case "choice":
                return verifier_spec.choice(answer, self._get(row, "choices"))
            case "text":
                return {"kind": "text", "answer": verifier_spec.answer_text(answer)}
            case "json":
                if answer is None:
                    raise BadRow("no_answer", "the answer is null")
                return {"kind": "json", "answer": verifier_spec.structured(answer)}
            case "code":
                tests = verifier_spec.checked_tests(self._get(row, "tests"))
                starter = self._get(row, "starter_code")
                extra = template.model_dump(
                    include={"language", "time_limit_s", "memory_mb", "checker"}, exclude_none=True
                )
                code = {"kind": "code", "language": "python", "tests": tests, **extra}
                return code | ({"starter_code": starter} if starter else {})
            case "json_schema":
                return verifier_spec.json_schema(template.schema_, answer, template.equals)
            case "tool_call":
                calls = verifier_spec.structured(answer)
                return verifier_spec.checked({"kind": "tool_call", "calls": calls})
            case "instructions" | "rubric" as kind:
                key = "instructions" if kind == "instructions" else "items"
                listed = getattr(template, key) or verifier_spec.structured(answer)
                found = list(listed) if isinstance(listed, tuple) else listed
                return verifier_spec.checked({"kind": kind, key: found})


TOOLS = ("tools", "functions", "tool_choice")
"""Fields that offer the model tools."""


def _refuse_tools(row: Row, read: str | None) -> None:
    """Raise BadRow for a row that offers tools where they are not read: without them it is another
    question. `read` is the column that they are read from."""
    for name in TOOLS:
        free_choice = name == "tool_choice" and row.get(name) == "auto"
        if row.get(name) and name != read and not free_choice:
            raise BadRow(
                "tools_not_supported",
                f"the row has {name!r}, and the model would be asked without them; name the column "
                "of the functions (`columns: {tools: …}`), leave such rows out, or remove the "
                "field where the question does not need it",
            )


MISSING: Any = object()


def lookup(row: Row, column: str) -> Any:
    """A column's value; `reward_model.ground_truth`, `prompt.0.content` reach into nested ones."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, Sequence) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


ROLES = {"human": "user", "gpt": "assistant"}
"""ShareGPT's names of the two sides."""


def as_turns(conversation: Any) -> tuple[Message, ...]:
    """A conversation's turns up to its last user turn."""
    turns: list[Message] = []
    for turn in conversation if isinstance(conversation, Sequence) else ():
        if not isinstance(turn, Mapping):
            raise BadRow("bad_messages", f"{turn!r} is not a turn")
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        role = ROLES.get(role, role)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise BadRow("bad_messages", f"{str(turn)[:80]} is no turn of system, user, assistant")
        turns.append(Message(role=role, content=content))
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise BadRow("no_question", "no user turn ends the conversation")
    return tuple(turns)


def with_options(messages: tuple[Message, ...], choices: Mapping[str, str]) -> tuple[Message, ...]:
    """Write the options under the question, unless it shows them already."""
    *before, last = messages
    if all(text in last["content"] for text in choices.values()):
        return messages
    lines = "\n".join(f"{letter}. {text}" for letter, text in choices.items())
    return (*before, Message(role="user", content=f"{last['content']}\n\n{lines}"))


def language_code(language: str | None) -> str | None:
    """ISO 639-1 of "en", "EN" or "en-GB". A name ("English") would match no detected language."""
    code = (language or "").replace("_", "-").partition("-")[0].lower()
    if language and not (len(code) == 2 and code.isascii() and code.isalpha()):
        raise BadRow("bad_language", f"{language[:80]!r} is no ISO 639-1 code, such as en or zh")
    return code or None


def json_safe(values: Row) -> dict[str, Any]:
    """Values as JSON holds them; a date or a decimal becomes its text."""
    safe: dict[str, Any] = json.loads(
        json.dumps(
            {key: value for key, value in values.items() if value is not MISSING}, default=str
        )
    )
    return safe


def _names(row: Row) -> str:
    return ", ".join(map(str, row)) or "no column at all"
