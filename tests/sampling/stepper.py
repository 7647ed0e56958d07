"""An engine for tests of searches: it writes sums of digits, by a hash of the text so far.

A question is a number of steps. A turn is `<think>`, that many digits with `;`, `</think>` and the
sum in a box. Its samples depend on nothing but the text that they continue and their number.
`Good` scores a text by its digits: the higher, the better.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from factory.core.nouns import Failure, Prompt, Sample
from factory.sampling.engine import Request, Worker


def digits(text: str) -> list[int]:
    return [int(digit) for digit in re.findall(r"(\d);", text)]


def write(prompt: Prompt, index: int) -> str:
    """Return the rest of a turn."""
    text = prompt.continues["text"] if prompt.continues else ""
    rest = "" if text else "<think>"
    if "</think>" in text:
        return ""
    own = digits(text)
    while len(own) < int(prompt.question):
        seed = f"{text}{rest}|{index if not rest.endswith(';') else 0}"
        own.append(int(hashlib.sha256(seed.encode()).hexdigest(), 16) % 10)
        rest += f"{own[-1]};"
    return f"{rest}</think>\\boxed{{{sum(own)}}}"


class Stepper:
    """Answers a few requests per call, and takes `STEPPER_DELAY` seconds for it."""

    capacity = 8

    def __init__(self, spec: Any, run: Path, start: int) -> None:
        self.params_fp = spec.params_fp()
        self.delay = float(os.environ.get("STEPPER_DELAY", "0"))
        self.waiting: list[Request] = []

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        if self.waiting:
            time.sleep(self.delay)
        batch, self.waiting = self.waiting[-3:], self.waiting[:-3]  # the last ones first
        for request in batch:
            yield self.answer(request)

    def answer(self, request: Request) -> Sample:
        prompt = request.prompt
        before = prompt.continues["text"] if prompt.continues else ""
        text = write(prompt, request.index)
        ends = [text.find(stop) + len(stop) for stop in request.stop if stop in text]
        text = text[: min(ends)] if ends else text
        return Sample(
            prompt_id=prompt.id,
            index=request.index,
            text=before + text,
            prompt_text="asked: ",
            finish_reason="stop",
            n_tokens=len(text),
            n_prompt_tokens=7 + len(before),
            model="stepper",
            params_fp=self.params_fp,
            created_at=1,
        )

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to do: the answers come at once."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self.waiting.clear()


class Good:
    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [sum(digits(text)) / (9 * max(1, len(digits(text)))) for text in texts]
