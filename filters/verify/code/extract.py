"""Finding the program in a response: its last fenced block in the language asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from filters.verify.prose.fences import Block, blocks
from filters.verify.prose.marks import find_marks

Language = Literal["python", "cpp"]

MAX_PROGRAM = 200_000
"""Characters. Contest sites take 64 kB; beyond this a "program" is a table or a runaway."""

_TAGS: dict[str, Language] = {
    "python": "python",
    "py": "python",
    "cpp": "cpp",
    "c++": "cpp",
    "cc": "cpp",
    "cxx": "cpp",
}
_DIALECT = re.compile(r"[0-9]+[a-z]?$")  # python3, c++17, cpp2a
_NO_CODE: dict[Language, re.Pattern[str]] = {
    "python": re.compile(r"\s*(?:#|$)"),
    "cpp": re.compile(r"\s*(?://|$)"),
}
_SESSION = re.compile(r"\s*>>> ")


def last_program(response: str, language: Language) -> str | None:
    """The last closed block tagged with `language` that holds code; without any, the last one with
    no tag; without any block at all, what the `<answer>` section holds.

    Blocks in an `<answer>` section come before those outside it. An untagged block at the end is
    more often a sample of the output than the program, hence the order. A block that is cut off is
    none, nor is one of comments alone or one that quotes a session (`>>> f(1)`).

    >>> last_program("```python\\nprint(1)\\n```\\nprints\\n```\\n1\\n```", "python")
    'print(1)\\n'
    """
    sections = [mark.text for mark in find_marks(response) if mark.how == "tag" and mark.text]
    section = sections[-1] if sections else ""
    for text in (section, response):
        program = _last(blocks(text), language)
        if program is not None:
            return program
    return section if section and "```" not in section and "~~~" not in section else None


def _last(found: Iterable[Block], language: Language) -> str | None:
    tagged = untagged = None
    for block in found:
        if not _holds_code(block.text, language):
            continue
        if _language(block.tag) == language:
            tagged = block.text
        elif not block.tag:
            untagged = block.text
    return tagged if tagged is not None else untagged


def _holds_code(text: str, language: Language) -> bool:
    lines = [line for line in text.splitlines() if not _NO_CODE[language].match(line)]
    return bool(lines) and not _SESSION.match(lines[0])


def _language(tag: str) -> Language | None:
    return _TAGS.get(_DIALECT.sub("", tag))
