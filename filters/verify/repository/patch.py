"""A response's patch: read strictly, applied in memory, refused with a reason.

Two notations are read: search/replace blocks and unified diffs. Both must name what they replace
exactly. Line numbers and counts of a diff are forgiven, its contexts are not: there is no fuzz.
Nothing is written to a disk here, so that no path, link or mode of a patch can do harm.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "no_patch",
    "malformed",
    "not_found",
    "ambiguous",
    "forbidden_path",
    "no_change",
    "syntax_error",
]
"""Why a patch is refused:

no_patch        the response holds neither a search/replace block nor a diff
malformed       it begins like one and cannot be read
not_found       the text to replace is not in the file, or the file does not exist
ambiguous       the text to replace is there more than once
forbidden_path  it changes something else than the package's Python files
no_change       the files are the same afterwards
syntax_error    a changed file is no Python
"""

MAX_CHANGED = 1_000_000
"""Characters that the changed files may have together."""


class PatchError(ValueError):
    """A patch that is refused. `in_tests`: it would change a test or how tests are run."""

    def __init__(self, reason: Reason, detail: str, *, in_tests: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.in_tests = in_tests


@dataclass(frozen=True, slots=True)
class Change:
    """Lines to replace in one file. `line`: where a diff says that they begin, from 1.

    `old` None: the file is new.
    """

    path: str
    old: tuple[str, ...] | None
    new: tuple[str, ...]
    line: int | None = None


def apply_changes(changes: Sequence[Change], files: Mapping[str, str]) -> dict[str, str]:
    """The whole text of each changed file, from the texts of all files by path.

    Line ends of a file stay as they are (CRLF or LF), and so does a missing newline at its end
    unless its last line changes. Raises PatchError.
    """
    texts: dict[str, list[str]] = {}
    shifts: dict[str, int] = {}
    for change in changes:
        if change.path not in texts:
            texts[change.path] = _open(change, files)
        elif change.old is None:
            raise PatchError("malformed", f"{change.path} is made twice")
        if change.old is None:
            texts[change.path] = list(change.new)
            continue
        lines = texts[change.path]
        hint = None if change.line is None else change.line - 1 + shifts.get(change.path, 0)
        at = _find(change, lines, hint)
        lines[at : at + len(change.old)] = change.new
        shifts[change.path] = shifts.get(change.path, 0) + len(change.new) - len(change.old)
    changed = {path: _join(lines, files.get(path)) for path, lines in texts.items()}
    changed = {path: text for path, text in changed.items() if text != files.get(path)}
    if not changed:
        raise PatchError("no_change", "every file is the same afterwards")
    if sum(map(len, changed.values())) > MAX_CHANGED:
        raise PatchError("malformed", f"the changed files have over {MAX_CHANGED:,} characters")
    for path, text in changed.items():
        _require_python(path, text)
    return changed


def split_lines(text: str) -> list[str]:
    """Lines without their ends, CRLF or LF; no last empty line for a newline at the end."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def parse_python(text: str) -> ast.Module:
    """The syntax tree of a file. Raises SyntaxError for whatever Python cannot read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a text's own, such as an invalid escape
            return ast.parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or type(error).__name__) from None


def _open(change: Change, files: Mapping[str, str]) -> list[str]:
    if change.old is None:
        if change.path in files:
            raise PatchError("malformed", f"{change.path} is to be made, and is there already")
        return []
    if change.path not in files:
        raise PatchError("not_found", f"there is no file {change.path}")
    return split_lines(files[change.path])


def _find(change: Change, lines: list[str], hint: int | None) -> int:
    """Where the old lines are: in one place alone, or of several where the diff says."""
    old = list(change.old or ())
    if not old:
        raise PatchError("malformed", f"{change.path}: nothing says where the new lines belong")
    found = [
        at
        for at in range(len(lines) - len(old) + 1)
        if lines[at] == old[0] and lines[at : at + len(old)] == old
    ]
    if not found:
        shown = next((line for line in old if line.strip()), "")
        raise PatchError("not_found", f"{change.path} has no such lines: {shown.strip()[:80]!r}")
    if len(found) == 1:
        return found[0]
    if hint in found:
        return hint
    raise PatchError("ambiguous", f"{change.path} has these lines {len(found)} times")


def _join(lines: list[str], before: str | None) -> str:
    """The text of a file, in the manner of what it was."""
    newline = "\r\n" if before and before.count("\r\n") * 2 > before.count("\n") else "\n"
    text = newline.join(lines)
    unended = before is not None and before != "" and not before.endswith("\n")
    if unended and before is not None and lines and split_lines(before)[-1:] == lines[-1:]:
        return text
    return text + newline if lines else text


def _require_python(path: str, text: str) -> None:
    if "\0" in text:
        raise PatchError("forbidden_path", f"{path} would be a binary file")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PatchError("malformed", f"{path} would hold text that is no Unicode") from None
    try:
        parse_python(text)
    except SyntaxError as error:
        where = f" at line {error.lineno}" if error.lineno else ""
        raise PatchError("syntax_error", f"{path}{where}: {error.msg}") from None
