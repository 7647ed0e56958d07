"""An engine that repairs repositories by a script, turn by turn: one sample in two rightly."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from factory.core.nouns import Failure, Sample
from factory.recipe.engine import EngineSpec
from factory.sampling.engine import Request, Worker
from filters.verify.repository.environments import read_texts
from filters.verify.repository.patch import split_lines


class Repairer:
    """Looks at the file with the bug, changes it, runs the tests and says that it is done."""

    capacity = 4

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        self._params_fp = spec.params_fp()
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        while self._waiting:
            request = self._waiting.popleft()
            text = self._write(request)
            yield Sample(
                request.prompt.id, request.index, text, "asked", "stop", len(text.split()), 9,
                "scripted", self._params_fp, 0,
            )  # fmt: skip

    def _write(self, request: Request) -> str:
        spec = request.prompt.verifier
        assert spec is not None
        ((path, bug),) = spec["changes"].items()
        gold = read_texts(spec["snapshot"])[path] if request.index % 2 else f"{bug}\n\nX = 1\n"
        turns = sum(turn.role == "assistant" for turn in request.turns or ())
        steps = [
            ("view", {"path": path}),
            ("edit", {"path": path, **_find_change(bug, gold)}),
            ("run_tests", {}),
        ]
        if turns == len(steps):
            return "<think>\nAll tests that matter have run.\n</think>\n\nIt is repaired."
        name, arguments = steps[turns]
        call = json.dumps({"name": name, "arguments": arguments})
        return f"<think>\nNext: {name}.\n</think>\n\n<tool_call>\n{call}\n</tool_call>"

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to stop: a request is answered at once."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()


def _find_change(before: str, after: str) -> dict[str, Any]:
    """The lines that differ, with all lines before them, so that they are there only once."""
    old, new = split_lines(before), split_lines(after)
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    return {"old": "\n".join(old), "new": "\n".join(new)}
