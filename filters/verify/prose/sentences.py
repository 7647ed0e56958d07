"""The sentences of a response, as words without LaTeX and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from filters.verify.prose.stated_values import write_fractions

_END = re.compile(
    r"(?<![.!?…])(?:(?<!i\.e)(?<!e\.g)(?<!z\.B)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bSt)(?<!\bProf)(?<!\bvs)\.|[!?…])[.!?…]*(?:\\[\])]|[)\]\"'”*_$}])*(?=\s|$|[A-Z(]|\\end)|[;；](?=\s)|"
    r"[。！？；]+[”」』）*]*|\n\s*"
)
_TEXT_COMMAND = re.compile(r"\\(?:text\w{0,2}|mathrm|emph)\s*\{([^{}]*)\}")
_MARKUP = re.compile(
    r"\\(?:begin|end)\{[^{}]*\}|</?[A-Za-z_|｜][^<>\n]{0,30}>|\\[A-Za-z]+\*?|\\.|[$*_`~{}#>|\"“”]"
)


def plain(text: str) -> str:
    """A text without LaTeX commands and Markdown: its words and numbers."""
    text = write_fractions(text)
    return _MARKUP.sub(" ", _TEXT_COMMAND.sub(r" \1 ", text))


def last_sentence(before: str) -> str:
    """The part of the mark's sentence before it; a line that ends without a stop goes on."""
    ends = [*_END.finditer(before)]
    for end in reversed(ends):
        stops = not end[0].isspace()
        if stops or any(map(str.isalpha, _MARKUP.sub("", before[end.end() :]))):
            return before[end.end() :]
    return before


def first_sentence(after: str) -> tuple[str, str]:
    """The part of the mark's sentence after it, and what ends it."""
    end = _END.search(after)
    return (after, "") if end is None else (after[: end.start()], end[0])


def after_sentence(after: str) -> str:
    """What follows the mark's own sentence in what follows the mark."""
    rest, mark = first_sentence(after)
    return after[len(rest) + len(mark) :]


def split_sentences(after: str) -> Iterator[str]:
    at = 0
    for end in _END.finditer(after):
        if after[at : end.end()].strip():
            yield after[at : end.end()]
        at = end.end()
    if after[at:].strip():
        yield after[at:]
