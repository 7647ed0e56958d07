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
from factory.export.layouts import FinishedText, RenderedRow
from factory.export.target import Target

IGNORED = -100
"""The label of a token that is not under the loss."""


class Tokens(NamedTuple):
    """A row's tokens; the first `n_prompt` are the prompt's, the others are under the loss."""

    ids: list[int]
    n_prompt: int

    @property
    def labels(self) -> list[int]:
        return [IGNORED] * self.n_prompt + self.ids[self.n_prompt :]


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

    def render_row(self, messages: Sequence[Message], target: Target) -> RenderedRow:
        (tokens,) = tokenize([messages], target)
        trained = tokens.ids[tokens.n_prompt :]
        return RenderedRow(self.text(messages, target), tokens.ids, trained, list(messages[-1:]))


TURNS = Turns()


def tokenize(rows: Sequence[Sequence[Message]], target: Target) -> list[Tokens]:
    """Tokenize many rows in one call, which the tokenizer distributes over all cores."""
    columns = [TURNS.columns(messages, target) for messages in rows]
    texts = [c["prompt"] for c in columns] + [c["completion"] for c in columns]
    ids = target.tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompts, completions = ids[: len(rows)], ids[len(rows) :]
    return [Tokens(a + b, len(a)) for a, b in zip(prompts, completions, strict=True)]
