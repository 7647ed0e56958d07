"""The layouts of a row: a conversation, prompt and completion, or rendered text.

They differ in who renders the chat template and in which tokens the loss covers. `render_row`
reproduces how the trainer tokenizes a row: the text, its tokens, and which of them are trained on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from factory.core.nouns import Message
from factory.core.think import THINK_OPEN
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


class Layout(ABC):
    """One way to store a conversation in columns."""

    name: LayoutName
    adds_special_tokens = False

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

    def __init__(self, *, marked: bool) -> None:
        self.marked = marked

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        return {"messages": list(messages)}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        return target.render(messages)

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        turns = [message for message in messages if message["role"] == "assistant"]
        text = target.render(messages)
        if self.marked:
            ids, mask = target.assistant_tokens(messages) if target.marks_generation else ([], [])
            trained = [token for token, flag in zip(ids, mask, strict=True) if flag]
            return RenderedRow(text, ids, trained, turns)
        trained = []
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                opened = target.encode(target.render(messages[:place], open_turn=True))
                closed = target.encode(target.render(messages[: place + 1]))
                trained += closed[_common_prefix(opened, closed) :]
        return RenderedRow(text, target.encode(text), trained, turns)

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([("id", pa.string()), ("messages", _messages_type())])


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
def _messages_type() -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


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
