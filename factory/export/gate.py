"""The export gate: check rows as the trainer will see them, and refuse wrong training data.

The chat template decides what a model learns, and many stock templates are unsuitable: those of
DeepSeek-V3 and of the R1 distillations delete `<think>…</think>` from assistant turns, Qwen3's from
earlier turns. Training on such a rendering teaches answers without reasoning, without any error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from jinja2.exceptions import TemplateError

from factory.core.errors import ModelError
from factory.core.nouns import Message
from factory.core.think import THINK_OPEN, split_think
from factory.export.dialogue import Dialogue
from factory.export.layouts import Layout, RenderedRow
from factory.export.target import Target
from filters.tool_calls.parsing import parse_turn

Reason = Literal[
    "cannot_render",
    "turns_out_of_order",
    "reasoning_stripped",
    "response_changed",
    "think_doubled",
    "loss_mask_empty",
    "not_trained_on",
    "eos_missing",
    "tools_dropped",
    "calls_changed",
    "observation_trained",
]

_DOUBLED = re.compile(rf"{THINK_OPEN}\s*{THINK_OPEN}")

_KEEPS = "a template that keeps think sections (--template chatml, plain, or your own)"

_TOOLS = "a template that knows tools (--template chatml_tools, or your own)"

REMEDIES: dict[Reason, str] = {
    "cannot_render": f"Use {_KEEPS}, or leave such rows out of the corpus.",
    "turns_out_of_order": "This trainer skips such rows silently. Leave them out of the "
    "corpus, or export to another format.",
    "reasoning_stripped": f"Use {_KEEPS}; or, for TRL, --layout text: prompt and completion are "
    "rendered here, and no template changes them afterwards.",
    "response_changed": f"Use {_KEEPS}.",
    "think_doubled": f"The template opens the think section itself: use {_KEEPS}, or, for TRL, "
    "--layout text.",
    "loss_mask_empty": "With layout messages, TRL trains only on what the template marks with "
    "{% generation %}: use --layout prompt-completion, or a template with markers (--template "
    "chatml or plain).",
    "not_trained_on": "The template's {% generation %} markers don't cover it: move them, or use "
    "--layout prompt-completion.",
    "eos_missing": "A model trained on such rows never stops. Name the token that ends a turn "
    f"(--eos, for instance --eos '<|im_end|>'), or use {_KEEPS}.",
    "tools_dropped": f"Use {_TOOLS}.",
    "calls_changed": f"Use {_TOOLS}.",
    "observation_trained": f"Use {_TOOLS}: earlier turns must not change with later ones.",
}


@dataclass(frozen=True)
class RowFault:
    """Why one row would be trained on wrongly, with its rendering."""

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
    """The model would not learn what the corpus contains. Shows one faulty row per reason."""

    def __init__(self, faults: Sequence[RowFault], checked: int) -> None:
        self.faults = list(faults)
        counts = Counter(fault.reason for fault in faults)
        total = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        firsts = {fault.reason: fault for fault in reversed(self.faults)}
        listing = "\n".join(str(firsts[reason]) for reason, _ in counts.most_common())
        super().__init__(
            f"export refused, nothing written: {len(faults):,} of {checked:,} checked rows would "
            f"be trained on wrongly ({total})\n{listing}"
        )


@dataclass(frozen=True)
class Gate:
    """Checks rows against a target model.

    `alternating`: the trainer reads only conversations of alternating user and assistant turns.
    """

    target: Target
    layout: Layout
    alternating: bool = False

    def check(self, row_id: str, messages: Sequence[Message]) -> RowFault | None:
        """Check one row completely, which needs its tokens; returns None if it is sound."""
        if self.alternating and not alternates(messages):
            roles = ", ".join(message["role"] for message in messages)
            return RowFault(row_id, "turns_out_of_order", f"its turns are {roles}.", "")
        try:
            row = self.layout.render_row(messages, self.target)
        except (TemplateError, TypeError, ValueError, IndexError) as error:
            what = f"the chat template fails on it: {error}."
            return RowFault(row_id, "cannot_render", what, "")
        found = find_text_fault(row.text, row.turns) or self._find_loss_fault(row)
        if found is None and isinstance(messages, Dialogue):
            found = self._find_episode_fault(row, messages)
        return None if found is None else RowFault(row_id, *found, row.text)

    def check_text(self, row_id: str, messages: Sequence[Message], text: str) -> RowFault | None:
        """Check a rendering alone, which is fast enough for every row; None if it is sound."""
        if isinstance(messages, Dialogue) or (self.alternating and not alternates(messages)):
            return self.check(row_id, messages)
        turns = [message for message in messages if message["role"] == "assistant"]
        found = find_text_fault(text, turns if self.layout.name == "messages" else turns[-1:])
        return None if found is None else RowFault(row_id, *found, text)

    def _find_loss_fault(self, row: RenderedRow) -> tuple[Reason, str] | None:
        if not row.trained:
            return "loss_mask_empty", "no token of it would be trained on."
        target = self.target
        trained = _squash(target.tokenizer.decode(row.trained, skip_special_tokens=False))
        for message in row.turns:
            if not self._is_covered(message["content"], trained):
                what = "the loss would not cover the whole text of the assistant."
                return "not_trained_on", what
        ends = [place for place, token in enumerate(row.trained) if token in target.stop_ids]
        tail = row.trained[ends[-1] + 1 :] if ends else []
        if len(ends) < len(row.turns) or target.tokenizer.decode(tail).strip():
            return "eos_missing", f"no EOS ({target.eos}) ends the assistant's turn under the loss."
        return None

    def _find_episode_fault(
        self, row: RenderedRow, messages: Dialogue
    ) -> tuple[Reason, str] | None:
        """Prove that the loss covers each turn of the model's own with its calls, and that every
        observation lies between two such turns, outside the loss."""
        for tool in messages.tools:
            name = tool.get("function", tool).get("name", "")
            if name not in row.text:
                return "tools_dropped", f"the chat template leaves out the tool {name}."
        decode = self.target.tokenizer.decode
        learnt = [decode(ids) for is_learnt, ids in row.pieces if is_learnt]
        between = [""]
        for is_learnt, ids in row.pieces:
            if is_learnt:
                between.append("")
            else:
                between[-1] += decode(ids)
        if len(learnt) != len(row.turns):
            what = f"{len(learnt)} pieces are under the loss, for {len(row.turns)} turns."
            return "observation_trained", what
        place, own = 0, {id(message) for message in row.turns}
        for message in messages:
            if id(message) in own:
                fault = self._find_call_fault(message, learnt[place])
                if fault is not None:
                    return fault
                place += 1
            elif _squash(message["content"]) not in _squash(between[place]):
                shown = message["content"][:80]
                what = f"what it was shown ({shown!r}) is not kept apart from its own words."
                return "observation_trained", what
        return None

    def _find_call_fault(self, message: Message, learnt: str) -> tuple[Reason, str] | None:
        wanted = [
            (call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", [])
        ]
        for token in (self.target.eos, *map(self.target.tokenizer.decode, self.target.stop_ids)):
            learnt = learnt.replace(token, "")
        found = [(call.name, call.arguments) for call in parse_turn(learnt).calls]
        if found == wanted:
            return None
        return "calls_changed", f"its tool calls read {found!r:.120}, not {wanted!r:.120}."

    def _is_covered(self, content: str, trained: str) -> bool:
        """Return True if the trained text contains both the reasoning and the response."""
        parts = split_think(content)
        for part in (parts.thinking, parts.response):
            if part and _squash(part) not in trained:
                # A tokenizer that normalizes text (NFKC) decodes to other characters.
                decoded = self.target.tokenizer.decode(self.target.encode(part))
                if _squash(decoded) not in trained:
                    return False
        return True


def find_text_fault(text: str, turns: Sequence[Message]) -> tuple[Reason, str] | None:
    """Check that a rendering contains the text of `turns`; returns a reason and details."""
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
    # A text that was sampled like that, and kept without a format filter, is not the template's.
    if _DOUBLED.search(text) and not any(_DOUBLED.search(turn["content"]) for turn in turns):
        return "think_doubled", "its think section is opened twice."
    return None


def alternates(messages: Sequence[Message]) -> bool:
    """Return True for user, assistant, user, …, assistant, after at most one system turn.

    What tools answer stands in the place of a user's turn; several answers are one.
    """
    roles: list[str] = []
    for role, group in groupby(messages, key=lambda message: message["role"]):
        roles += ["user"] if role == "tool" else [role] * len(list(group))
    roles = roles[1:] if roles[:1] == ["system"] else roles
    pairs = len(roles) // 2
    return bool(pairs) and roles == ["user", "assistant"] * pairs


def _squash(text: str) -> str:
    return "".join(text.split())


def _excerpt(text: str, width: int = 300) -> str:
    shown = text if len(text) <= width else f"{text[: width // 3]} … {text[-2 * width // 3 :]}"
    return repr(shown)
