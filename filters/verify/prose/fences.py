"""Fenced blocks of Markdown, as models write them; in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_OPEN = re.compile(r"(?P<indent>[ \t]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_ONE_LINE = re.compile(r"[ \t]*(?P<marks>`{3,})(?P<tag>[\w+#.-]*)(?P<text>[^`]+)(?P=marks)[ \t.]*")
_TAG = re.compile(r"[{.\s]*(?P<tag>[\w+#-]+)")


class Block(NamedTuple):
    """A closed fenced block: its tag in lower case, or empty; its text; where it lies."""

    tag: str
    text: str
    start: int
    end: int


def blocks(text: str) -> Iterator[Block]:
    """The closed blocks of `text`, in order. A block that is cut off is none.

    >>> [(block.tag, block.text) for block in blocks("```python:main.py\\nx\\n```\\n")]
    [('python', 'x\\n')]
    """
    opened: re.Match[str] | None = None
    lines: list[str] = []
    start = at = 0
    for raw in text.split("\n"):
        following = at + len(raw) + 1
        line = raw.removesuffix("\r")
        fence = _OPEN.fullmatch(line)
        if opened is not None:
            if fence and _closes(fence, opened):
                yield Block(_tag(opened["info"]), "".join(lines), start, following)
                opened = None
            else:
                lines.append(_outdent(raw, len(opened["indent"])) + "\n")
        elif fence:
            opened, lines, start = fence, [], at
        elif one := _ONE_LINE.fullmatch(line):
            yield Block(one["tag"].lower(), one["text"].strip() + "\n", at, following)
        at = following


def _tag(info: str) -> str:
    """The language of an info string: `python3`, `{.python}`, `python:main.py`, `py title="x"`."""
    found = _TAG.match(info)
    return found["tag"].lower() if found else ""


def _closes(fence: re.Match[str], opened: re.Match[str]) -> bool:
    return fence["marks"].startswith(opened["marks"]) and not fence["info"].strip()


def _outdent(line: str, indent: int) -> str:
    """A fence in a list is indented, and the block's lines with it."""
    lead = len(line) - len(line.lstrip(" \t"))
    return line[min(lead, indent) :]
