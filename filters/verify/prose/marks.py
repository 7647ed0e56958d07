"""Where a response in prose gives its answer: boxes, tags, `####`, announcements; in linear time.

For answers that are letters, words or JSON. What a mark holds is left as it was written: there a
star, a bracket or a dollar sign may be the answer.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from filters.verify.prose.answer_line import BLANKS
from filters.verify.prose.phrases import last_announcement
from filters.verify.prose.surroundings import has_second_thought, is_taken_back

How = Literal["box", "tag", "hash", "phrase", "whole"]

MAX_LINE = 8_000
"""Characters read after a mark that has no end of its own."""

MAX_WHOLE = 200
"""A response of one line up to this long is itself the answer."""

_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*(?P<open>\{)?|\\[\s\S]|[{}]")
_BARE_BOX = re.compile(r"[A-Za-z0-9](?![A-Za-z0-9])")
_TAG = re.compile(r"<(?P<end>/?)answer>", re.IGNORECASE)
_HASHES = "####"
_HOPE = re.compile(r"\s*I hope (?:it|this) is correct\.?\s*$", re.IGNORECASE)
_MARKDOWN = re.compile(r"(?P<marks>\*\*\*|\*\*|\*|__|_|`)(?P<inside>[^\n]+)(?P=marks)[.。]?")
_UNCLOSED = re.compile(r"(?P<inside>[^*]+)(?P<marks>\*\*)[.:]?")


class Mark(NamedTuple):
    """An answer, what marked it, and where that ends. `text` is None where the mark is cut off."""

    start: int
    text: str | None
    how: How
    end: int


def find_marks(response: str) -> list[Mark]:
    """Every box and section of a response, and its last announcement, in order."""
    marks = [*_boxes(response), *_sections(response)]
    at = response.rfind(_HASHES)
    if at >= 0:
        marks.append(_said(response, at, at + len(_HASHES), "hash"))
    announced = last_announcement(response)
    if announced is not None and not any(_covers(mark, announced.start) for mark in marks):
        marks.append(_said(response, announced.start, announced.end, "phrase"))
    return sorted(marks)


def find_answer(response: str, *prefer: How) -> Mark | None:
    """The last mark of the first kind in `prefer` that occurs, else the last mark of any kind,
    else the whole of a response that is one short line."""
    marks = find_marks(response)
    for how in prefer:
        of_kind = [mark for mark in marks if mark.how == how]
        if of_kind:
            return of_kind[-1]
    return marks[-1] if marks else whole_answer(response)


def whole_answer(response: str) -> Mark | None:
    """A response that is one short line."""
    whole = response.strip()
    short = 0 < len(whole) <= MAX_WHOLE and "\n" not in whole
    return Mark(0, unmark(whole), "whole", len(response)) if short else None


def is_withdrawn(response: str, mark: Mark) -> bool:
    """Whether what stands around the last mark of a response takes it back."""
    if mark.how in ("box", "tag"):
        return is_taken_back(response, mark.start, mark.end, mark.text or "")
    return has_second_thought(response, mark.end, mark.text or "")


def unmark(text: str) -> str:
    """Without space and Markdown around the whole of it; `A*` and `*` stay what they are.

    >>> unmark(" **Oslo** ")
    'Oslo'
    """
    text = text.strip()
    while (wrapped := _MARKDOWN.fullmatch(text)) and wrapped["marks"] not in wrapped["inside"]:
        text = wrapped["inside"].strip()
    return text


def _boxes(response: str) -> list[Mark]:
    """The outermost boxes; one that is never closed holds None and hides what follows."""
    first = min((at for at in map(response.find, ("\\boxed", "\\fbox")) if at >= 0), default=-1)
    if first < 0:
        return []
    found: list[Mark] = []
    depth, start, content = 0, -1, -1
    for token in _TOKEN.finditer(response, first):
        if start < 0:
            if token["open"]:
                depth, start, content = 1, token.start(), token.end()
            elif token[0].startswith(("\\boxed", "\\fbox")):
                bare = _BARE_BOX.match(response, token.end())
                end = bare.end() if bare else token.end()
                found.append(Mark(token.start(), bare[0] if bare else None, "box", end))
        elif token["open"] or token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
            if depth == 0:
                text = response[content : token.start()].strip()
                found.append(Mark(start, text, "box", token.end()))
                start = -1
    return [*found, Mark(start, None, "box", len(response))] if start >= 0 else found


def _sections(response: str) -> list[Mark]:
    """The `<answer>` sections; one that is never closed holds None."""
    found: list[Mark] = []
    start: re.Match[str] | None = None
    for tag in _TAG.finditer(response):
        if not tag["end"]:
            start = tag
        elif start is not None:
            text = unmark(response[start.end() : tag.start()])
            found.append(Mark(start.start(), text, "tag", tag.end()))
            start = None
    return [*found, Mark(start.start(), None, "tag", len(response))] if start else found


def _covers(mark: Mark, place: int) -> bool:
    return mark.start <= place < mark.start + len(mark.text or "") + len("<answer>")


def _said(response: str, start: int, at: int, how: How) -> Mark:
    """The mark at `start` that is followed, from `at` on, by the first line with anything on it."""
    while at < len(response) and response[at] in " \t\r\n:：":
        at += 1
    end = response.find("\n", at)
    end = len(response) if end < 0 else end
    return Mark(start, _line(response[at : min(end, at + MAX_LINE)]), how, end)


def _line(line: str) -> str:
    """A line without what may close it."""
    line = _HOPE.sub("", BLANKS.sub("  ", line)).strip()
    if unclosed := _UNCLOSED.fullmatch(line):  # "**Answer: B**": it opened before the noun
        line = unclosed["inside"].strip()
    return unmark(line)
