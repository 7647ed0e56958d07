"""A judge model that reviews matches of a rule list.

Rules on phrases are cheap and complete, but wrong about quotations, denials and invented examples.
The judge sees each marked passage and may clear it. Without a clear reply the sample is undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import polars as pl

from factory.core.nouns import Message
from filters.base import Ask, Rule
from filters.judges.client import Endpoint, JudgeClient
from filters.judges.equivalence import MAX_QUESTION, as_data, fill_template, read_last_line

Opinion = Literal["right", "wrong", "malformed"]

AROUND = 1_000  # characters before and after a mark that the judge sees


class Mark(NamedTuple):
    """A match of a rule in a sample."""

    reason: str
    rule: str
    span: str
    question: str
    passage: str


def extract_passage(text: str, start: int, end: int) -> str:
    """Return the passage around a match, for the judge."""
    return text[max(0, start - AROUND) : end + AROUND]


def review_marks(
    marks: Mapping[str, Iterator[Mark]], judge: Endpoint | None
) -> list[tuple[str, Mark, Opinion | None]]:
    """Return (sample id, mark, opinion) for each marked sample.

    Without a judge it is the first mark. With a judge it is the first mark that the judge does not
    clear, or else the last one.
    """
    first = {name: mark for name, own in marks.items() if (mark := next(own, None))}
    if judge is None or not first:
        return [(name, mark, None) for name, mark in first.items()]
    with JudgeClient(judge) as ask:
        return [(name, *found) for name, found in _review(first, marks, ask).items()]


def _review(
    asked: Mapping[str, Mark], marks: Mapping[str, Iterator[Mark]], ask: Ask
) -> dict[str, tuple[Mark, Opinion]]:
    found: dict[str, tuple[Mark, Opinion]] = {}
    while asked:
        replies = ask([conversation(mark) for mark in asked.values()])
        for (name, mark), reply in zip(asked.items(), replies, strict=True):
            found[name] = mark, read_opinion(reply)
        cleared = [name for name in asked if found[name][1] == "wrong"]
        asked = {name: more for name in cleared if (more := next(marks[name], None))}
    return found


def conversation(mark: Mark) -> list[Message]:
    """Return the messages that ask whether a mark is right."""
    description = f"{mark.reason.replace('_', ' ')}: {mark.span}"
    return fill_template(
        "judge/suspicion.txt",
        question=as_data(mark.question, MAX_QUESTION),
        mark=as_data(description, AROUND),
        passage=as_data(mark.passage, 4 * AROUND),
    )


def read_opinion(reply: str) -> Opinion:
    """Return the opinion on a reply's last line. Any other format is `malformed`.

    >>> read_opinion('It only quotes a film.\\n{"mark": "wrong"}')
    'wrong'
    """
    opinion = read_last_line(reply, "mark")
    return opinion if opinion in ("right", "wrong") else "malformed"


def review_rules(rules: Iterable[Rule], metric: str) -> list[Rule]:
    """Change rules to follow the judge's opinion in the column `metric`.

    Cleared samples pass. Samples without a clear reply are undecided.
    """
    opinion = pl.col(metric)
    undecided = [
        Rule("judge_undecided", opinion == "malformed", metric, "a clear reply", "undecided")
    ]
    return undecided + [replace(rule, when=rule.when & (opinion == "right")) for rule in rules]
