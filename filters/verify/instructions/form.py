"""Checks of a response's form: length, paragraphs, lists, marks, sections, JSON."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from filters.verify.instructions.base import Bounds, Check, Finding
from filters.verify.instructions.counting import (
    count_bullets,
    count_headings,
    count_lines,
    count_sentences,
    count_words,
    split_paragraphs,
)

Mark = Annotated[str, StringConstraints(min_length=1, max_length=100)]

_PLACEHOLDER = re.compile(r"\[[^\[\]\n]{1,100}\]")
_LINK = re.compile(r"\[[^\[\]\n]{1,100}\]\(")
_TITLE = re.compile(r"<<([^<>\n]{1,200})>>")
_HIGHLIGHT = re.compile(r"(?<![*\w])(\*{1,2})(?=[^\s*])([^*\n]{1,300})(?<=[^\s*])\1(?![*\w])")
_BLOCK = re.compile(r"\A\s*(?:```|~~~)(?:json)?[ \t]*\n(.*?)\n[ \t]*(?:```|~~~)\s*\Z", re.DOTALL)


class WordCount(Bounds):
    """The number of words."""

    check: Literal["words"] = "words"

    def judge(self, response: str) -> Finding:
        return self.within(*count_words(response))

    def describe(self) -> str:
        return f"Write {self.bound()} words."


class SentenceCount(Bounds):
    """The number of sentences."""

    check: Literal["sentences"] = "sentences"

    def judge(self, response: str) -> Finding:
        return self.within(*count_sentences(response))

    def describe(self) -> str:
        return f"Write {self.bound()} sentences."


class LineCount(Bounds):
    """The number of lines that are not blank."""

    check: Literal["lines"] = "lines"

    def judge(self, response: str) -> Finding:
        return self.within(count_lines(response))

    def describe(self) -> str:
        return f"Write {self.bound()} lines."


class ParagraphCount(Bounds):
    """The number of paragraphs: between blank lines, or between lines of a separator."""

    check: Literal["paragraphs"] = "paragraphs"
    separator: Mark = "blank"

    def judge(self, response: str) -> Finding:
        return self.within(len(split_paragraphs(response, self.separator)))

    def describe(self) -> str:
        between = "a blank line" if self.separator == "blank" else f"a line with {self.separator}"
        return f"Write {self.bound()} paragraphs, with {between} between them."


class ParagraphStart(Check):
    """A paragraph, by its number from 1, begins with a word."""

    check: Literal["paragraph_start"] = "paragraph_start"
    paragraph: int = Field(ge=1, le=100)
    word: Mark

    def judge(self, response: str) -> Finding:
        parts = split_paragraphs(response)
        if len(parts) < self.paragraph:
            return Finding(False, f"there are {len(parts)} paragraphs")
        text = parts[self.paragraph - 1].lstrip("#*_>\"'“- \t").casefold()
        word = self.word.casefold()
        after = text[len(word) : len(word) + 1]
        return Finding(text.startswith(word) and not after.isalnum(), f"it starts {text[:30]!r}")

    def describe(self) -> str:
        return f"Begin paragraph {self.paragraph} with the word {self.word!r}."


class Bullets(Bounds):
    """The number of bullet points. Nested ones may be counted or not."""

    check: Literal["bullets"] = "bullets"

    def judge(self, response: str) -> Finding:
        return self.within(*count_bullets(response))

    def describe(self) -> str:
        return f"Give {self.bound()} bullet points, each on a line that begins with `* `."


class Numbered(Bounds):
    """The number of items of numbered lists."""

    check: Literal["numbered"] = "numbered"

    def judge(self, response: str) -> Finding:
        return self.within(*count_bullets(response, numbered=True))

    def describe(self) -> str:
        return f"Give a numbered list (1., 2., …) of {self.bound()} items."


class Headings(Bounds):
    """The number of Markdown headings."""

    check: Literal["headings"] = "headings"

    def judge(self, response: str) -> Finding:
        return self.within(count_headings(response))

    def describe(self) -> str:
        return f"Use {self.bound()} Markdown headings, each on a line that begins with `#`."


class Title(Check):
    """There is a title in double angular brackets."""

    check: Literal["title"] = "title"

    def judge(self, response: str) -> Finding:
        found = _TITLE.search(response)
        return Finding(found is not None and bool(found[1].strip()))

    def describe(self) -> str:
        return "Give the response a title in double angular brackets, such as <<a title>>."


class Highlights(Bounds):
    """The number of passages between asterisks."""

    check: Literal["highlights"] = "highlights"

    def judge(self, response: str) -> Finding:
        return self.within(sum(1 for _ in _HIGHLIGHT.finditer(response)))

    def describe(self) -> str:
        return f"Highlight {self.bound()} passages with asterisks, such as *a passage*."


class Sections(Bounds):
    """The number of sections: lines that begin with a mark and a number, counted from 1."""

    check: Literal["sections"] = "sections"
    mark: Mark = "SECTION"

    def judge(self, response: str) -> Finding:
        pattern = rf"^[ \t#*_]*{re.escape(self.mark)}[ \t]+(\d{{1,4}})\b"
        numbers = re.findall(pattern, response, re.MULTILINE | re.IGNORECASE)
        if [int(number) for number in numbers] != list(range(1, len(numbers) + 1)):
            return Finding(False, f"the sections are numbered {', '.join(numbers[:20])}")
        return self.within(len(numbers))

    def describe(self) -> str:
        return f"Divide the response into {self.bound()} sections. Begin each with " + (
            f"{self.mark} 1, {self.mark} 2 and so on, on a line of its own."
        )


class Placeholders(Bounds):
    """The number of different placeholders in square brackets. Links are none."""

    check: Literal["placeholders"] = "placeholders"

    def judge(self, response: str) -> Finding:
        found = _PLACEHOLDER.findall(_LINK.sub("(", response))
        return self.within(len(set(found)), len(found))

    def describe(self) -> str:
        return f"Use {self.bound()} placeholders in square brackets, such as [address]."


class Postscript(Check):
    """The last paragraph begins with a mark such as P.S."""

    check: Literal["postscript"] = "postscript"
    mark: Mark = "P.S."

    def judge(self, response: str) -> Finding:
        wanted = _letters(self.mark)
        lines = [line for line in response.splitlines() if line.strip()]
        starts = [index for index, line in enumerate(lines) if _letters(line).startswith(wanted)]
        if not starts:
            return Finding(False, f"no line begins with {self.mark}")
        line = lines[starts[-1]].strip(" \t*_")
        exact = line[: len(self.mark)].casefold() == self.mark.casefold()
        return Finding(True if exact else None, f"a line begins {line[:20]!r}")

    def describe(self) -> str:
        return f"At the end, add a postscript that begins with {self.mark}"


class Json(Check):
    """The whole response is one JSON value, an object or a list; a code fence may surround it."""

    check: Literal["json"] = "json"

    def judge(self, response: str) -> Finding:
        fenced = _BLOCK.match(response)
        try:
            value = json.loads(fenced[1] if fenced else response.strip())
        except (ValueError, RecursionError) as error:
            return Finding(False, f"no JSON: {getattr(error, 'msg', 'nested too deeply')}")
        return Finding(isinstance(value, dict | list), type(value).__name__)

    def describe(self) -> str:
        return "Write the whole response as one JSON object. A Markdown code fence is allowed."


class Responses(Check):
    """Several different responses, between lines of a separator."""

    check: Literal["responses"] = "responses"
    exactly: int = Field(2, ge=2, le=20)
    separator: Mark = "******"

    def judge(self, response: str) -> Finding:
        parts = split_paragraphs(response, self.separator)
        different = len(set(parts)) == len(parts)
        seen = f"{len(parts)} responses" + ("" if different else ", two of them the same")
        return Finding(len(parts) == self.exactly and different, seen)

    def describe(self) -> str:
        return f"Give {self.exactly} different responses. Between them, write a line with only " + (
            f"{self.separator} and nothing else."
        )


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text[:200].lower())
