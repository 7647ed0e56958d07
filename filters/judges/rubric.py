"""A judge that answers the items of a rubric one by one, with two more whose answers are known.

These canaries ask whether a word is in the response: one that is, and one that is made up. A judge
that says yes to everything, or no, is wrong about one of them, and then its other answers for this
response count for nothing: the opinion is `malformed`, so that the sample is undecided.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from factory.core.nouns import Message
from filters.base import Ask
from filters.judges.equivalence import (
    MAX_QUESTION,
    Opinion,
    as_data,
    fill_template,
    read_last_line,
)
from filters.verify import rubric

MAX_RESPONSE = 12_000
_WORD = re.compile(r"[^\W\d_]{4,20}")
_LETTERS = "bdfgklmnprstvz"


class Rubric(NamedTuple):
    """What a judge is asked about one response."""

    question: str
    response: str
    items: Sequence[rubric.Ask]


class Graded(NamedTuple):
    """What a judge said of one response. `fooled`: it was wrong about a canary."""

    opinion: Opinion
    detail: str | None
    fooled: bool


def list_questions(spec: Mapping[str, Any] | None) -> list[rubric.Ask]:
    """The items of a rubric that are for a judge."""
    return [item for item in rubric.read_items(spec or {}) if isinstance(item, rubric.Ask)]


def judge_rubrics(asked: Mapping[str, Rubric], ask: Ask) -> dict[str, Graded]:
    """Ask a judge every item of every rubric, and the canaries. By the same names."""
    items = {name: [*found.items, *canaries(name, found.response)] for name, found in asked.items()}
    questions = [(name, item) for name, listed in items.items() for item in listed]
    if not questions:
        return {}
    replies = ask([conversation(asked[name], item.ask) for name, item in questions])
    if len(replies) != len(questions):
        raise ValueError(f"{len(replies)} replies to {len(questions)} questions")
    said: dict[str, list[str | None]] = {name: [] for name in asked}
    for (name, _), reply in zip(questions, replies, strict=True):
        said[name].append(read_answer(reply))
    return {
        name: _grade(items[name], answers, len(asked[name].items)) for name, answers in said.items()
    }


def _grade(items: Sequence[rubric.Ask], answers: Sequence[str | None], own: int) -> Graded:
    fooled = any(
        answer is not None and answer != item.expect
        for item, answer in zip(items[own:], answers[own:], strict=True)
    )
    if fooled:
        return Graded("malformed", "the judge was wrong about a canary", True)
    for item, answer in zip(items[:own], answers[:own], strict=True):
        if answer is not None and answer != item.expect:
            return Graded("judge_wrong", f"{answer}: {item.ask[:200]}", False)
    if None in answers:
        return Graded("malformed", "the judge gave no clear answer", False)
    return Graded("judge_correct", None, False)


def canaries(name: str, response: str) -> list[rubric.Ask]:
    """Two items whose answers are certain. `name` seeds the choice, so that it stays the same."""
    draw = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8])
    shown = shorten(response)
    words = sorted({word.casefold() for word in _WORD.findall(shown)})
    made_up = _make_up(draw)
    while made_up in shown.casefold():
        draw = draw * 7 + 1
        made_up = _make_up(draw)
    found = [rubric.Ask(ask=_CONTAINS.format(made_up), expect="no")]
    if words:
        found.append(rubric.Ask(ask=_CONTAINS.format(words[draw % len(words)]), expect="yes"))
    return found


_CONTAINS = "Does the reply contain the word “{}”, in any case?"


def _make_up(draw: int) -> str:
    """A word of consonants and vowels in turn, which no language needs to have."""
    made = ""
    for place in range(8):
        letters = _LETTERS if place % 2 == 0 else "aeiou"
        made += letters[draw % len(letters)]
        draw //= len(letters)
    return made


def conversation(asked: Rubric, item: str) -> list[Message]:
    """Return the messages that ask one item. The middle of a long response is left out."""
    return fill_template(
        "judge/rubric.txt",
        question=as_data(asked.question, MAX_QUESTION),
        response=as_data(shorten(asked.response), 2 * MAX_RESPONSE),
        asked=as_data(item, MAX_QUESTION),
    )


def shorten(text: str) -> str:
    """Return a text without the middle of it, if it is long."""
    if len(text) <= MAX_RESPONSE:
        return text
    return f"{text[: MAX_RESPONSE // 2]}\n[…]\n{text[-MAX_RESPONSE // 2 :]}"


def read_answer(reply: str) -> str | None:
    """Return yes or no from a reply's last line, or None if it is not in the exact format.

    >>> read_answer('It speaks of the lamp.\\n{"answer": "yes"}')
    'yes'
    """
    answer = read_last_line(reply, "answer")
    return answer if answer in ("yes", "no") else None
