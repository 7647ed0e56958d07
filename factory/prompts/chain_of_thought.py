"""Decides which prompts are answered with a chain of thought, and which without.

R1 used a chain of thought for some non-reasoning tasks, but not for simple queries such as "hello"
(v1 §2.3.3); its rule is not published. Here a rule list or a judge decides once, when prompts are
loaded. The mark is stored in the prompt's meta, which rendering and the `format` filter read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from factory.core.errors import SourceError
from factory.core.nouns import Message, Prompt
from factory.core.resources import data_path
from factory.core.yaml_files import read_yaml
from filters.base import Ask
from filters.judges.client import Judge
from filters.judges.equivalence import as_data, fill_template, read_last_line

COT = "cot"
"""Key of the mark in a prompt's meta: {"asked": true, "why": "reasoning_words"}."""

MAX_REQUEST = 6_000


class Mark(NamedTuple):
    """Whether a prompt gets a chain of thought, and the rule that decided it."""

    asked: bool
    why: str


class Rule(BaseModel):
    """One entry of a rule list. The comments in data/cot/rules.yaml explain the keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    cot: bool
    patterns: tuple[str, ...] = ()
    min_characters: int = 0
    max_characters: int | None = None
    min_turns: int = 0
    verified: bool | None = None

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

    def matches(self, prompt: Prompt) -> bool:
        question = prompt.question
        turns = sum(message["role"] == "user" for message in prompt.messages)
        return (
            self.min_characters <= len(question)
            and (self.max_characters is None or len(question) <= self.max_characters)
            and turns >= self.min_turns
            and (self.verified is None or self.verified == (prompt.verifier is not None))
            and (
                not self.patterns
                or any(re.search(pattern, question, re.IGNORECASE) for pattern in self.patterns)
            )
        )


class Cot(BaseModel):
    """Which prompts get a chain of thought: decided by a rule list or a judge, all, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["list", "judge", "always", "never"] = Field(
        "list",
        description="`list`: the first rule that matches decides. `judge`: a model decides per "
        "prompt, and the list if the reply is unclear. `always`, `never`: the same for all.",
    )
    rules: Path | None = Field(
        None, description="YAML rule list. Default: the shipped one, data/cot/rules.yaml."
    )
    judge: Judge | None = Field(
        None,
        description="`judge` only: an OpenAI-compatible endpoint, a local model to `start`, or the "
        "run's own `engine`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.rule == "judge") != (self.judge is not None):
            raise ValueError("rule: judge and the key judge: go together")
        return self

    @cached_property
    def _rule_list(self) -> tuple[Rule, ...]:
        return read_rules(self.rules or data_path("cot/rules.yaml"))

    def identity(self) -> dict[str, Any]:
        """Return everything that changes a mark, by content instead of file name."""
        fields = self.model_dump(mode="json", exclude={"rules"})
        if self.rule in ("list", "judge"):
            fields["list"] = [rule.model_dump(mode="json") for rule in self._rule_list]
        if self.rule == "judge":
            fields["asked"] = data_path("cot/judge.txt").read_text("utf-8")
        return fields

    def mark(self, prompts: Sequence[Prompt], ask: Ask | None = None) -> list[Prompt]:
        """Return the prompts with their marks. `ask` queries the judge, for `rule: judge`."""
        opinions: list[bool | None] = [None] * len(prompts)
        if self.rule == "judge":
            assert ask is not None  # the caller opens the judge
            replies = ask([conversation(prompt) for prompt in prompts])
            opinions = [read_reply(reply) for reply in replies]
        return [
            set_mark(prompt, self._mark(prompt, opinion))
            for prompt, opinion in zip(prompts, opinions, strict=True)
        ]

    def _mark(self, prompt: Prompt, opinion: bool | None) -> Mark:
        if self.rule in ("always", "never"):
            return Mark(self.rule == "always", self.rule)
        if opinion is not None:
            return Mark(opinion, "judge")
        found = next(rule for rule in self._rule_list if rule.matches(prompt))
        return Mark(found.cot, found.name)


def wants_cot(prompt: Prompt) -> bool:
    """Return whether a prompt gets a chain of thought. Prompts without a mark do."""
    mark = prompt.meta.get(COT)
    return bool(mark["asked"]) if isinstance(mark, Mapping) else True


def set_mark(prompt: Prompt, mark: Mark) -> Prompt:
    """Return the prompt with a mark in its meta."""
    return dataclasses.replace(prompt, meta={**prompt.meta, COT: mark._asdict()})


def remove_mark(prompt: Prompt) -> Prompt:
    """Return the prompt without a mark, which an earlier run may have set."""
    if COT not in prompt.meta:
        return prompt
    rest = {key: value for key, value in prompt.meta.items() if key != COT}
    return dataclasses.replace(prompt, meta=rest)


def read_rules(file: Path) -> tuple[Rule, ...]:
    """Read a rule list. Raises SourceError with the file and the problem."""
    try:
        items = read_yaml(file)
        rules = TypeAdapter(tuple[Rule, ...]).validate_python(items)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(f"{file}: {place}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: cannot read the rules: {error}") from error
    if not rules or rules[-1].model_dump(exclude={"name", "cot"}) != _NO_CONDITION:
        raise SourceError(
            f"{file}: the last rule must have no condition, so that it matches every prompt; "
            "end with `- {name: rest, cot: true}`"
        )
    return rules


_NO_CONDITION = Rule(name="", cot=True).model_dump(exclude={"name", "cot"})


def conversation(prompt: Prompt) -> list[Message]:
    """Return the messages for the judge, with the prompt's last user turn as bounded data."""
    return fill_template("cot/judge.txt", request=as_data(prompt.question, MAX_REQUEST))


def read_reply(reply: str) -> bool | None:
    """Return the opinion on a reply's last line, or None if it is not in the exact format.

    >>> read_reply('It asks for a plan.\\n{"reasoning": true}')
    True
    """
    opinion = read_last_line(reply, "reasoning")
    return opinion if isinstance(opinion, bool) else None
