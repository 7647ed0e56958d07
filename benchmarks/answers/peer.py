"""math-verify as its documentation uses it, in a process that can be killed.

`MathVerify` starts this file as a program, which answers each line with `correct` or `wrong`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

LIMIT_S = 6.0


class MathVerify:
    """States of (reference, response) pairs: correct, wrong, timeout or error."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        return [self._judge(reference, response) for reference, response in pairs]

    def _judge(self, reference: str, response: str) -> str:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = response.rpartition("</think>")[2]
        try:
            process.stdin.write(json.dumps([reference, answer]).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self._end()
            return "error"
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        state = process.stdout.readline().decode().strip() if ready else "timeout"
        if state not in ("correct", "wrong"):
            self._end()
        return state or "error"

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        process = self._process
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("math-verify cannot be imported: pip install math-verify")
        return process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main() -> None:
    # what the libraries print must not be read as a verdict
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from math_verify import parse, verify

    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        reference, answer = json.loads(line)
        gold = parse(reference if "$" in reference else f"${reference}$")
        out.write("correct\n" if verify(gold, parse(answer)) else "wrong\n")
        out.flush()


if __name__ == "__main__":
    main()
