"""reasoning-gym puzzles, scored by the package's own scorers, in the sandbox.

A scorer's partial credit is not correctness: only 1.0 counts. Scorers evaluate the entry of the
data set, which may be a stranger's, so that none runs outside. Some also evaluate the model's text,
which could then give itself full marks: such answers are compared here or screened first (see
`EVALUATING`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filters.verify.arithmetic import is_number, solve
from filters.verify.prose.extract_answer import final_answer
from filters.verify.sandbox import Boxes, Job, Library, Limits, Outcome, SandboxFailure, Task
from filters.verify.verification import State, Verification

SCORERS = Library(
    required=("reasoning-gym",),
    optional=("python-dateutil",),  # which reasoning-gym imports and does not require
    preload=("reasoning_gym",),
)
_SCORER = Path(__file__).with_name("scorer.py")

EVALUATING = {
    # These evaluate an answer that is not the right string, and give it at most half a point.
    "string_insertion": "exact",
    "spiral_matrix": "exact",
    "binary_matrix": "exact",
    "n_queens": "exact",
    # These evaluate arithmetic; the second never looks which numbers were given.
    "countdown": "arithmetic",
    "puzzle24": "arithmetic",
    # These hand the answer to sympy's parser, which evaluates it.
    "simple_integration": "algebra",
    "intermediate_integration": "algebra",
    "polynomial_multiplication": "algebra",
}
"""The tasks whose scorers evaluate model text, and how such an answer is made safe."""

_FUNCTIONS = (
    "sin cos tan sec csc cot asin acos atan sinh cosh tanh asinh acosh atanh arcsin arccos arctan "
    "exp log ln sqrt Abs pi"
)
_NAMES = frozenset(_FUNCTIONS.split())
_ALGEBRA = re.compile(r"[0-9A-Za-z+\-*/^(). ]{1,400}")
_WORD = re.compile(r"[A-Za-z]+")
_MARKUP = re.compile(r"\\(?:text|mathrm|texttt)\s*\{([^{}]*)\}")


class GymVerifier:
    """Verifier of `{"kind": "gym", "task": name, "entry": {"question", "answer", "metadata"}}`.

    `deadline_s` is the CPU time of one scoring. `unsafe_without_sandbox` is the code verifier's.
    """

    VERSION = 5

    def __init__(
        self,
        workers: int | None = None,
        *,
        deadline_s: float = 2.0,
        unsafe_without_sandbox: bool = False,
    ) -> None:
        self._boxes = Boxes(workers, isolate=not unsafe_without_sandbox, library=SCORERS)
        self._limits = Limits(time_s=deadline_s, memory_mb=1024)
        self._scorer = json.dumps({"program": _SCORER.read_text(), "starter": "", "name": "score"})

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        hard: list[tuple[int, str]] = []
        for position, (spec, response) in enumerate(items):
            started = time.perf_counter()
            answer = final_answer(response, prefer=("tag", "box"))
            text = None if answer is None else _MARKUP.sub(r"\1", answer.text).strip("$ \n")
            state, detail = _at_once(spec, text)
            if state is None and (obstacle := self._boxes.obstacle()) is not None:
                state, detail = "unverifiable", obstacle
            if state is None:
                assert text is not None
                hard.append((position, text))
                verdicts.append(None)
                continue
            ms = round((time.perf_counter() - started) * 1000, 3)
            verdicts.append(Verification(state, text, "gym", ms, detail))
        jobs = [self._score(items[position][0], text) for position, text in hard]
        for place, outcome in self._boxes.run(jobs):
            position, text = hard[place]
            verdicts[position] = _verification(outcome, text)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A reference is sound if the task's scorer gives it a full point, where there is one.

        Where scorers cannot be run, only the mapping is read.
        """
        problems = [_problem(spec) for spec in specs]
        hard = [position for position, problem in enumerate(problems) if problem is None]
        if not hard or self._boxes.obstacle() is not None:
            return problems
        jobs = [self._score(specs[at], specs[at]["entry"].get("answer")) for at in hard]
        for place, outcome in self._boxes.run(jobs):
            problems[hard[place]] = _unsound(specs[hard[place]], outcome)
        return problems

    def close(self) -> None:
        self._boxes.close()

    def _score(self, spec: Mapping[str, Any], answer: str | None) -> Job[Outcome]:
        """Run the scorer. An entry that cannot be written as JSON cannot have come from a file."""
        arguments = json.dumps({"task": spec["task"], "answer": answer, "entry": spec["entry"]})
        outcome = yield Task(
            "call", self._scorer.encode(), arguments=arguments.encode(), limits=self._limits
        )
        return outcome


def _points(outcome: Outcome) -> float | None:
    """What a scoring returned. Raises ValueError where it returned no number."""
    points = json.loads(outcome.result)
    if points is not None and not isinstance(points, int | float):
        raise ValueError(f"{points!r:.80} is no number of points")
    return points


def _ending(outcome: Outcome) -> str:
    lines = outcome.stderr.decode(errors="replace").strip().splitlines()
    return f"{outcome.end}: {lines[-1].strip()[:200]}" if lines else outcome.end


def _unsound(spec: Mapping[str, Any], outcome: Outcome | SandboxFailure) -> str | None:
    """Why a scoring of the reference shows that it cannot be used. A sandbox that fails and a
    scorer that is too slow show nothing."""
    if isinstance(outcome, SandboxFailure) or outcome.end == "time_limit":
        return None
    if outcome.end != "ok":
        return f"its scorer fails: {_ending(outcome)}"
    try:
        points = _points(outcome)
    except ValueError as error:
        return f"its scorer fails: {error}"
    if points is None:
        return f"no task {spec['task']!r}"
    if spec["entry"].get("answer") is not None and points != 1.0:
        return f"its own answer scores {points:g}"
    return None


def _problem(spec: Mapping[str, Any]) -> str | None:
    entry = spec.get("entry")
    if not isinstance(spec.get("task"), str):
        return "there is no task"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping):
        return "entry must hold question, answer and metadata"
    metadata = entry["metadata"]
    match EVALUATING.get(spec["task"]):
        case "exact" if not isinstance(metadata.get("valid_answers", []), list):
            return "metadata.valid_answers must be a list"
        case "arithmetic":
            numbers = metadata.get("numbers")
            if not isinstance(numbers, list) or not all(map(is_number, numbers)):
                return "metadata.numbers must be a list of numbers"
            if not is_number(metadata.get("target", 24)):
                return "metadata.target must be a number"
    return None


def _at_once(spec: Mapping[str, Any], text: str | None) -> tuple[State | None, str | None]:
    """What needs no scorer: no answer, the oracle's own, or a task whose scorer evaluates text."""
    problem = _problem(spec)
    if problem is not None:
        return "bad_reference", problem
    if text is None:
        return "no_answer", None
    entry = spec["entry"]
    oracle = entry.get("answer")
    how = EVALUATING.get(spec["task"])
    if isinstance(oracle, str) and text.strip() == oracle.strip() and how != "arithmetic":
        return "correct", None
    if how == "exact":
        accepted = entry["metadata"].get("valid_answers", [])
        return ("correct" if text in accepted else "wrong"), None
    if how == "arithmetic":
        reached = solve(text, entry["metadata"]["numbers"], exactly=True)
        if isinstance(reached, str):
            return ("unparseable" if reached.startswith("unreadable") else "wrong"), reached
        return ("correct" if reached == entry["metadata"].get("target", 24) else "wrong"), None
    if how == "algebra" and not _is_algebra(text):
        return "unparseable", "not an algebraic expression"
    return None, None


def _is_algebra(text: str) -> bool:
    """Whether sympy's parser may see it: numbers, single variables and known functions alone.

    A letter before a bracket is no variable: sympy calls `O(1)`, which absorbs what is added to it.
    """
    if not _ALGEBRA.fullmatch(text) or re.search(r"\.\s*[A-Za-z]|[A-Za-z]\s*\.", text):
        return False
    if re.search(r"(?<![A-Za-z])[A-Za-z]\s*\(", text):
        return False
    return all(len(word) == 1 or word in _NAMES for word in _WORD.findall(text))


def _verification(outcome: Outcome | SandboxFailure, text: str) -> Verification:
    if isinstance(outcome, SandboxFailure):
        state: State = "timeout" if outcome.stuck else "error"
        return Verification(state, text, "gym", detail=str(outcome))
    ms = round(1000 * outcome.wall_s, 3)
    if outcome.end != "ok":
        state = "timeout" if outcome.end == "time_limit" else "error"
        return Verification(state, text, "gym", ms, _ending(outcome))
    try:
        points = _points(outcome)
    except ValueError as error:
        return Verification("error", text, "gym", ms, str(error))
    if points is None:
        return Verification("bad_reference", text, "gym", ms, "no such reasoning-gym task")
    detail = None if points == 1.0 else f"scores {points:g}"
    return Verification("correct" if points == 1.0 else "wrong", text, "gym", ms, detail)
