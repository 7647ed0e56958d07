"""A model as judge of whether an answer means what the reference means (R1 §2.3.3).

It sees the question, the reference and the extracted answer only, never the reasoning. Its reply
counts only if its last line is exactly the JSON asked for. Answers that say nothing never reach it,
since judges are known to accept some of them (arXiv 2507.08794: a lone colon, "Solution"); and a
seeded share of the questions is asked again with a wrong reference, which measures how often it
says yes to anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from string import Template
from typing import Any, Literal, NamedTuple

from factory.core.nouns import Message
from factory.core.resources import data_path
from filters.base import Ask
from filters.verify import exact

Opinion = Literal["judge_correct", "judge_wrong", "malformed"]

MAX_SPAN = 600
MAX_QUESTION = 6_000

_SEPARATOR = "\n=====\n"
_VERDICTS: dict[str, Opinion] = {"correct": "judge_correct", "incorrect": "judge_wrong"}
_FILLER = re.compile(
    r"(?:(?:the|final|my|correct|your)\s+)*(?:answer|solution|result|thought process|conclusion)"
    r"(?:\s+is)?|let'?s (?:solve|think).*|step by step|as (?:above|requested)|reference",
    re.IGNORECASE,
)


class Question(NamedTuple):
    """What a judge is asked about."""

    question: str
    reference: str
    extracted: str


def judgeable(extracted: str | None) -> bool:
    """Whether an answer says anything: a letter or digit, and more than an announcement."""
    if not extracted or len(extracted) > MAX_SPAN:
        return False
    said = " ".join(re.findall(r"[^\W_]+(?:'\w+)?", extracted))
    return bool(said) and not _FILLER.fullmatch(said)


def reference_of(verifier: Mapping[str, Any] | None) -> str | None:
    """The reference a prompt's verifier holds, in words; None where it is not an answer."""
    if verifier is None:
        return None
    answer = verifier.get("answer")
    if verifier.get("kind") == "gym":
        entry = verifier.get("entry")
        answer = entry.get("answer") if isinstance(entry, Mapping) else None
    if verifier.get("kind") == "choice" and answer is not None:
        letters = answer if isinstance(answer, list) else [answer]
        choices = verifier.get("choices") or {}
        named = (
            f"{letter}. {choices[letter]}" if letter in choices else str(letter)
            for letter in letters
        )
        return "; ".join(named)
    if answer is None:
        return None
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def conversation(asked: Question) -> list[Message]:
    """The messages that put a question to a judge."""
    return filled_in(
        "judge/equivalence.txt",
        question=as_data(asked.question, MAX_QUESTION),
        reference=as_data(asked.reference, MAX_SPAN * 4),
        extracted=as_data(asked.extracted, MAX_SPAN),
    )


def read_reply(reply: str) -> Opinion:
    """The opinion on a reply's last line; anything but the exact form is malformed.

    >>> read_reply('Both are one half.\\n{"verdict": "correct"}')
    'judge_correct'
    """
    verdict = said_last(reply, "verdict")
    return _VERDICTS.get(verdict, "malformed") if isinstance(verdict, str) else "malformed"


def said_last(reply: str, key: str) -> Any:
    """The value in a reply whose last line is a JSON object of just this key, otherwise None."""
    lines = reply.strip().splitlines()
    try:
        last = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        return None
    return last[key] if isinstance(last, dict) and last.keys() == {key} else None


def judge(questions: Sequence[Question], ask: Ask) -> list[Opinion]:
    """Opinions on `questions`, each a `judgeable` one, in order."""
    if not questions:
        return []
    replies = ask([conversation(asked) for asked in questions])
    if len(replies) != len(questions):
        raise ValueError(f"{len(replies)} replies to {len(questions)} questions")
    return [read_reply(reply) for reply in replies]


def canaries(asked: Mapping[str, Question], share: float, seed: int = 0) -> dict[str, Question]:
    """For a seeded share of questions (by sample id), the same with a reference that is wrong.

    Wrong for certain: exact arithmetic must find it different from the answer, or, among words,
    it must be another question's reference.
    """
    references = sorted({question.reference for question in asked.values()})
    chosen = {}
    for name, question in asked.items():
        draw = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8])
        if draw >= share * 2**64:
            continue
        others = [other for other in references if other != question.reference]
        candidates = [*_neighbours(question.extracted), *_rotated(others, draw)[:16]]
        wrong = next((c for c in candidates if exact.compare(c, question.extracted) is False), None)
        if wrong is not None:
            chosen[name] = question._replace(reference=wrong)
    return chosen


def _neighbours(extracted: str) -> list[str]:
    """A number near the answer: the hardest wrong reference to tell apart."""
    try:
        return [str(int(extracted.strip()) + 1)] if len(extracted) < 40 else []
    except ValueError:
        return []


def _rotated(items: list[str], by: int) -> list[str]:
    at = by % len(items) if items else 0
    return items[at:] + items[:at]


def as_data(text: str, limit: int) -> str:
    """Text as data inside tags: bounded, and unable to close them."""
    return text[:limit].replace("</", "<\\/")


def filled_in(file: str, **fields: str) -> list[Message]:
    """The messages of a judge's instructions that ship with the project, such as
    judge/equivalence.txt: the system turn and, below a rule, the form of the user's."""
    system, user = _template(file)
    asked = user.substitute(fields)
    return [Message(role="system", content=system), Message(role="user", content=asked)]


@cache
def _template(file: str) -> tuple[str, Template]:
    system, _, user = data_path(file).read_text("utf-8").partition(_SEPARATOR)
    return system.strip(), Template(user.strip())
