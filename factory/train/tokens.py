"""Tokenize conversations for training.

The prompt's tokens are those that the model gets when it is sampled with `template: chat`. The
assistant's tokens are encoded separately, as they are generated after the prompt. No chat template
is applied to the assistant's text, so none can strip its reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from factory.core.nouns import Message
from factory.core.think import THINK_OPEN
from factory.export.dialogue import Dialogue, own_places
from factory.export.layouts import FinishedText, RenderedRow
from factory.export.target import Target

IGNORED = -100
"""The label of a token that is not under the loss."""


class Tokens(NamedTuple):
    """A row's tokens; the first `n_prompt` are the prompt's, the others are under the loss.

    Of an episode `mask` says for each token whether it is.
    """

    ids: list[int]
    n_prompt: int
    mask: list[bool] | None = None

    @property
    def labels(self) -> list[int]:
        if self.mask is not None:
            pairs = zip(self.ids, self.mask, strict=True)
            return [token if learnt else IGNORED for token, learnt in pairs]
        return [IGNORED] * self.n_prompt + self.ids[self.n_prompt :]

    @property
    def learnt(self) -> int:
        """The number of tokens under the loss."""
        return len(self.ids) - self.n_prompt if self.mask is None else sum(self.mask)


class Turns(FinishedText):
    """A layout with the last assistant turn as completion, and all before it as prompt."""

    adds_special_tokens = False

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        prompt = target.render(messages[:-1], open_turn=True)
        answer = messages[-1]["content"]
        opening = prompt.rstrip()
        if opening.endswith(THINK_OPEN) and answer.startswith(THINK_OPEN):
            # Some templates (R1's among them) open the think section: don't open it twice.
            answer = answer.removeprefix(THINK_OPEN).removeprefix(prompt[len(opening) :])
        return {"prompt": prompt, "completion": answer + target.eos}

    def text(self, messages: Sequence[Message], target: Target) -> str:
        if isinstance(messages, Dialogue):
            return "".join(text for _, text in split_episode(messages, target))
        return super().text(messages, target)

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        if isinstance(messages, Dialogue):
            split = split_episode(messages, target)
            pieces = [(learnt, target.encode(text)) for learnt, text in split]
            ids = [token for _, tokens in pieces for token in tokens]
            learnt = [token for is_learnt, tokens in pieces if is_learnt for token in tokens]
            turns = [messages[place] for place in own_places(messages)]
            return RenderedRow(self.text(messages, target), ids, learnt, turns, pieces)
        (tokens,) = tokenize([messages], target)
        trained = tokens.ids[tokens.n_prompt :]
        return RenderedRow(self.text(messages, target), tokens.ids, trained, list(messages[-1:]))


TURNS = Turns()


def split_episode(messages: Dialogue, target: Target) -> list[tuple[bool, str]]:
    """Return the text of an episode in pieces: what the model was given, and what it wrote.

    Each turn of its own ends with the end of the turn, and is encoded by itself, as it was when it
    was generated. Raises ValueError for a template that changes earlier turns.
    """
    pieces: list[tuple[bool, str]] = []
    done = ""
    for place in own_places(messages):
        opened = target.render(messages[:place], open_turn=True, tools=messages.tools)
        closed = target.render(messages[: place + 1], tools=messages.tools)
        if not opened.startswith(done) or not closed.startswith(opened):
            raise ValueError("the chat template changes earlier turns when later ones follow")
        end = closed.rfind(target.eos, len(opened))
        written = closed[len(opened) :] if end < 0 else closed[len(opened) : end] + target.eos
        pieces += [(False, opened[len(done) :]), (True, written)]
        done = opened + written
    return pieces


def tokenize(rows: Sequence[Sequence[Message]], target: Target) -> list[Tokens]:
    """Tokenize many rows in one call, which the tokenizer distributes over all cores."""
    plain = iter(_tokenize_plain([row for row in rows if not isinstance(row, Dialogue)], target))
    return [
        _tokenize_episode(row, target) if isinstance(row, Dialogue) else next(plain) for row in rows
    ]


def _tokenize_episode(messages: Dialogue, target: Target) -> Tokens:
    pieces = TURNS.render_row(messages, target).pieces
    ids = [token for _, tokens in pieces for token in tokens]
    mask = [learnt for learnt, tokens in pieces for _ in tokens]
    return Tokens(ids, mask.index(True), mask)


def _tokenize_plain(rows: Sequence[Sequence[Message]], target: Target) -> list[Tokens]:
    if not rows:
        return []
    columns = [TURNS.columns(messages, target) for messages in rows]
    texts = [c["prompt"] for c in columns] + [c["completion"] for c in columns]
    ids = target.tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompts, completions = ids[: len(rows)], ids[len(rows) :]
    return [Tokens(a + b, len(a)) for a, b in zip(prompts, completions, strict=True)]
