"""Stops generations that cannot become useful samples while they are still running.

A generation that loops runs to its token limit. At 16,384 tokens one loop costs as much as three
good samples. An engine that streams keeps one `Watch` per request and feeds it each new piece of
text. When `feed` returns a `Halt`, the engine aborts the request:

    halt = watch.feed(piece, n_tokens)      # the new text; tokens generated so far
    if halt is not None:                    # abort the request, then make its Sample from
        text = (prefill + generated)[: halt.keep]
        finish_reason = halt.finish_reason

The end of the text is checked every `every` tokens, which costs about half a microsecond per token
on one core. Between two checks `feed` only appends to a list. The thresholds are stricter than
those of the filters, because a generation may still leave a loop and is checked many times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import zstandard

from factory.core.nouns import FinishReason
from factory.core.think import THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:
    from factory.core.nouns import Prompt
    from factory.recipe.sampling import EarlyStop

LOOP_BYTES = 4096
LOOP_RATIO = 0.1
"""A loop: the last 4 kB compress to less than a tenth. Good generated reasoning compressed to 0.19
or more, a table of squares to 0.18, loops of one to four sentences to 0.09 or less. Unlike in the
repetition filter, digits are not masked: a long table is not a loop while it is being written."""

SWITCH_CHARACTERS = 1500
"""Length of a window of reasoning, in characters. The language counts as switched if two windows
in a row differ from the prompt's language. One window may be a quotation or a translation."""

LANGUAGE_CHECK_EVERY = 4
"""Checks for a loop per check of the language, which takes ten times as long."""

AFTER_ANSWER = 200
"""Characters after the paragraph of the boxed answer that end the generation. One closing sentence
is allowed, a new text is not."""

_BOX, _ANSWER_CLOSE = "\\boxed{", "</answer>"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress


class Halt(NamedTuple):
    """Why a generation is stopped, and how many characters of its text to keep (None: all)."""

    reason: Literal["loop", "language", "closed_answer"]
    keep: int | None = None

    @property
    def finish_reason(self) -> FinishReason:
        """`stop` after a complete answer, as at a stop string; otherwise `early_stop`."""
        return "stop" if self.reason == "closed_answer" else "early_stop"


class Watch:
    """Checks one generation while it grows."""

    def __init__(self, options: EarlyStop, language: str | None, prefill: str = "") -> None:
        self._options, self._language = options, language if options.language else None
        self._pieces = [prefill]
        self._due, self._checks = options.every, 0

    def feed(self, piece: str, n_tokens: int) -> Halt | None:
        """Add new text and return a Halt if the generation should stop.

        `n_tokens` is the number of tokens generated so far.
        """
        self._pieces.append(piece)
        if n_tokens < self._due:
            return None
        self._due = n_tokens + self._options.every
        text = "".join(self._pieces)
        self._pieces = [text]
        return self._check(text)

    def _check(self, text: str) -> Halt | None:
        self._checks += 1
        if self._options.loop and is_looping(text):
            return Halt("loop")
        closed = text.rfind(THINK_CLOSE)
        if self._language is not None and closed < 0 and self._checks % LANGUAGE_CHECK_EVERY == 0:
            start = text.find(THINK_OPEN)
            if start >= 0 and has_switched_language(
                text[start + len(THINK_OPEN) :], self._language
            ):
                return Halt("language")
        if self._options.closed_answer and closed >= 0:
            start = closed + len(THINK_CLOSE)
            end = answer_end(text[start:])
            if end is not None:
                return Halt("closed_answer", start + end)
        return None


def make_watch(options: EarlyStop | None, prompt: Prompt, prefill: str) -> Watch | None:
    """Return a Watch for one sample of a prompt, or None if early stopping is off."""
    if options is None:
        return None
    language = None
    if options.language:
        from filters.language_id.prompt_language import detect_language
        from filters.language_id.scripts import normalized_language

        language = normalized_language(prompt.language) or detect_language(prompt.question)
    return Watch(options, language, prefill)


def is_looping(text: str) -> bool:
    """Return whether the text ends in a loop."""
    tail = text[-LOOP_BYTES:].encode("utf-8", "replace")[-LOOP_BYTES:]
    return len(tail) == LOOP_BYTES and len(_compress(tail)) < LOOP_RATIO * LOOP_BYTES


def has_switched_language(reasoning: str, language: str) -> bool:
    """Return whether the last two windows of the reasoning are in another language.

    Mathematics and code are ignored. If no language can be detected, the answer is False.
    """
    from filters.language_id.prompt_language import detect_language
    from filters.language_id.scripts import KIN

    if len(reasoning) < 2 * SWITCH_CHARACTERS:
        return False
    found = detect_language(reasoning[-SWITCH_CHARACTERS:])
    if found is None or found == language or any({found, language} <= kin for kin in KIN):
        return False
    return detect_language(reasoning[-2 * SWITCH_CHARACTERS : -SWITCH_CHARACTERS]) == found


def answer_end(response: str) -> int | None:
    """Return the end offset of a complete answer, or None if the answer may still continue.

    An answer ends at `</answer>`, or at the end of the paragraph with the last `\\boxed{}` once
    more than `AFTER_ANSWER` characters follow it.
    """
    tag = response.find(_ANSWER_CLOSE)
    if tag >= 0:
        return tag + len(_ANSWER_CLOSE)
    box = response.rfind(_BOX)
    if box < 0:
        return None
    closing = _closing_brace(response, box + len(_BOX))
    if closing is None:
        return None
    paragraph = response.find("\n\n", closing)
    if paragraph < 0 or len(response) - paragraph - 2 < AFTER_ANSWER:
        return None
    return paragraph


def _closing_brace(text: str, start: int) -> int | None:
    """Return the offset of the closing brace of a group opened before `start`, or None."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return None
