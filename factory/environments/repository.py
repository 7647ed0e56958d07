"""A repository to repair: the model looks at its files, changes them and runs the tests.

Changes are made in memory, by the same rules as a patch that is answered at once, and tests run in
the same sandbox. The state has the changes as a patch. The verifier judges that patch afresh: what
`run_tests` showed to the model decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factory.core.nouns import Prompt
from factory.environments.tools import EnvironmentLost, ToolEnvironment, ToolError
from filters.verify.problem import ProblemError
from filters.verify.repository.environments import Environments, read_texts
from filters.verify.repository.notations import write_patch
from filters.verify.repository.patch import Change, PatchError, apply_changes, split_lines
from filters.verify.repository.paths import require_allowed
from filters.verify.repository.problem import read_problem
from filters.verify.repository.snapshots import SnapshotError
from filters.verify.repository.trial import make_trial, run_once
from filters.verify.sandbox import SandboxFailure

MAX_LINES = 400
"""Lines of a file that one view shows."""
MAX_FOUND = 60
"""Lines that a search shows, and paths that a list shows."""
MAX_FAILED = 10
"""Failing tests that are described."""
MAX_PATCH = 200_000
"""Characters of all changes together."""
_LINE = 300


class Repository(ToolEnvironment):
    """Offers `list`, `view`, `search`, `edit` and `run_tests`. The prompt's verifier names the
    repository. The episode ends with the first answer without a call."""

    def begin(self, prompt: Prompt) -> None:
        spec = prompt.verifier or {}
        if spec.get("kind") != "repository":
            raise ValueError(
                f"the prompt is verified as {spec.get('kind')!r}; this environment needs a prompt "
                "whose verifier is of kind repository"
            )
        try:
            self._problem = read_problem(spec)
            self._original = read_texts(self._problem.snapshot)
        except (ProblemError, SnapshotError) as error:
            raise ValueError(str(error)) from None
        self._start = {**self._original, **self._problem.changes}
        self._changed: dict[str, str] = {}
        self._environments = Environments(1)

    def state(self) -> dict[str, Any]:
        return {"patch": write_patch(self._start, self._changed) if self._changed else None}

    @property
    def _files(self) -> dict[str, str]:
        """The Python files as they are now."""
        return {**self._start, **self._changed}

    def list(self, folder: str = "") -> str:
        """List the Python files of the project, with their numbers of lines.

        folder: a folder such as pkg/core; everything without it
        """
        under = str(folder).strip("./")
        found = [path for path in sorted(self._files) if not under or path.startswith(f"{under}/")]
        if not found:
            raise ToolError(f"there are no Python files in {folder!r}")
        files = self._files
        return _shorten([f"{path} ({len(split_lines(files[path])):,} lines)" for path in found])

    def view(self, path: str, first: int = 1, last: int = 0) -> str:
        """Show a file with line numbers.

        path: the file, as `list` names it
        first: the first line to show
        last: the last line to show; the end of the file without it
        """
        lines = split_lines(self._read(path))
        begin = max(1, int(first))
        end = min(int(last) if last else len(lines), len(lines), begin + MAX_LINES - 1)
        shown = [f"{number}\t{lines[number - 1]}" for number in range(begin, end + 1)]
        if not shown:
            raise ToolError(f"{path} has {len(lines)} lines")
        if end < len(lines):
            shown.append(f"({len(lines) - end} more lines; give `first`)")
        return "\n".join(shown)

    def search(self, text: str, folder: str = "") -> str:
        """Find the lines that contain a text, in all Python files.

        text: what to look for, exactly as it is written
        folder: a folder or a file to look in; everything without it
        """
        wanted, under = str(text), str(folder).strip("./")
        if not wanted:
            raise ToolError("give a text to look for")
        found = [
            f"{path}:{number}: {line.strip()[:_LINE]}"
            for path, content in sorted(self._files.items())
            if not under or path == under or path.startswith(f"{under}/")
            for number, line in enumerate(split_lines(content), 1)
            if wanted in line
        ]
        return _shorten(found) if found else "nothing found"

    def edit(self, path: str, old: str, new: str) -> str:
        """Replace lines of a file of the package. Tests cannot be changed.

        path: the file, as `list` names it, or the path of a new file
        old: the lines to replace, whole and exactly as they are, in the file only once; empty for a
            new file
        new: the lines to put there
        """
        path = str(path)
        before, after = split_lines(str(old)), split_lines(str(new))
        change = Change(path, tuple(before) or None, tuple(after))
        try:
            require_allowed(path, self._problem.packages)
            made = apply_changes([change], self._files)
            changed = {**self._changed, **made}
            changed = {name: t for name, t in changed.items() if t != self._start.get(name)}
            if changed and len(write_patch(self._start, changed)) > MAX_PATCH:
                raise ToolError(f"all changes together may have {MAX_PATCH:,} characters")
        except PatchError as error:
            raise ToolError(f"refused, {error}") from None
        self._changed = changed
        return f"{path} is changed"

    def run_tests(self, tests: Sequence[str] = ()) -> str:
        """Run the project's tests on the files as they are now.

        tests: names such as tests/test_sums.py::test_add; all that matter without it
        """
        problem = self._problem
        known = (*problem.fail_to_pass, *problem.pass_to_pass)
        wanted = [str(name) for name in tests] or list(known)
        unknown = next((name for name in wanted if name not in known), None)
        if unknown is not None:
            file = unknown.partition("::")[0]
            near = [name for name in known if name.startswith(file)][:MAX_FAILED]
            hint = f"; tests there: {', '.join(near)}" if near else ""
            raise ToolError(f"there is no test {unknown!r}{hint}")
        obstacle = self._environments.obstacle(problem.requires)
        if obstacle is not None:
            raise EnvironmentLost(f"no tests can be run: {obstacle}")
        files = {p: t for p, t in {**problem.changes, **self._changed}.items()
                 if t != self._original.get(p)}  # fmt: skip
        trial = make_trial(
            files,
            problem.limits,
            ids=sorted(set(wanted)),
            paths=problem.paths,
            changed=tuple(self._changed),
        )
        try:
            boxes = self._environments.boxes(problem.snapshot, problem.requires, problem.paths)
            records = run_once(boxes, trial)
        except (SandboxFailure, SnapshotError, OSError) as error:
            raise EnvironmentLost(f"the sandbox failed: {error}") from None
        if records.tampered is not None:
            return f"the tests were interfered with: {records.tampered}"
        if records.end == "time_limit":
            return f"the tests took more than {problem.limits.time_s:g} s and were stopped"
        failed = [name for name in sorted(set(wanted)) if not records.passed(name)]
        if not failed:
            return f"all {len(set(wanted))} tests passed"
        lines = [f"{len(failed)} of {len(set(wanted))} tests failed:"]
        lines += [f"- {records.explain(name)}"[:_LINE] for name in failed[:MAX_FAILED]]
        if len(failed) > MAX_FAILED:
            lines.append(f"- and {len(failed) - MAX_FAILED} more")
        lines += [why[:_LINE] for why in records.uncollected[:MAX_FAILED]]
        return "\n".join(lines)

    def _read(self, path: str) -> str:
        text = self._files.get(str(path))
        if text is None:
            raise ToolError(f"there is no Python file {str(path)!r}; `list` shows those there are")
        return text


def _shorten(lines: Sequence[str]) -> str:
    shown = [*lines[:MAX_FOUND]]
    if len(lines) > MAX_FOUND:
        shown.append(f"(and {len(lines) - MAX_FOUND} more)")
    return "\n".join(shown)
