"""The export gate: rows as the trainer will see them, refused where training would go wrong.

A chat template decides what a model learns, and stock ones decide badly: those of DeepSeek-V3 and
of the R1 distillations delete `<think>…</think>` from assistant turns, Qwen3's from earlier ones.
Training on such a rendering teaches answers without reasoning, and nothing fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2.exceptions import TemplateError

from factory.core.errors import ModelError
from factory.core.nouns import Message
from factory.core.think import THINK_OPEN, split_think
from factory.export.layouts import Layout, Seen
from factory.export.target import Target

Reason = Literal[
    "cannot_render",
    "turns_out_of_order",
    "reasoning_stripped",
    "response_changed",
    "think_doubled",
    "loss_mask_empty",
    "not_trained_on",
    "eos_missing",
]

_DOUBLED = re.compile(rf"{THINK_OPEN}\s*{THINK_OPEN}")

_KEEPS = "a template that keeps think sections (--template chatml, plain, or your own)"

REMEDIES: dict[Reason, str] = {
    "cannot_render": f"Use {_KEEPS}, or leave such rows out of the corpus.",
    "turns_out_of_order": "This trainer skips such rows without a word. Leave them out of the "
    "corpus, or export to another format.",
    "reasoning_stripped": f"Use {_KEEPS}; or, for TRL, --layout text: prompt and completion "
    "rendered here, which no template touches again.",
    "response_changed": f"Use {_KEEPS}.",
    "think_doubled": f"The template opens the think section itself: use {_KEEPS}, or, for TRL, "
    "--layout text.",
    "loss_mask_empty": "With messages, TRL learns only what the template marks with "
    "{% generation %}: use --layout prompt-completion, or a template with markers (--template "
    "chatml or plain).",
    "not_trained_on": "The template's {% generation %} markers leave it out: move them, or use "
    "--layout prompt-completion.",
    "eos_missing": "A model trained so never stops. Name the token that ends a turn (--eos, for "
    f"instance --eos '<|im_end|>'), or use {_KEEPS}.",
}


@dataclass(frozen=True)
class Refusal:
    """What is wrong with one row."""

    row_id: str
    reason: Reason
    detail: str
    rendered: str

    def __str__(self) -> str:
        return (
            f"row {self.row_id}: {self.detail}\n"
            f"  rendered: {_excerpt(self.rendered)}\n"
            f"  remedy: {REMEDIES[self.reason]}"
        )


class GateError(ModelError):
    """The target would not learn what the corpus holds. Lists the rows it was seen on."""

    def __init__(self, refusals: Sequence[Refusal], checked: int) -> None:
        self.refusals = list(refusals)
        counts = Counter(refusal.reason for refusal in refusals)
        total = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        firsts = {refusal.reason: refusal for refusal in reversed(self.refusals)}
        listing = "\n".join(str(firsts[reason]) for reason, _ in counts.most_common())
        super().__init__(
            f"export refused, nothing written: {len(refusals):,} of {checked:,} rows checked would "
            f"be trained wrongly ({total})\n{listing}"
        )


@dataclass(frozen=True)
class Gate:
    """Checks rows against a target. `alternating`: the trainer wants user, assistant, in turn."""

    target: Target
    layout: Layout
    alternating: bool = False

    def check(self, row_id: str, messages: Sequence[Message]) -> Refusal | None:
        """Everything there is to check of one row; needs its tokens."""
        if self.alternating and not alternates(messages):
            roles = ", ".join(message["role"] for message in messages)
            return Refusal(row_id, "turns_out_of_order", f"its turns are {roles}.", "")
        try:
            seen = self.layout.look(messages, self.target)
        except (TemplateError, TypeError, ValueError, IndexError) as error:
            what = f"the chat template fails on it: {error}."
            return Refusal(row_id, "cannot_render", what, "")
        found = text_fault(seen.text, seen.turns) or self._loss_fault(seen)
        return None if found is None else Refusal(row_id, *found, seen.text)

    def check_text(self, row_id: str, messages: Sequence[Message], text: str) -> Refusal | None:
        """What can be checked of a rendering alone, fast enough for every row."""
        if self.alternating and not alternates(messages):
            return self.check(row_id, messages)
        turns = [message for message in messages if message["role"] == "assistant"]
        found = text_fault(text, turns if self.layout.name == "messages" else turns[-1:])
        return None if found is None else Refusal(row_id, *found, text)

    def _loss_fault(self, seen: Seen) -> tuple[Reason, str] | None:
        if not seen.trained:
            return "loss_mask_empty", "no token of it would be trained on."
        target = self.target
        learnt = _squash(target.tokenizer.decode(seen.trained, skip_special_tokens=False))
        for message in seen.turns:
            if not self._learns(message["content"], learnt):
                what = "the loss would not see all of the assistant's words."
                return "not_trained_on", what
        ends = [place for place, token in enumerate(seen.trained) if token in target.stop_ids]
        tail = seen.trained[ends[-1] + 1 :] if ends else []
        if len(ends) < len(seen.turns) or target.tokenizer.decode(tail).strip():
            return "eos_missing", f"no EOS ({target.eos}) ends the assistant's turn under the loss."
        return None

    def _learns(self, content: str, learnt: str) -> bool:
        parts = split_think(content)
        for part in (parts.thinking, parts.response):
            if part and _squash(part) not in learnt:
                # A tokenizer that rewrites text (NFKC) returns other characters than it was given.
                again = self.target.tokenizer.decode(self.target.encode(part))
                if _squash(again) not in learnt:
                    return False
        return True


def text_fault(text: str, turns: Sequence[Message]) -> tuple[Reason, str] | None:
    """What the rendering did to the words of the turns it trains on."""
    for message in turns:
        thinking, response, _ = split_think(message["content"])
        kept = (thinking or "").strip()
        if kept and kept not in text:
            return (
                "reasoning_stripped",
                f"the chat template strips its reasoning ({len(kept):,} characters between the "
                "think tags).",
            )
        if kept and THINK_OPEN not in text:
            return "reasoning_stripped", "the chat template strips the think tags."
        if response and response.strip() not in text:
            return "response_changed", "the chat template changes its response."
    if _DOUBLED.search(text):
        return "think_doubled", "its think section is opened twice."
    return None


def alternates(messages: Sequence[Message]) -> bool:
    """True for user, assistant, user, …, assistant, after at most one system turn."""
    roles = [message["role"] for message in messages]
    roles = roles[1:] if roles[:1] == ["system"] else roles
    pairs = len(roles) // 2
    return bool(pairs) and roles == ["user", "assistant"] * pairs


def _squash(text: str) -> str:
    return "".join(text.split())


def _excerpt(text: str, width: int = 300) -> str:
    shown = text if len(text) <= width else f"{text[: width // 3]} … {text[-2 * width // 3 :]}"
    return repr(shown)
