"""Code answers: the program in a response is run against the prompt's tests, in the sandbox.

The program gets a test's input; its output is compared out here, so the expected one is nowhere
that a program could read it. Every test runs in a fresh process, in order, until one fails.

A program that is too slow, uses too much, raises, or exits with anything but 0 is *wrong*, and
`detail` says how: those are facts about the program. *timeout* and *error* mean that the sandbox
itself failed, twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filters.verify.code.cpp import BinaryCache, compile_task, compiler_missing
from filters.verify.code.extract import MAX_PROGRAM, last_program
from filters.verify.code.problem import Case, Problem, read_problem
from filters.verify.problem import ProblemError
from filters.verify.sandbox import Boxes, Job, Limits, Outcome, SandboxFailure, Task
from filters.verify.verification import State, Verification

_METHOD = "tests"
_CHECKER_LIMITS = Limits(time_s=10.0, memory_mb=1024, files_mb=256)
_ACCEPTED = frozenset({"1", "1.0", "true"})
_REFUSED = frozenset({"0", "0.0", "false"})

logger = logging.getLogger(__name__)


class _Judgement(NamedTuple):
    """A verdict on a program, and the seconds its runs took."""

    state: State
    detail: str | None
    seconds: float


class CodeVerifier:
    """Verifies code prompts (see `code_problem` for their form) on `workers` cores.

    `unsafe_without_sandbox` runs the programs with limits and the system call filter but without
    bubblewrap: they can then read and write whatever this user can. It is for containers that
    forbid namespaces and hold nothing of value.
    """

    VERSION = 1

    def __init__(
        self,
        *,
        workers: int | None = None,
        unsafe_without_sandbox: bool = False,
        cache: Path | None = None,
    ) -> None:
        self._boxes = Boxes(workers, isolate=not unsafe_without_sandbox)
        self._binaries = BinaryCache(cache)
        if unsafe_without_sandbox:
            logger.warning(
                "unsafe_without_sandbox is set: programs written by the model run with this user's"
                " access to files"
            )

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = [None] * len(items)
        problems: dict[int, Problem | ProblemError] = {}
        jobs: list[Job[_Judgement]] = []
        places: list[tuple[int, str]] = []
        for place, (spec, response) in enumerate(items):
            if id(spec) not in problems:
                problems[id(spec)] = _try_read(spec)
            problem = problems[id(spec)]
            if isinstance(problem, ProblemError):
                verdicts[place] = Verification("bad_reference", None, _METHOD, detail=str(problem))
                continue
            program = last_program(response, problem.language)
            verdicts[place] = self._without_running(problem, program)
            if verdicts[place] is None and program is not None:
                jobs.append(self._judge(problem, program))
                places.append((place, program))
        for number, judgement in self._boxes.run(jobs):
            place, program = places[number]
            verdicts[place] = _verification(judgement, program)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Besides reading the mapping: starter code must load, a checker accept the expected
        outputs, a solution pass. Where programs cannot be run, only the mapping is read."""
        reasons: list[str | None] = [None] * len(specs)
        jobs: list[Job[str | None]] = []
        places: list[int] = []
        for place, spec in enumerate(specs):
            problem = _try_read(spec)
            if isinstance(problem, ProblemError):
                reasons[place] = str(problem)
            elif self._why_not(problem) is None:
                jobs.append(self._examine(problem))
                places.append(place)
        for number, reason in self._boxes.run(jobs):
            # A sandbox that fails says nothing of the prompt: it is sampled.
            reasons[places[number]] = None if isinstance(reason, SandboxFailure) else reason
        return reasons

    def close(self) -> None:
        self._boxes.close()
        self._binaries.prune()

    def _without_running(self, problem: Problem, program: str | None) -> Verification | None:
        """The verdict where there is nothing to run or nothing to run it in."""
        if program is None:
            detail = f"the response has no closed {problem.language} code block"
            return Verification("no_answer", None, _METHOD, detail=detail)
        if len(program) > MAX_PROGRAM:
            detail = f"the program has {len(program)} characters; at most {MAX_PROGRAM} are read"
            return Verification("unparseable", None, _METHOD, detail=detail)
        obstacle = self._why_not(problem)
        if obstacle is not None:
            return Verification("unverifiable", program, _METHOD, detail=obstacle)
        return None

    def _why_not(self, problem: Problem) -> str | None:
        """Why a program cannot be run here."""
        obstacle = self._boxes.obstacle()
        if obstacle is None and problem.language == "cpp":
            return compiler_missing()
        return obstacle

    def _examine(self, problem: Problem) -> Job[str | None]:
        """What is wrong with the problem's own parts."""
        if problem.function is not None and problem.starter:
            loaded = yield Task("load", problem.starter.encode(errors="replace"))
            if loaded.end != "ok":
                return f"starter_code does not load: {_ending(loaded)}"
        if problem.checker is not None:
            for place, case in enumerate(problem.cases):
                if case.expected:
                    state, detail, _ = yield from _ask_checker(problem, case, case.expected)
                    if state != "correct":
                        return f"the checker refuses the expected output of test {place}: {detail}"
        if problem.solution is not None:
            source = last_program(problem.solution, problem.language) or problem.solution
            state, detail, _ = yield from self._judge(problem, source)
            if state != "correct":
                return f"its own solution fails: {detail}"
        return None

    def _judge(self, problem: Problem, program: str) -> Job[_Judgement]:
        """Run `program` on the tests, in order, up to the first that fails."""
        seconds = 0.0
        binary = self._binaries.get(program) if problem.language == "cpp" else b""
        if binary is None:
            outcome = yield compile_task(program)
            seconds += outcome.wall_s
            if outcome.end != "ok":
                return _Judgement("wrong", f"compile_error: {_ending(outcome)}", seconds)
            binary = outcome.result
            self._binaries.put(program, binary)
        for number, case in enumerate(problem.cases, 1):
            outcome = yield _task(problem, program, binary, case)
            seconds += outcome.wall_s
            state, detail, more = yield from _rate(problem, case, outcome)
            seconds += more
            if state != "correct":
                detail = f"test {number} of {len(problem.cases)}: {detail}"
                return _Judgement(state, detail, seconds)
        return _Judgement("correct", None, seconds)


def _try_read(spec: Mapping[str, Any]) -> Problem | ProblemError:
    try:
        return read_problem(spec)
    except ProblemError as error:
        return error


def _task(problem: Problem, program: str, binary: bytes, case: Case) -> Task:
    given = case.given.encode(errors="replace")
    if problem.function is not None:
        job = {"program": program, "starter": problem.starter, "name": problem.function}
        code = json.dumps(job).encode()
        return Task("call", code, arguments=given, limits=problem.limits)
    if problem.language == "cpp":
        return Task("binary", binary, stdin=given, limits=problem.limits)
    code = program.encode(errors="replace")
    return Task("script", code, stdin=given, limits=problem.limits)


def _rate(problem: Problem, case: Case, outcome: Outcome) -> Job[_Judgement]:
    """Whether one run was right."""
    if outcome.end != "ok":
        return _Judgement("wrong", _ending(outcome), 0.0)
    raw = outcome.stdout if problem.function is None else outcome.result
    output = raw.decode(errors="replace")
    if problem.checker is not None:
        return (yield from _ask_checker(problem, case, output))
    difference = problem.compare(output, case.expected)
    if difference is not None:
        return _Judgement("wrong", f"wrong_output: {difference}", 0.0)
    return _Judgement("correct", None, 0.0)


def _ask_checker(problem: Problem, case: Case, output: str) -> Job[_Judgement]:
    """Let the problem's checker, in a jail of its own, judge an output.

    A checker that ends without a verdict cannot read the output if it can read the expected one;
    then the output is wrong.
    """
    outcome = yield _checking(problem, case, output)
    verdict = _verdict(outcome)
    if verdict is not None:
        detail = None if verdict == "correct" else "wrong_output: the checker refused it"
        return _Judgement(verdict, detail, outcome.wall_s)
    detail = f"the checker gave no verdict: {_ending(outcome)}"
    if outcome.end in ("exit", "signal") and output != case.expected:
        again = yield _checking(problem, case, case.expected)
        if _verdict(again) == "correct":
            detail = f"wrong_output: the checker cannot read it: {_ending(outcome)}"
            return _Judgement("wrong", detail, outcome.wall_s + again.wall_s)
    return _Judgement("error", detail, outcome.wall_s)


def _checking(problem: Problem, case: Case, output: str) -> Task:
    assert problem.checker is not None
    files = {"input.txt": case.given, "expected.txt": case.expected, "output.txt": output}
    code = problem.checker.encode(errors="replace")
    return Task("script", code, argv=tuple(files), files=files, limits=_CHECKER_LIMITS)


def _verdict(outcome: Outcome) -> Literal["correct", "wrong"] | None:
    """What a checker said, if it said anything."""
    words = outcome.stdout.decode(errors="replace").casefold().split()
    verdict = words[-1] if words and outcome.end == "ok" else ""
    return "correct" if verdict in _ACCEPTED else "wrong" if verdict in _REFUSED else None


def _ending(outcome: Outcome) -> str:
    """How a run ended, with the last thing it complained of."""
    how = f"{outcome.end} {outcome.status}" if outcome.end in ("exit", "signal") else outcome.end
    complaints = [line.strip() for line in outcome.stderr.decode(errors="replace").splitlines()]
    last = next((line for line in reversed(complaints) if line), "")
    return f"{how}: {last[:200]}" if last else how


def _verification(judgement: _Judgement | SandboxFailure, program: str) -> Verification:
    if isinstance(judgement, SandboxFailure):
        state: State = "timeout" if judgement.stuck else "error"
        return Verification(state, program, _METHOD, detail=str(judgement))
    ms = 1000 * judgement.seconds
    return Verification(judgement.state, program, _METHOD, ms, judgement.detail)
