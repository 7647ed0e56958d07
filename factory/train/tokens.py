"""A conversation as the tokens that are trained on.

The prompt's tokens are those that the model is given when it is sampled with `template: chat`, and
the assistant's are encoded apart from them, as they are generated: token by token after the prompt.
No chat template touches the assistant's words, so none can strip its reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from factory.core.nouns import Message
from factory.core.think import THINK_OPEN
from factory.export.layouts import FinishedText, Seen
from factory.export.target import Target

IGNORED = -100
"""The label of a token that the loss does not see."""


class Tokens(NamedTuple):
    """A row's tokens; the first `n_prompt` are given, the rest are learnt."""

    ids: list[int]
    n_prompt: int

    @property
    def labels(self) -> list[int]:
        return [IGNORED] * self.n_prompt + self.ids[self.n_prompt :]


class Turns(FinishedText):
    """The last assistant turn as completion of what comes before it."""

    adds_special_tokens = False

    def columns(self, messages: Sequence[Message], target: Target) -> dict[str, Any]:
        prompt = target.render(messages[:-1], open_turn=True)
        words = messages[-1]["content"]
        opening = prompt.rstrip()
        if opening.endswith(THINK_OPEN) and words.startswith(THINK_OPEN):
            # The template opened the think section already (R1's own do): do not open it twice.
            words = words.removeprefix(THINK_OPEN).removeprefix(prompt[len(opening) :])
        return {"prompt": prompt, "completion": words + target.eos}

    def look(self, messages: Sequence[Message], target: Target) -> Seen:
        (tokens,) = tokenize([messages], target)
        learnt = tokens.ids[tokens.n_prompt :]
        return Seen(self.text(messages, target), tokens.ids, learnt, list(messages[-1:]))


TURNS = Turns()


def tokenize(rows: Sequence[Sequence[Message]], target: Target) -> list[Tokens]:
    """The tokens of many rows at once, which the tokenizer spreads over all cores."""
    columns = [TURNS.columns(messages, target) for messages in rows]
    texts = [c["prompt"] for c in columns] + [c["completion"] for c in columns]
    ids = target.tokenizer(texts, add_special_tokens=False)["input_ids"]
    given, learnt = ids[: len(rows)], ids[len(rows) :]
    return [Tokens(a + b, len(a)) for a, b in zip(given, learnt, strict=True)]
