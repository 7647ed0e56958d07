"""Ends generations that can come to nothing, while they are being generated.

A generation that loops runs to its last token: with 16,384 of them, one loop costs three good
samples. An engine that streams keeps a `Watch` for each request, feeds it what arrives, and aborts
the request when it says so:

    halt = watch.feed(piece, n_tokens)      # the new text; tokens generated so far
    if halt is not None:                    # abort the request, then make its Sample from
        text = (prefill + generated)[: halt.keep]
        finish_reason = halt.finish_reason

Every `every` tokens it looks at the end of the text, which comes to half a microsecond a token on
one core; between two looks it only appends to a list. What it stops, the filters would drop: its
thresholds are stricter than theirs, since a loop may still be left and a look comes many times.
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
"""The last 4 kB compress to less than a tenth. On generated good reasoning the least was 0.19, a
table of squares gave 0.18, loops of one to four sentences at most 0.09. Digits are left as they
are, unlike in the repetition filter: a table is no loop until nothing follows it."""

ASTRAY_CHARACTERS = 1500
"""Two stretches of this length, one after the other, are in another language than the prompt. One
may be a quotation, a title list, a translation."""

ASTRAY_LOOKS = 4
"""Looks for each one at the language, which takes ten times as long as looking for a loop."""

AFTER_ANSWER = 200
"""Characters that follow the paragraph of the boxed answer. A sentence may; a new text must not."""

_BOX, _ANSWER_CLOSE = "\\boxed{", "</answer>"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_compress = zstandard.ZstdCompressor(level=1, write_content_size=False).compress


class Halt(NamedTuple):
    """Why a generation is ended, and how many characters of its text are kept (None: all)."""

    reason: Literal["loop", "language", "closed_answer"]
    keep: int | None = None

    @property
    def finish_reason(self) -> FinishReason:
        """A closed answer ends as at a stop string; the others are not judged as if they ended."""
        return "stop" if self.reason == "closed_answer" else "early_stop"


class Watch:
    """Looks at one generation as it grows."""

    def __init__(self, options: EarlyStop, language: str | None, prefill: str = "") -> None:
        self._options, self._language = options, language if options.language else None
        self._pieces = [prefill]
        self._due, self._looks = options.every, 0

    def feed(self, piece: str, n_tokens: int) -> Halt | None:
        """Take new text; `n_tokens` counts all tokens so far. A Halt ends the generation."""
        self._pieces.append(piece)
        if n_tokens < self._due:
            return None
        self._due = n_tokens + self._options.every
        text = "".join(self._pieces)
        self._pieces = [text]
        return self._look(text)

    def _look(self, text: str) -> Halt | None:
        self._looks += 1
        if self._options.loop and is_looping(text):
            return Halt("loop")
        closed = text.rfind(THINK_CLOSE)
        if self._language is not None and closed < 0 and self._looks % ASTRAY_LOOKS == 0:
            start = text.find(THINK_OPEN)
            if start >= 0 and is_astray(text[start + len(THINK_OPEN) :], self._language):
                return Halt("language")
        if self._options.closed_answer and closed >= 0:
            start = closed + len(THINK_CLOSE)
            end = answer_end(text[start:])
            if end is not None:
                return Halt("closed_answer", start + end)
        return None


def watch_for(options: EarlyStop | None, prompt: Prompt, prefill: str) -> Watch | None:
    """A Watch for one sample of a prompt; None where nothing is to be stopped early."""
    if options is None:
        return None
    language = None
    if options.language:
        from filters.language_id.prompt_language import detect_language
        from filters.language_id.scripts import normalized_language

        language = normalized_language(prompt.language) or detect_language(prompt.question)
    return Watch(options, language, prefill)


def is_looping(text: str) -> bool:
    """Does the text end in a loop?"""
    tail = text[-LOOP_BYTES:].encode("utf-8", "replace")[-LOOP_BYTES:]
    return len(tail) == LOOP_BYTES and len(_compress(tail)) < LOOP_RATIO * LOOP_BYTES


def is_astray(reasoning: str, language: str) -> bool:
    """Has the reasoning left its language, and stayed away?

    Mathematics and code are not looked at; where no language shows, nothing is said.
    """
    from filters.language_id.prompt_language import detect_language
    from filters.language_id.scripts import KIN

    if len(reasoning) < 2 * ASTRAY_CHARACTERS:
        return False
    found = detect_language(reasoning[-ASTRAY_CHARACTERS:])
    if found is None or found == language or any({found, language} <= kin for kin in KIN):
        return False
    return detect_language(reasoning[-2 * ASTRAY_CHARACTERS : -ASTRAY_CHARACTERS]) == found


def answer_end(response: str) -> int | None:
    """Where a complete answer ends that the response goes on after; None while it may go on.

    `</answer>` ends it. So does the paragraph of the last box, once a new text is well under way.
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
    """Where the brace closes that opened before `start`; `\\{` and `\\}` are set braces."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return None
