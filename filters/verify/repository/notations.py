"""The two notations of a patch: search/replace blocks and unified diffs.

pkg/text.py                       --- a/pkg/text.py
<<<<<<< SEARCH                    +++ b/pkg/text.py
return a + b                      @@ -3,1 +3,1 @@
=======                           -    return a + b
return a - b                      +    return a - b
>>>>>>> REPLACE
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise

from filters.verify.repository.patch import Change, PatchError, apply_changes, split_lines

_SEARCH = re.compile(r"<{5,9} ?SEARCH\s*$")
_DIVIDER = re.compile(r"={5,9}\s*$")
_REPLACE = re.compile(r">{5,9} ?REPLACE\s*$")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_DECORATION = "#*`:> \t"
_PATH = re.compile(r"(?:[Ff]ile(?:name)?:\s*)?[`*]*([^\s`*]+)[`*]*:?")

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@|@@(?:$|[ .])")
_OLD, _NEW = re.compile(r"--- (\S.*)"), re.compile(r"\+\+\+ (\S.*)")
_NOTHING = "/dev/null"
_HARMLESS = ("index ", "new file mode 100644", "similarity index", "dissimilarity index")
_REFUSED = {
    "new file mode": "a link or another special file",
    "old mode": "a file's mode",
    "new mode": "a file's mode",
    "deleted file mode": "a file's existence",
    "rename from": "a file's name",
    "rename to": "a file's name",
    "copy from": "a file's name",
    "copy to": "a file's name",
    "Binary files": "a binary file",
    "GIT binary patch": "a binary file",
}


def read_patch(response: str) -> list[Change]:
    """The changes that a response asks for, in their order. Raises PatchError.

    All search/replace blocks count, or else all diffs. With both it is unclear what is meant.
    """
    lines = split_lines(response)
    blocks = any(_SEARCH.match(line) for line in lines)
    diffs = any(_OLD.match(line) and _NEW.match(following) for line, following in pairwise(lines))
    git = any(line.startswith("diff --git ") for line in lines)
    if blocks and (diffs or git):
        raise PatchError("malformed", "there are search/replace blocks and a diff; give one")
    if blocks:
        return list(_read_blocks(lines))
    if diffs or git:
        return list(_read_diff(lines))
    if any(_REPLACE.match(line) for line in lines):
        raise PatchError("malformed", "a block has no line <<<<<<< SEARCH")
    raise PatchError("no_patch", "there is neither a search/replace block nor a diff")


def write_patch(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A patch from `before` to the changed files `after` that `read_patch` reads back exactly.

    Raises PatchError for files that no notation can hold.
    """
    for write in (_write_diff, _write_whole_diff, _write_blocks):
        text = "\n".join(line for path in sorted(after) for line in write(path, before, after))
        with suppress(PatchError):
            if apply_changes(read_patch(text), before) == dict(after):
                return text
    raise PatchError("malformed", f"the changes of {', '.join(sorted(after))} cannot be written")


def _write_diff(
    path: str, before: Mapping[str, str], after: Mapping[str, str], context: int = 3
) -> list[str]:
    old = before.get(path)
    lines = difflib.unified_diff(
        split_lines(old or ""), split_lines(after[path]),
        _NOTHING if old is None else f"a/{path}", f"b/{path}", lineterm="", n=context,
    )  # fmt: skip
    return list(lines)


def _write_whole_diff(path: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """With the whole file as context, so that it fits in one place alone."""
    return _write_diff(path, before, after, len(split_lines(before.get(path) or "")))


def _write_blocks(path: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    old, new = split_lines(before.get(path) or ""), split_lines(after[path])
    return [path, "<<<<<<< SEARCH", *old, "=======", *new, ">>>>>>> REPLACE"]


def _read_blocks(lines: list[str]) -> Iterator[Change]:
    path, number = None, 0
    while number < len(lines):
        if not _SEARCH.match(lines[number]):
            number += 1
            continue
        path = _path_above(lines, number) or path
        if path is None:
            raise PatchError("malformed", f"line {number + 1}: no path stands above the block")
        old, number = _until(_DIVIDER, lines, number + 1, "=======")
        new, number = _until(_REPLACE, lines, number + 1, ">>>>>>> REPLACE")
        yield Change(path, tuple(old) or None, tuple(new))


def _until(end: re.Pattern[str], lines: list[str], start: int, name: str) -> tuple[list[str], int]:
    """The lines up to the one that matches `end`, and its place."""
    for number in range(start, len(lines)):
        if end.match(lines[number]):
            return lines[start:number], number
        if _SEARCH.match(lines[number]):
            break
    raise PatchError("malformed", f"line {start}: the block has no line {name}")


def _path_above(lines: list[str], number: int) -> str | None:
    """The path named on the last line above a block that is neither empty nor a fence."""
    for line in reversed(lines[max(0, number - 4) : number]):
        if _REPLACE.match(line):
            return None
        if not line.strip() or _FENCE.match(line):
            continue
        match = _PATH.fullmatch(line.strip(_DECORATION))
        named = match[1].removeprefix("./") if match else ""
        return named if "." in named or "/" in named else None
    return None


def _read_diff(lines: list[str]) -> Iterator[Change]:
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("diff --git "):
            number = _read_extended(lines, number + 1)
            continue
        if not _begins_file(lines, number):
            number += 1
            continue
        path, is_new = _read_names(lines[number], lines[number + 1])
        changes, number = _read_hunks(lines, number + 2, path, is_new)
        yield from changes


def _begins_file(lines: list[str], number: int) -> bool:
    following = lines[number + 1] if number + 1 < len(lines) else ""
    return bool(_OLD.match(lines[number]) and _NEW.match(following))


def _read_extended(lines: list[str], number: int) -> int:
    """Read git's own header lines; returns the place of what follows them."""
    while number < len(lines):
        line = lines[number]
        if line.startswith(_HARMLESS):
            number += 1
            continue
        for start, what in _REFUSED.items():
            if line.startswith(start):
                raise PatchError("forbidden_path", f"the diff changes {what}: {line[:80]}")
        break
    if not (number < len(lines) and _begins_file(lines, number)):
        raise PatchError("malformed", "a `diff --git` line is followed by no change")
    return number


def _read_names(old: str, new: str) -> tuple[str, bool]:
    """The path that two header lines name, and whether the file is new."""
    before, after = (line[4:].split("\t")[0].strip().removeprefix("./") for line in (old, new))
    if after == _NOTHING:
        raise PatchError("forbidden_path", f"the diff deletes {before}")
    if after.startswith("b/") and (before == _NOTHING or before.startswith("a/")):
        before, after = before.removeprefix("a/"), after[2:]
    if before not in (_NOTHING, after):
        raise PatchError("forbidden_path", f"the diff renames {before} to {after}")
    return after, before == _NOTHING


def _read_hunks(lines: list[str], number: int, path: str, is_new: bool) -> tuple[list[Change], int]:
    changes: list[Change] = []
    while number < len(lines) and (header := _HUNK.match(lines[number])):
        body: list[str] = []
        number += 1
        while number < len(lines) and _is_body(lines, number):
            body.append(lines[number])
            number += 1
        while body and not body[-1]:
            body.pop()  # blank lines after the diff; an empty context line has a space
        body = [line for line in body if not line.startswith("\\")]
        old = tuple(line[1:] for line in body if line[:1] != "+")
        new = tuple(line[1:] for line in body if line[:1] != "-")
        if is_new and (old or changes):
            raise PatchError("malformed", f"{path} is new, and the diff has old lines of it")
        line = int(header[1]) if header[1] else None
        changes.append(Change(path, None if is_new else old, new, line))
    if not changes:
        raise PatchError("malformed", f"{path}: no hunk (@@ -a,b +c,d @@) follows its name")
    if number < len(lines) and lines[number][:1] in ("+", "-", "@") and lines[number].strip():
        raise PatchError("malformed", f"{path}: what is {lines[number][:60]!r}?")
    return changes, number


def _is_body(lines: list[str], number: int) -> bool:
    line = lines[number]
    if _HUNK.match(line) or _begins_file(lines, number):
        return False
    return not line or line[0] in " +-\\"
