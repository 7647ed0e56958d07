"""Base of the verifiers that need no process: one answer, one look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from filters.verify.verification import State, Verification


class Immediate:
    """Gives the batch protocol to a verifier that judges one response at a time."""

    VERSION: int = 1
    METHOD: ClassVar[str]

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        """The verdict of one response to a prompt whose `problem` is None."""
        raise NotImplementedError

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        """What is wrong with a prompt's reference; None if nothing."""
        raise NotImplementedError

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts = []
        for spec, response in items:
            started = time.perf_counter()
            problem = self.problem(spec)
            if problem is not None:
                verdict = self.say("bad_reference", None, problem)
            else:
                verdict = self.judge(spec, response)
            ms = round((time.perf_counter() - started) * 1000, 3)
            verdicts.append(replace(verdict, ms=ms))
        return verdicts

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        return [self.problem(spec) for spec in specs]

    def close(self) -> None:
        """Nothing to end."""

    def say(self, state: State, extracted: str | None, detail: str | None = None) -> Verification:
        return Verification(state, extracted, self.METHOD, 0.0, detail)
