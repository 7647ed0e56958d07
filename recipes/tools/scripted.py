"""An engine that writes calculator episodes by a script: the cold start of a model without tools.

It asks the calculator for the expression in the question and boxes what the calculator answers.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from factory.core.nouns import Failure, Sample, Turn
from factory.recipe.engine import EngineSpec
from factory.sampling.engine import Request, Worker

EXPRESSION = re.compile(r"[-(]*\d[-+*/()\d. ]*[\d)]")


class Scripted:
    """One or two turns for each request: a call, then the answer."""

    capacity = 64

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        self._params_fp = spec.params_fp()
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        while self._waiting:
            yield self._answer(self._waiting.popleft())

    def _answer(self, request: Request) -> Sample | Failure:
        prompt, turns = request.prompt, request.turns or ()
        found = EXPRESSION.search(prompt.question)
        if found is None:
            detail = f"no expression in {prompt.question[:80]!r}"
            return Failure(prompt.id, request.index, "bad_request", detail, retryable=False)
        text = _write_turn(found[0].strip(), turns)
        return Sample(
            prompt_id=prompt.id,
            index=request.index,
            text=text,
            prompt_text=prompt.question,
            finish_reason="stop",
            n_tokens=len(text.split()),
            n_prompt_tokens=len(prompt.question.split()),
            model="scripted",
            params_fp=self._params_fp,
            created_at=0,
        )

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to stop: a request is answered at once."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()


def _write_turn(expression: str, turns: tuple[Turn, ...]) -> str:
    """Write the next turn: the call, or the answer once the calculator has spoken."""
    shown = [turn.text for turn in turns if turn.role == "tool"]
    if shown:
        return f"{expression} = {shown[-1]}, so the answer is \\boxed{{{shown[-1]}}}."
    call = {"name": "calculate", "arguments": {"expression": expression}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
