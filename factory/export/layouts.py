"""How a row becomes columns: as a conversation, as prompt and completion, or as finished text.

The three differ in who renders the chat template and in what the loss sees, so each knows how its
trainer will tokenize it. `look` is that: the text, its tokens, and which of them are trained on.
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


class Seen(NamedTuple):
    """A row as its trainer sees it."""

    text: str
    ids: list[int]
    trained: list[int]  # the ids under the loss
    turns: list[Message]  # the assistant turns that should be under it


class Layout(ABC):
    """One way of writing a conversation down."""

    name: LayoutName
    adds_special_tokens = False

    @abstractmethod
    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        """The row's columns beside its id."""

    @abstractmethod
    def text(self, messages: Sequence[Message], target: Target) -> str:
        """The whole text that the trainer tokenizes."""

    @abstractmethod
    def look(self, messages: Sequence[Message], target: Target) -> Seen:
        """The row as the trainer sees it."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """The columns in Arrow."""


class Conversation(Layout):
    """A `messages` column; the trainer renders it and trains on every assistant turn.

    `marked` trainers (TRL) take the mask from the template's `{% generation %}` markers; the
    others (verl, LLaMA-Factory, Axolotl) from where each assistant turn begins.
    """

    name = "messages"

    def __init__(self, *, marked: bool) -> None:
        self.marked = marked

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        return {"messages": list(messages)}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        return target.render(messages)

    def look(self, messages: Sequence[Message], target: Target) -> Seen:
        turns = [message for message in messages if message["role"] == "assistant"]
        text = target.render(messages)
        if self.marked:
            ids, mask = target.assistant_tokens(messages) if target.marks_generation else ([], [])
            trained = [token for token, flag in zip(ids, mask, strict=True) if flag]
            return Seen(text, ids, trained, turns)
        trained = []
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                opened = target.encode(target.render(messages[:place], open_turn=True))
                closed = target.encode(target.render(messages[: place + 1]))
                trained += closed[_shared(opened, closed) :]
        return Seen(text, target.encode(text), trained, turns)

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([("id", pa.string()), ("messages", _messages())])


class PromptCompletion(Layout):
    """`prompt` and `completion` as conversations: trains on the last turn, needs no markers."""

    name = "prompt-completion"

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        return {"prompt": list(messages[:-1]), "completion": list(messages[-1:])}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        return target.render(messages)

    def look(self, messages: Sequence[Message], target: Target) -> Seen:
        text = target.render(messages)
        opened = target.encode(target.render(messages[:-1], open_turn=True))
        ids = target.encode(text)
        return Seen(text, ids, ids[_shared(opened, ids) :], list(messages[-1:]))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [("id", pa.string()), ("prompt", _messages()), ("completion", _messages())]
        )


class FinishedText(Layout):
    """`prompt` and `completion` as text, rendered here: for templates that strip reasoning.

    The prompt is the template's, up to where the assistant begins; the completion is the row's own
    words and EOS, whatever the template would have made of them.
    """

    name = "text"
    adds_special_tokens = True

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        prompt, words = target.render(messages[:-1], open_turn=True), messages[-1]["content"]
        opening = prompt.rstrip()
        if opening.endswith(THINK_OPEN) and words.startswith(THINK_OPEN):
            # The template opened the think section already (R1's own do): do not open it twice.
            prompt, words = opening, words.removeprefix(THINK_OPEN)
        return {"prompt": _without_bos(prompt, target), "completion": words + target.eos}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        columns = self.columns(messages, target)
        return str(columns["prompt"] + columns["completion"])

    def look(self, messages: Sequence[Message], target: Target) -> Seen:
        columns = self.columns(messages, target)
        text = columns["prompt"] + columns["completion"]
        opened: list[int] = target.tokenizer(columns["prompt"])["input_ids"]
        ids: list[int] = target.tokenizer(text)["input_ids"]
        return Seen(text, ids, ids[_shared(opened, ids) :], list(messages[-1:]))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [("id", pa.string()), ("prompt", pa.string()), ("completion", pa.string())]
        )


@cache
def _messages() -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _without_bos(prompt: str, target: Target) -> str:
    """The prompt as a tokenizer that puts BOS first itself should be given it."""
    bos = target.tokenizer.bos_token
    if bos and prompt.startswith(bos):
        ids = target.tokenizer("")["input_ids"]
        if ids[:1] == [target.tokenizer.bos_token_id]:
            return prompt.removeprefix(bos)
    return prompt


def _shared(opened: Sequence[int], closed: Sequence[int]) -> int:
    """How many tokens both begin with: what follows them is the assistant's."""
    for place, (first, second) in enumerate(zip(opened, closed, strict=False)):
        if first != second:
            return place
    return min(len(opened), len(closed))
