"""An engine that writes solutions of small sums, right or with the faults that the recipe asks for.

Calculate 14 + 38 - 6.
<think>52;46;</think>46     every total, then the last one as the answer

slip       probability of any total being off by one to three
guess      probability of an answer without thinking, up to nine off
unclosed   probability of thinking that never closes
"""

from __future__ import annotations

import random
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from factory.core.nouns import Failure, Sample
from factory.recipe.engine import EngineSpec
from factory.sampling.engine import Request, Worker

TERM = re.compile(r"([-+]?)\s*(\d+)")


class Writer:
    """Answers every request at once; the same sample is the same text whenever it is asked for."""

    VERSION = 1
    capacity = 1024

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        self.spec, self.faults = spec, spec.engine.args
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        while self._waiting:
            yield self._write(self._waiting.popleft())

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to do: every text is written at once."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()

    def _write(self, request: Request) -> Sample:
        draw = random.Random(f"{request.sample_id} {self.spec.sampling.seed}")
        question = request.prompt.question
        text = write_solution(draw, read_terms(question), **self.faults)
        return Sample(
            prompt_id=request.prompt.id,
            index=request.index,
            text=text,
            prompt_text=question,
            finish_reason="stop",
            n_tokens=len(text),
            n_prompt_tokens=len(question),
            model="writer",
            params_fp=self.spec.params_fp(request.level),
            created_at=round(time.time() * 1000),
        )


def read_terms(question: str) -> list[int]:
    """Return the signed numbers of a question.

    >>> read_terms("Calculate 14 + 38 - 6.")
    [14, 38, -6]
    """
    return [int(sign + number) for sign, number in TERM.findall(question)]


def write_solution(
    draw: random.Random,
    terms: list[int],
    *,
    slip: float = 0.0,
    guess: float = 0.0,
    unclosed: float = 0.0,
) -> str:
    """Write one solution. The faults are described at the head of this file.

    >>> write_solution(random.Random(0), [14, 38, -6])
    '<think>52;46;</think>46'
    """
    if draw.random() < guess:
        return str(sum(terms) + draw.randint(-9, 9))
    total, *rest = terms
    thinking = ""
    for term in rest:
        total += term
        if draw.random() < slip:
            total += draw.choice((-3, -2, -1, 1, 2, 3))
        thinking += f"{total};"
    return f"<think>{thinking}" + ("" if draw.random() < unclosed else f"</think>{total}")
