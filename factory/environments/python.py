"""A Python interpreter with a memory: code runs in the sandbox, and later code sees what it left.

Each call runs in a fresh process, which first runs the episode's earlier code again, without its
output. So the same calls give the same answers, and nothing survives an episode. A call that takes
too long leaves nothing behind.
"""

from __future__ import annotations

import json
from typing import Any

from factory.core.nouns import Prompt
from factory.environments.tools import EnvironmentLost, ToolEnvironment, ToolError
from filters.verify.sandbox.box import Box, SandboxFailure
from filters.verify.sandbox.task import Limits, Task

MAX_CODE = 100_000
"""Characters of all code of an episode."""

MAX_OUTPUT = 8_000
"""Characters of one answer."""

_REPLAY = """
import ast, json, sys, traceback

class Nowhere:
    def write(self, text): return len(text)
    def flush(self): pass

def run(code, names):
    tree = ast.parse(code, "<call>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<call>", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<call>", "eval"), names)
        if value is not None:
            print(repr(value))

given = json.load(sys.stdin)
import random
random.seed(given["seed"])
names, shown = {"__name__": "__main__"}, sys.stdout
for number, code in enumerate(given["calls"], 1):
    sys.stdout = shown if number == len(given["calls"]) else Nowhere()
    try:
        run(code, names)
    except BaseException as error:
        lines = traceback.format_exception_only(type(error), error)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "<call>"]
        place = f" (line {frames[-1].lineno})" if frames else ""
        print(f"error: {lines[-1].strip()}{place}")
sys.stdout = shown
sys.stdout.flush()
"""


class Python(ToolEnvironment):
    """Offers `run_python`. The episode ends with the first answer without a call."""

    def __init__(self, seconds: float = 10.0, memory_mb: int = 512) -> None:
        self._limits = Limits(time_s=seconds, memory_mb=memory_mb, output_mb=1)

    def begin(self, prompt: Prompt) -> None:
        self._box = Box()
        self._calls: list[str] = []
        self._seed = self.random.randrange(2**32)

    def state(self) -> dict[str, Any]:
        return {"calls": len(self._calls)}

    def run_python(self, code: str) -> str:
        """Run Python code and return what it prints, and the value of a last expression.

        Variables, functions and imports of earlier calls are still there. There is no network.

        code: the Python code to run
        """
        calls = [*self._calls, str(code)]
        if sum(map(len, calls)) > MAX_CODE:
            raise ToolError(f"all code of a conversation may have {MAX_CODE:,} characters")
        given = json.dumps({"seed": self._seed, "calls": calls}).encode()
        try:
            self._box.start(Task("script", _REPLAY.encode(), stdin=given, limits=self._limits))
            outcome = self._box.finish()
        except SandboxFailure as failure:
            raise EnvironmentLost(f"the sandbox failed: {failure}") from None
        if outcome.end == "time_limit":
            raise ToolError(
                f"it ran for more than {self._limits.time_s:g} s; it left nothing behind"
            )
        if outcome.end != "ok":
            raise ToolError(f"it was stopped ({outcome.end}); it left nothing behind")
        self._calls = calls
        text = outcome.stdout.decode("utf-8", "replace")
        if len(text) > MAX_OUTPUT:
            left_out = len(text) - MAX_OUTPUT
            text = f"{text[:MAX_OUTPUT]}\n[{left_out:,} more characters are left out]"
        return text.rstrip("\n") or "(no output)"
