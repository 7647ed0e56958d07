"""The layouts of a row: a conversation, prompt and completion, or rendered text.

They differ in who renders the chat template and in which tokens the loss covers. `render_row`
reproduces how the trainer tokenizes a row: the text, its tokens, and which of them are trained on.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from factory.core.errors import ModelError
from factory.core.nouns import Message
from factory.core.think import THINK_OPEN
from factory.corpus.episode_rows import write_calls
from factory.export.dialogue import tools_of
from factory.export.target import Target

if TYPE_CHECKING:
    import pyarrow as pa

LayoutName = Literal["messages", "prompt-completion", "text"]


class RenderedRow(NamedTuple):
    """A row as its trainer sees it."""

    text: str
    ids: list[int]  # tokens
    trained: list[int]  # the tokens under the loss
    turns: list[Message]  # the assistant turns that the loss should cover
    pieces: Sequence[tuple[bool, list[int]]] = ()  # (under the loss, its tokens), in order


class Layout(ABC):
    """One way to store a conversation in columns."""

    name: LayoutName
    adds_special_tokens = False

    def with_tools(self) -> Layout:
        """Return the layout for rows with tools. Raises ModelError if it has no place for them."""
        raise ModelError(
            f"the corpus has tool calls, which --layout {self.name} cannot hold; use --layout "
            "messages"
        )

    @abstractmethod
    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        """Return the row's columns, without its id."""

    @abstractmethod
    def text(self, messages: Sequence[Message], target: Target) -> str:
        """Return the whole text that the trainer tokenizes."""

    @abstractmethod
    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        """Return the row as the trainer sees it."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of the columns, with the id."""


class Conversation(Layout):
    """A `messages` column; the trainer renders it and trains on every assistant turn.

    With `marked` (TRL) the loss mask comes from the template's `{% generation %}` markers. Other
    trainers (verl, LLaMA-Factory, Axolotl) mask by where each assistant turn begins.
    """

    name = "messages"

    def __init__(self, *, marked: bool, tools: bool = False) -> None:
        self.marked, self.tools = marked, tools

    def with_tools(self) -> Conversation:
        return Conversation(marked=self.marked, tools=True)

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        written = [write_calls(message) for message in messages]
        if not self.tools:
            return {"messages": written}
        tools = tools_of(messages)
        return {"messages": written, "tools": json.dumps(tools) if tools else None}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        return target.render([write_calls(m) for m in messages], tools=tools_of(messages))

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        turns = [message for message in messages if message["role"] == "assistant"]
        text, tools = self.text(messages, target), tools_of(messages)
        seen = [write_calls(message) for message in messages]
        if self.marked:
            ids, mask = list[int](), list[bool]()
            if target.marks_generation:
                ids, mask = target.assistant_tokens(seen, tools)
            pieces = _group_pieces(ids, mask)
        else:
            pieces, before = [], list[int]()
            for place, message in enumerate(seen):
                if message["role"] == "assistant":
                    opened = target.encode(target.render(seen[:place], open_turn=True, tools=tools))
                    closed = target.encode(target.render(seen[: place + 1], tools=tools))
                    start = _common_prefix(opened, closed)
                    pieces.append((False, closed[_common_prefix(before, closed) : start]))
                    pieces.append((True, closed[start:]))
                    before = closed
            ids = target.encode(text)
        trained = [token for learnt, tokens in pieces if learnt for token in tokens]
        return RenderedRow(text, ids, trained, turns, pieces)

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        columns: dict[str, pa.DataType] = {"id": pa.string()}
        columns["messages"] = _messages_type(self.tools)
        if self.tools:
            columns["tools"] = pa.string()
        return pa.schema(list(columns.items()))


class PromptCompletion(Layout):
    """Columns `prompt` and `completion` as conversations.

    Trains on the last turn, and needs no markers in the template.
    """

    name = "prompt-completion"

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        return {"prompt": list(messages[:-1]), "completion": list(messages[-1:])}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        return target.render(messages)

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        text = target.render(messages)
        opened = target.encode(target.render(messages[:-1], open_turn=True))
        ids = target.encode(text)
        return RenderedRow(text, ids, ids[_common_prefix(opened, ids) :], list(messages[-1:]))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [("id", pa.string()), ("prompt", _messages_type()), ("completion", _messages_type())]
        )


class FinishedText(Layout):
    """Columns `prompt` and `completion` as text, for templates that strip reasoning.

    The prompt is rendered by the template, up to where the assistant begins. The completion is the
    row's text and EOS, unchanged by the template.
    """

    name = "text"
    adds_special_tokens = True

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        prompt, answer = target.render(messages[:-1], open_turn=True), messages[-1]["content"]
        opening = prompt.rstrip()
        if opening.endswith(THINK_OPEN) and answer.startswith(THINK_OPEN):
            # Some templates (R1's among them) open the think section: don't open it twice.
            prompt, answer = opening, answer.removeprefix(THINK_OPEN)
        return {"prompt": _remove_bos(prompt, target), "completion": answer + target.eos}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        columns = self.columns(messages, target)
        return str(columns["prompt"] + columns["completion"])

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        columns = self.columns(messages, target)
        text = columns["prompt"] + columns["completion"]
        opened: list[int] = target.tokenizer(columns["prompt"])["input_ids"]
        ids: list[int] = target.tokenizer(text)["input_ids"]
        return RenderedRow(text, ids, ids[_common_prefix(opened, ids) :], list(messages[-1:]))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [("id", pa.string()), ("prompt", pa.string()), ("completion", pa.string())]
        )


@cache
def _messages_type(tools: bool = False) -> pa.DataType:
    import pyarrow as pa

    fields: list[pa.Field[Any]] = [
        pa.field("role", pa.string()),
        pa.field("content", pa.string()),
    ]
    if tools:
        function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
        call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
        fields += [
            pa.field("tool_calls", pa.list_(call)),
            pa.field("name", pa.string()),
            pa.field("tool_call_id", pa.string()),
        ]
    return pa.list_(pa.struct(fields))


def _group_pieces(ids: Sequence[int], mask: Sequence[bool]) -> list[tuple[bool, list[int]]]:
    """Return the runs of tokens that are, or are not, under the loss."""
    pieces: list[tuple[bool, list[int]]] = []
    for token, learnt in zip(ids, mask, strict=True):
        if not pieces or pieces[-1][0] != learnt:
            pieces.append((learnt, []))
        pieces[-1][1].append(token)
    return pieces


def _remove_bos(prompt: str, target: Target) -> str:
    """Remove a leading BOS if the tokenizer adds one itself."""
    bos = target.tokenizer.bos_token
    if bos and prompt.startswith(bos):
        ids = target.tokenizer("")["input_ids"]
        if ids[:1] == [target.tokenizer.bos_token_id]:
            return prompt.removeprefix(bos)
    return prompt


def _common_prefix(opened: Sequence[int], closed: Sequence[int]) -> int:
    """Return the number of leading tokens in common; the assistant's tokens follow them."""
    for place, (first, second) in enumerate(zip(opened, closed, strict=False)):
        if first != second:
            return place
    return min(len(opened), len(closed))
