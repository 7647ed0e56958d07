"""A judge model asked about what a rule list marked, and about nothing else.

Rules that a phrase decides are cheap and complete, and wrong about quotations, denials and made-up
examples. A judge that sees each marked passage may clear it; where it gives no clear reply the
sample stays undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import polars as pl

from factory.core.nouns import Message
from filters.base import Ask, Rule
from filters.judges.client import Endpoint, JudgeClient
from filters.judges.equivalence import MAX_QUESTION, as_data, filled_in, said_last

Opinion = Literal["right", "wrong", "malformed"]

AROUND = 1_000  # characters on each side of a mark that the judge sees


class Mark(NamedTuple):
    """What a rule found in a sample."""

    reason: str
    rule: str
    span: str
    question: str
    passage: str


def around(text: str, start: int, end: int) -> str:
    """The passage that a judge is shown of a match."""
    return text[max(0, start - AROUND) : end + AROUND]


def settled(
    marks: Mapping[str, Iterator[Mark]], judge: Endpoint | None
) -> list[tuple[str, Mark, Opinion | None]]:
    """Each marked sample's first mark; with a judge, the first that it does not clear, else the
    last, and what it says of it.
    """
    first = {name: mark for name, own in marks.items() if (mark := next(own, None))}
    if judge is None or not first:
        return [(name, mark, None) for name, mark in first.items()]
    with JudgeClient(judge) as ask:
        return [(name, *found) for name, found in _asked(first, marks, ask).items()]


def _asked(
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
    """The messages that ask whether a mark is right."""
    said = f"{mark.reason.replace('_', ' ')}: {mark.span}"
    return filled_in(
        "judge/suspicion.txt",
        question=as_data(mark.question, MAX_QUESTION),
        mark=as_data(said, AROUND),
        passage=as_data(mark.passage, 4 * AROUND),
    )


def read_opinion(reply: str) -> Opinion:
    """The opinion on a reply's last line; anything but the exact form is malformed.

    >>> read_opinion('It only quotes a film.\\n{"mark": "wrong"}')
    'wrong'
    """
    said = said_last(reply, "mark")
    return said if said in ("right", "wrong") else "malformed"


def judged_rules(rules: Iterable[Rule], metric: str) -> list[Rule]:
    """The rules, where `metric` holds the judge's opinion: what it cleared passes, and what it gave
    no clear reply on is undecided."""
    opinion = pl.col(metric)
    undecided = [
        Rule("judge_undecided", opinion == "malformed", metric, "a clear reply", "undecided")
    ]
    return undecided + [replace(rule, when=rule.when & (opinion == "right")) for rule in rules]
