"""Cuts reasoning into steps: where each step ends, by one of a few rules.

R1 (v1 §4.2) dropped process rewards first of all because a fine-grained step of general reasoning
is hard to define. So the rule is named, here is all of it, and whoever trains or scores on steps
says which one was used:

rule        a step ends
paragraphs  after one or more blank lines
lines       after a line
sentences   after `.`, `!` or `?` and white space (not after a common abbreviation or the number of
            a list), after `。`, `！` or `？`, and after a line
numbered    before a line that begins with `Step 3`, `3.`, `3)` or `(3)`, with or without Markdown
equations   after `;` or a line, once the step has a digit
auto        as the first of numbered, paragraphs, lines, sentences and equations says that finds
            more than one step

No step ends within a fenced block of code (an unclosed one runs to the end of the text) or within
`$$…$$`, `\\[…\\]` or `\\(…\\)`. No step is only white space: it belongs to the step before it. The
last step ends with the text. So joined steps are the text, and the steps of a text that was cut
after a step are its first steps, for every rule but `auto`.

Labels of steps travel as rows `{"prompt_id", "question", "steps": [str], "labels": [float],
"kind": "soft" | "hard"}`: `labels[i]` is the chance (soft), or whether it is possible (hard: 0 or
1), that the answer is right after `steps[: i + 1]`. The joined steps are the start of a response,
with its `<think>` where the response has one. A row may have fewer labels than steps if nobody
judged the later ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

from factory.core.think import THINK_CLOSE, THINK_OPEN

StepRule = Literal["auto", "numbered", "paragraphs", "lines", "sentences", "equations"]

STEP_RULES: tuple[StepRule, ...] = get_args(StepRule)

STOPS: dict[StepRule, tuple[str, ...]] = {
    "paragraphs": ("\n\n",),
    "lines": ("\n",),
    "sentences": (". ", "! ", "? ", "\n", "。", "！", "？"),
    "equations": (";", "\n"),
}
"""Strings at which a model that writes one step may be stopped. The rules that look ahead have
none. A stop string within an equation or after an abbreviation ends no step: `is_complete_step`
says so, and the model goes on."""

_ENDS: dict[StepRule, re.Pattern[str]] = {
    "numbered": re.compile(
        r"^[ \t]*(?=(?:[#>*_-]{1,6}[ \t]*){0,3}(?:step[ \t]*\d|\(?\d{1,3}[.)](?!\d)))",
        re.IGNORECASE | re.MULTILINE,
    ),
    "paragraphs": re.compile(r"\n[ \t\r]*\n"),
    "lines": re.compile(r"\n"),
    "sentences": re.compile(r"[.!?][)\]\"'*_”’»]{0,4}(?=\s)|[。！？][”’」』）]{0,2}|\n"),
    "equations": re.compile(r"[;\n]"),
}

_ABBREVIATIONS = frozenset(
    "e.g|i.e|etc|vs|cf|eq|eqs|fig|figs|approx|resp|dr|mr|mrs|ms|prof|sec|thm".split("|")  # noqa: SIM905
)

_LAST_WORD = re.compile(r"[^\s(]*\Z")
_LIST_NUMBER = re.compile(r"(?:\A|\n)[ \t]*\(?\d{1,3}\Z")
_LONGEST_WORD = 40

_MARKS = re.compile(r"^[ \t]*```|\$\$|\\[\[\]()]|\\\\", re.MULTILINE)
_CLOSES = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}
_FENCE = "```"


def cut_steps(text: str, rule: StepRule = "auto") -> list[int]:
    """Return where the steps of a text end, in characters; the last end is the text's.

    >>> cut_steps("11 - 6 = 5\\n5 + 9 = 14", "lines")
    [11, 21]
    """
    if not text:
        return []
    return [*_inner_ends(text, name_rule(text) if rule == "auto" else rule), len(text)]


def cut_response(text: str, rule: StepRule = "auto") -> list[int]:
    """Return where the steps of a response end, in characters of the whole response.

    The reasoning is cut; `<think>` belongs to its first step, and what follows the reasoning is one
    last step. A response without think tags is cut whole.

    >>> cut_response("<think>11;5;</think>5", "equations")
    [10, 12, 21]
    """
    close = text.rfind(THINK_CLOSE)
    end = close if close >= 0 else len(text)
    start = text.find(THINK_OPEN, 0, end)
    start = 0 if start < 0 else start + len(THINK_OPEN)
    thinking = text[start:end]
    ends = [start + place for place in cut_steps(thinking, rule)] if thinking.strip() else []
    return ends if ends[-1:] == [len(text)] or not text else [*ends, len(text)]


def split_steps(text: str, rule: StepRule = "auto") -> list[str]:
    """Return the steps of a text. Joined, they are the text."""
    ends = cut_steps(text, rule)
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def name_rule(text: str) -> StepRule:
    """Return the rule that `auto` uses for a text; `lines` if none finds a second step."""
    for rule in _ENDS:
        if next(_inner_ends(text, rule), None) is not None:
            return rule
    return "lines"


def is_complete_step(text: str, rule: StepRule) -> bool:
    """Return whether the text ends where its last step ends, whatever may follow."""
    if not text.strip():
        return False
    return cut_steps(text + "x", rule)[:-1][-1:] == [len(text)]


def ends_step(text: str, rule: StepRule) -> bool:
    """Return whether the start of a response ends where a step of its reasoning ends."""
    opening = text.find(THINK_OPEN)
    thinking = text if opening < 0 else text[opening + len(THINK_OPEN) :]
    return THINK_CLOSE not in text and is_complete_step(thinking, rule)


def _inner_ends(text: str, rule: StepRule) -> Iterator[int]:
    """Yield where steps end within the text, in order."""
    kept = _kept_together(text)
    together = next(kept, None)
    scanned = 0  # where the search for something in this step goes on
    found = False
    for match in _ENDS[rule].finditer(text):
        while together is not None and together[1] <= match.start():
            together = next(kept, None)
        if together is not None and together[0] <= match.start() and together[0] < match.end():
            continue
        if match.start() < scanned:  # in white space that was skipped
            continue
        if match.group() == "." and _goes_on(text, match.start()):
            continue
        end = match.start() if rule == "numbered" else _skip_space(text, match.end())
        if end >= len(text):
            return
        found = found or _has_something(text[scanned:end], rule)
        scanned = end
        if found:
            yield end
            found = False


def _has_something(piece: str, rule: StepRule) -> bool:
    if rule == "equations":
        return any(character.isdigit() for character in piece)
    return bool(piece) and not piece.isspace()


def _skip_space(text: str, place: int) -> int:
    """Return the place after white space; where a new line is indented, the start of that line."""
    end = place
    while end < len(text) and text[end].isspace():
        end += 1
    line = text.rfind("\n", place - 1, end)
    return end if line < 0 or end == len(text) else line + 1


def _goes_on(text: str, dot: int) -> bool:
    """Return whether the sentence goes on after a dot: an abbreviation, or the number of a list."""
    before = text[max(0, dot - _LONGEST_WORD) : dot]
    word = _LAST_WORD.search(before)
    assert word is not None  # it matches the empty text
    return word.group().lower() in _ABBREVIATIONS or _LIST_NUMBER.search(before) is not None


def _kept_together(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each fenced block and each equation, in linear time."""
    marks = [(m.start(), m.end(), m.group().lstrip(" \t")) for m in _MARKS.finditer(text)]
    last = {mark: place for place, (_, _, mark) in enumerate(marks)}
    place = 0
    while place < len(marks):
        start, _, mark = marks[place]
        closing = _FENCE if mark == _FENCE else _CLOSES.get(mark)
        place += 1
        if closing is None:
            continue
        if last.get(closing, -1) < place:
            if mark == _FENCE:
                yield start, len(text)
                return
            continue
        while marks[place][2] != closing:
            place += 1
        yield start, marks[place][1]
        place += 1
