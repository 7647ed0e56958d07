"""The text of a repair task: what is wrong, the code, and how to answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal

from factory.prompts.repositories.search import Bug
from filters.verify.repository.paths import is_test

Notation = Literal["search_replace", "diff"]

_OPENINGS = (
    "The Python project `{project}` has a bug.",
    "Something in the Python project `{project}` is broken since the last change.",
    "A user reports wrong behaviour of the Python project `{project}`.",
)
_TESTS = (
    "These tests fail, and they are right:",
    "The following tests should pass and do not:",
    "This is what the test suite reports:",
)
_TASK = (
    "Find the cause and repair it. Only files of the package may be changed, not its tests, and "
    "all other tests must go on passing."
)
ANSWERS: dict[Notation, str] = {
    "search_replace": """\
Give your repair as search/replace blocks, each below the path of its file. The search part must be
copied exactly, whole lines with their indentation, and be in the file only once:

path/of/file.py
<<<<<<< SEARCH
lines as they are
=======
lines as they should be
>>>>>>> REPLACE""",
    "diff": """\
Give your repair as one unified diff (`--- a/path`, `+++ b/path`, `@@` hunks) in a code block. The
context lines must be copied exactly.""",
}
_BY_TOOLS = (
    "Use the tools to look at the project, to change its files and to run its tests. When the "
    "repair is done, say in a sentence what was wrong, without a call."
)
_SHOWN_TESTS = 5


def write_task(
    project: str,
    bug: Bug,
    files: Mapping[str, str],
    draw: random.Random,
    *,
    notation: Notation,
    code_chars: int,
    tools: bool = False,
) -> str:
    """The question of a prompt. `files`: the package with the bug in it. With `tools` the model
    looks at the code by itself."""
    parts = [
        draw.choice(_OPENINGS).format(project=project),
        f"{draw.choice(_TESTS)}\n\n{_list_tests(bug)}",
        _TASK,
    ]
    if tools:
        return "\n\n".join([*parts, _BY_TOOLS])
    shown, left_out = _choose(files, bug.path, code_chars)
    parts += [
        "The code of the package:",
        *(f"{path}\n{_fence(text)}" for path, text in shown.items()),
    ]
    if left_out:
        parts.append(f"Not shown: {', '.join(left_out)}.")
    return "\n\n".join([*parts, ANSWERS[notation]])


def _list_tests(bug: Bug) -> str:
    lines = []
    for name in bug.fail_to_pass[:_SHOWN_TESTS]:
        said = bug.symptoms.get(name)
        lines.append(f"- {name}: {said}" if said else f"- {name}")
    more = len(bug.fail_to_pass) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more"] * bool(more))])


def _choose(
    files: Mapping[str, str], needed: str, code_chars: int
) -> tuple[dict[str, str], Sequence[str]]:
    """The files to show within a number of characters, and the names of the others.

    The file with the bug is always shown; the smallest of the others come first.
    """
    left = code_chars - len(files[needed])
    chosen = {needed}
    for path in sorted(files, key=lambda path: (len(files[path]), path)):
        if path != needed and not is_test(path) and len(files[path]) <= left:
            chosen.add(path)
            left -= len(files[path])
    shown = {path: files[path] for path in sorted(chosen)}
    return shown, sorted(files.keys() - chosen)


def _fence(text: str) -> str:
    marks = "```"
    while marks in text:
        marks += "`"
    return f"{marks}python\n{text.rstrip()}\n{marks}"
