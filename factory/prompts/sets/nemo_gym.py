"""Rows of NeMo Gym as prompts: `responses_create_params` asks, further keys say what is right.

https://github.com/NVIDIA-NeMo/Gym, its page "Prepare Data". Rollouts have the same keys, and a
`response` that is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Message, Prompt
from factory.prompts import verifier_spec
from factory.prompts.files import find_files, identify_files
from factory.prompts.mapping import as_turns, json_safe, with_options
from factory.prompts.readers import read_rows
from factory.prompts.source import BadRow, Row, Source
from factory.prompts.tools import read_tools

ASKED = "responses_create_params"

CHANGES_MEANING = ("previous_response_id", "prompt", "conversation", "text")
"""Parameters of a request without which it would be another question."""

ROLES = {"developer": "system"}

ROLLOUTS = frozenset(("response", "reward"))
"""What a rollout has on top of its row."""


class NemoGym(Source):
    """Rows or rollouts of NeMo Gym in JSONL files, with their tools and what is right."""

    kind: Literal["nemo_gym"] = "nemo_gym"
    path: str | tuple[str, ...] = Field(
        description="A JSONL file or a glob, or a list of them, relative to the recipe."
    )
    answers: Literal["math", "text"] | None = Field(
        None,
        description="How an `expected_answer` is verified that comes alone, without options, tests "
        "or a task: its resource server knows whether it is mathematics, and the row does not say.",
    )
    unverified: bool = Field(
        False,
        description="Take rows that do not say what is right, too: their samples are "
        "`unverifiable`. Otherwise they count as malformed.",
    )
    keep: tuple[str, ...] = Field(
        (), description="Further keys of the rows to keep with each prompt, in its meta."
    )

    @property
    def label(self) -> str:
        return self.name or self.kind

    def paths(self) -> list[Path]:
        """Return the files without repeats, ordered by pattern and then by name."""
        return find_files((self.path,) if isinstance(self.path, str) else self.path)

    def identity(self) -> Any:
        return [super().identity(), identify_files(self.paths())]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for path in self.paths():
            for number, row in read_rows(path, "jsonl"):
                yield f"{path}:{number}", row

    def prompt(self, row: Row) -> Prompt:
        asked = row.get(ASKED)
        if not isinstance(asked, Mapping):
            raise BadRow("no_question", f"the row has no {ASKED}")
        for name in CHANGES_MEANING:
            if asked.get(name):
                raise BadRow("bad_request", f"{ASKED}.{name} is not supported; leave such rows out")
        choice = asked.get("tool_choice") or "auto"
        if choice != "auto" and (asked.get("tools") or choice != "none"):
            raise BadRow("bad_request", f"tool_choice is {choice!r:.80}; only auto is supported")
        messages = read_input(asked.get("input"))
        if instructions := asked.get("instructions"):
            messages = (Message(role="system", content=str(instructions)), *messages)
        try:
            tools = read_tools(asked.get("tools") or [])
            spec = self._find_spec(row)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise BadRow("bad_row", f"{type(error).__name__}: {error}") from None
        if spec is None and not self.unverified:
            raise BadRow(
                "no_verifier",
                f"nothing here says what is right: {', '.join(map(str, row))[:200]}. Give such "
                "rows to the source `files` with a verifier, or take them with `unverified: true`",
            )
        if spec and spec["kind"] == "choice":
            messages = with_options(messages, spec["choices"])
        meta = json_safe({name: row.get(name) for name in self.keep})
        return self.make(messages, spec, tools=tools, meta=meta)

    def _find_spec(self, row: Row) -> verifier_spec.Spec | None:
        """Return how a row is verified. Raises BadRow where it gives an answer and no kind."""
        spec = verifier_spec.find_spec(row)
        says = "verifier" in row or row.get("kind") in verifier_spec.KEYS
        if spec is None or spec["kind"] != "math" or says or self.answers == "math":
            return spec
        if self.answers == "text":
            given = verifier_spec.answer_text(verifier_spec.find_answer(row))
            return {"kind": "text", "answer": given}
        raise BadRow(
            "no_verifier",
            f"the answer {spec['answer']!r:.60} comes alone; say `answers: math` or `text`",
        )

    def unread_fields(self, row: Row) -> Iterator[str]:
        asked = row.get(ASKED)
        if isinstance(asked, Mapping):
            known = ("input", "tools", "instructions", "tool_choice")
            for name, value in asked.items():
                if value is not None and name not in known:
                    yield f"{ASKED}.{name}"
        used = {ASKED, *ROLLOUTS, *verifier_spec.ROW_KEYS, *self.keep}
        yield from (str(name) for name, value in row.items() if value and name not in used)


def read_input(given: Any) -> tuple[Message, ...]:
    """Return the messages of a request's `input`: a text, or items. Raises BadRow."""
    if isinstance(given, str):
        return as_turns([{"role": "user", "content": given}])
    if not isinstance(given, list):
        raise BadRow("no_question", f"{ASKED}.input is {given!r:.80}, neither text nor a list")
    return as_turns([_read_item(item) for item in given])


def _read_item(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    kind = item.get("type") or "message"
    if kind != "message":
        what = f"the input holds an item of type {kind!r:.40}; only messages can be asked"
        raise BadRow("bad_messages", what)
    role = item.get("role")
    return {"role": ROLES.get(str(role), role), "content": _read_content(item.get("content"))}


def _read_content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("input_text", "output_text", "text"):
            what = f"a message holds a part of type {kind!r:.40}; only text can be asked"
            raise BadRow("bad_messages", what)
        texts.append(str(part.get("text", "")))
    return "".join(texts)
