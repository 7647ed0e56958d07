"""Repairs: the patch of a response is applied to a repository and judged by its tests.

A repair is *correct* if every test of `fail_to_pass` and `pass_to_pass` passes, or if its files are
the original ones but for layout and comments. `detail` begins with a reason:

no_patch, patch_rejected, edits_tests, build_failed, f2p_failed, p2p_broken   a fact about the patch
tampered              the attempt interfered with the tests: wrong
timeout               the tests used more CPU time than they may: undecided
flaky                 a test failed and then passed: undecided
suspicious            all tests pass, and the patch adds what a cheat would: undecided
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from filters.verify.problem import ProblemError
from filters.verify.repository.environments import Environments, read_texts
from filters.verify.repository.notations import read_patch
from filters.verify.repository.patch import PatchError, apply_changes, parse_python
from filters.verify.repository.paths import is_test, require_allowed
from filters.verify.repository.problem import NoEnvironment, Problem, read_problem
from filters.verify.repository.snapshots import SnapshotError
from filters.verify.repository.static_audit import find_suspicions
from filters.verify.repository.trial import Records, Trial, make_trial, run_trial
from filters.verify.sandbox import Job, SandboxFailure
from filters.verify.verification import State, Verification

METHOD = "repository"
_SHOWN = 20_000
"""Characters of the attempt's diff that are kept with its verdict."""
_NAMED = 3


class _Judgement(NamedTuple):
    """A verdict and the CPU seconds that it took."""

    state: State
    detail: str | None
    cpu_s: float = 0.0


class _Attempt(NamedTuple):
    """A patch that was applied: the whole texts of files that differ from the snapshot."""

    files: Mapping[str, str]
    changed: tuple[str, ...]  # the files that the patch changed
    diff: str


class RepositoryVerifier:
    """Verifies repository prompts (see `problem` for their form) on `workers` cores."""

    VERSION = 3

    def __init__(self, *, workers: int | None = None) -> None:
        self._environments = Environments(workers)

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = [None] * len(items)
        jobs: dict[tuple[str, tuple[str, ...]], list[tuple[int, Problem, _Attempt]]] = {}
        for place, (spec, response) in enumerate(items):
            attempt: _Attempt | None = None
            try:
                problem = read_problem(spec)
                texts = read_texts(problem.snapshot)
                attempt = _apply(problem, texts, response)
                judgement = _judge_unrun(texts, attempt) or self._why_not(problem)
            except NoEnvironment as error:
                judgement = _Judgement("unverifiable", str(error))
            except PatchError as error:
                judgement = _refuse(error)
            except (ProblemError, SnapshotError) as error:
                missing = isinstance(error, SnapshotError)
                judgement = _Judgement("unverifiable" if missing else "bad_reference", str(error))
            if judgement is not None:
                verdicts[place] = _verification(judgement, attempt)
            elif attempt is not None:
                key = problem.snapshot, problem.requires
                jobs.setdefault(key, []).append((place, problem, attempt))
        for some in jobs.values():
            for place, verdict in self._run(some):
                verdicts[place] = verdict
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """The files as they should be pass all tests, twice; with the bug, each of
        `fail_to_pass` fails and each of `pass_to_pass` passes.

        Where tests cannot be run, only the mapping is read.
        """
        reasons: list[str | None] = [None] * len(specs)
        for place, spec in enumerate(specs):
            try:
                problem = read_problem(spec)
                if self._environments.obstacle(problem.requires) is None:
                    reasons[place] = self._examine(problem)
            except NoEnvironment:
                continue
            except (ProblemError, SnapshotError) as error:
                reasons[place] = str(error)
        return reasons

    def close(self) -> None:
        self._environments.close()

    def _run(self, some: Sequence[tuple[int, Problem, _Attempt]]) -> list[tuple[int, Verification]]:
        """The verdicts of attempts at one snapshot, with their places."""
        _, first, _ = some[0]
        try:
            boxes = self._environments.boxes(first.snapshot, first.requires, first.paths)
        except (SandboxFailure, SnapshotError, OSError) as error:
            failed = _Judgement("error", f"the snapshot cannot be used: {error}")
            return [(place, _verification(failed, attempt)) for place, _, attempt in some]
        jobs = [_judge(problem, attempt) for _, problem, attempt in some]
        return [
            (some[number][0], _verification(judgement, some[number][2]))
            for number, judgement in boxes.run(jobs)
        ]

    def _why_not(self, problem: Problem) -> _Judgement | None:
        obstacle = self._environments.obstacle(problem.requires)
        return (
            None if obstacle is None else _Judgement("unverifiable", f"no environment: {obstacle}")
        )

    def _examine(self, problem: Problem) -> str | None:
        read_texts(problem.snapshot)
        try:
            boxes = self._environments.boxes(problem.snapshot, problem.requires, problem.paths)
        except SandboxFailure:
            return None  # a sandbox that fails says nothing of the prompt: it is sampled
        for _, reason in boxes.run([_examine(problem)]):
            return None if isinstance(reason, SandboxFailure) else reason
        return None


def _apply(problem: Problem, texts: Mapping[str, str], response: str) -> _Attempt:
    """The attempt that a response is. Raises PatchError."""
    changes = read_patch(response)
    for change in changes:
        require_allowed(change.path, problem.packages)
    start = {**texts, **problem.changes}
    changed = apply_changes(changes, start)
    files = {**problem.changes, **changed}
    files = {path: text for path, text in files.items() if text != texts.get(path)}
    return _Attempt(files, tuple(changed), _diff(start, changed))


def _judge_unrun(texts: Mapping[str, str], attempt: _Attempt) -> _Judgement | None:
    """The verdict of a patch that gives the original files back, but for layout and comments."""
    same = all(
        path in texts and ast.dump(parse_python(text)) == ast.dump(parse_python(texts[path]))
        for path, text in attempt.files.items()
    )
    return _Judgement("correct", "the original code") if same else None


def _refuse(error: PatchError) -> _Judgement:
    if error.reason == "no_patch":
        return _Judgement("no_answer", str(error))
    if error.in_tests:
        return _Judgement("wrong", f"edits_tests: {error.detail}")
    return _Judgement("wrong", f"patch_rejected: {error}")


def _judge(problem: Problem, attempt: _Attempt) -> Job[_Judgement]:
    """Run the tests on an attempt. A test that should pass as before gets a second chance."""
    records = yield from run_trial(_trial(problem, attempt.files, attempt.changed))
    found = _decide(problem, records)
    cpu_s = records.cpu_s
    if found is not None and found.detail is not None and found.detail.startswith("p2p_broken"):
        again = yield from run_trial(_trial(problem, attempt.files, attempt.changed))
        cpu_s += again.cpu_s
        if any(records.passed(name) != again.passed(name) for name in problem.pass_to_pass):
            found = _Judgement("error", f"flaky: {found.detail}; the next time otherwise")
    if found is None:
        reached = [event for event in records.reached if event not in problem.reaches]
        if reached:  # which counts only if the original files do not reach it either
            original = yield from run_trial(_trial(problem, {}, attempt.changed))
            cpu_s += original.cpu_s
            reached = [event for event in reached if event not in original.reached]
        suspicions = [*_suspect(problem, attempt), *(f"reaches {event}" for event in reached)]
        if suspicions:
            found = _Judgement("error", f"suspicious: {', '.join(suspicions[:_NAMED])}")
    return (found or _Judgement("correct", None))._replace(cpu_s=cpu_s)


def _suspect(problem: Problem, attempt: _Attempt) -> list[str]:
    """What the attempt adds that neither the bug nor the original has."""
    texts = read_texts(problem.snapshot)
    outside = _list_outside(texts, problem.packages)
    return [
        suspicion
        for path in attempt.changed
        if path in attempt.files
        for suspicion in find_suspicions(
            attempt.files[path], problem.changes.get(path), texts.get(path), outside=outside
        )
    ]


def _list_outside(texts: Mapping[str, str], packages: Sequence[str]) -> frozenset[str]:
    """The first names by which files of a repository could be imported that are not in one of its
    packages: what the tests share. Tests themselves are known by their names."""
    paths = [PurePosixPath(path) for path in texts]
    own = {PurePosixPath(package).stem for package in packages}
    names = {
        name
        for path in paths
        if not any(path.is_relative_to(package) for package in packages)
        for name in (path.parts[0], path.stem, path.parent.name)
    }
    tests = {name for name in names if is_test(f"{name}.py") or is_test(f"{name}/x.py")}
    return frozenset(names - own - tests - sys.stdlib_module_names)


def _decide(problem: Problem, records: Records) -> _Judgement | None:
    """What is wrong with an attempt, from the records of its tests; None: all passed."""
    if records.tampered is not None:
        return _Judgement("wrong", f"tampered: {records.tampered}")
    if records.end == "time_limit":
        return _Judgement(
            "timeout", f"timeout: over {problem.limits.time_s:g} s of CPU time, or asleep as long"
        )
    failed = [name for name in problem.fail_to_pass if not records.passed(name)]
    broken = [name for name in problem.pass_to_pass if not records.passed(name)]
    wanted = len(problem.fail_to_pass) + len(problem.pass_to_pass)
    if not failed and not broken:
        ended = records.end == "ok" and records.broken is None
        return None if ended else _Judgement("wrong", f"tampered: {records.broken or records.end}")
    if not records.outcomes and len(failed) + len(broken) == wanted:
        why = next(iter(records.uncollected), None) or records.broken or "none was found"
        return _Judgement("wrong", f"build_failed: no test ran: {why}")
    reason, some, all_of = "f2p_failed", failed, problem.fail_to_pass
    if not failed:
        reason, some, all_of = "p2p_broken", broken, problem.pass_to_pass
    shown = "; ".join(records.explain(name) for name in some[:_NAMED])
    return _Judgement("wrong", f"{reason}: {len(some)} of {len(all_of)}: {shown}")


def _examine(problem: Problem) -> Job[str | None]:
    """What is wrong with a prompt's own repair and bug."""
    for _ in range(2):
        records = yield from run_trial(_trial(problem, {}, tuple(problem.changes)))
        found = _decide(problem, records)
        if found is not None:
            return f"the files as they should be fail their tests: {found.detail}"
    records = yield from run_trial(_trial(problem, problem.changes, tuple(problem.changes)))
    passing = [name for name in problem.fail_to_pass if records.passed(name)]
    failing = [name for name in problem.pass_to_pass if not records.passed(name)]
    if passing:
        return f"with the bug {passing[0]} passes, which should fail"
    if failing and records.outcomes:
        return f"with the bug {failing[0]} fails, which should pass"
    return None


def _trial(problem: Problem, files: Mapping[str, str], changed: Sequence[str]) -> Trial:
    return make_trial(
        files,
        problem.limits,
        ids=[*problem.fail_to_pass, *problem.pass_to_pass],
        paths=problem.paths,
        changed=changed,
    )


def _diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The attempt as one unified diff, whatever notation it came in."""
    lines: list[str] = []
    for path, text in sorted(after.items()):
        old = before.get(path)
        lines += difflib.unified_diff(
            (old or "").splitlines(), text.splitlines(),
            "/dev/null" if old is None else f"a/{path}", f"b/{path}", lineterm="",
        )  # fmt: skip
    return "\n".join(lines)[:_SHOWN]


def _verification(judgement: _Judgement | SandboxFailure, attempt: _Attempt | None) -> Verification:
    diff = attempt.diff if attempt else None
    if isinstance(judgement, SandboxFailure):
        state: State = "timeout" if judgement.stuck else "error"
        return Verification(state, diff, METHOD, detail=str(judgement))
    ms = round(1000 * judgement.cpu_s, 3)
    return Verification(judgement.state, diff, METHOD, ms, judgement.detail)
