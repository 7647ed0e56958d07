"""A model as judge of whether an answer is equivalent to the reference (R1 §2.3.3).

The judge gets the question, the reference and the extracted answer, but not the reasoning. Its
reply counts only if the last line is exactly the requested JSON. Empty answers are never sent,
since judges accept some of them (arXiv 2507.08794: a lone colon, "Solution"). A random share of the
questions is repeated with a wrong reference (canaries), to measure the false positive rate.
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


class JudgeQuestion(NamedTuple):
    """A question, its reference and an extracted answer, for a judge."""

    question: str
    reference: str
    extracted: str


def is_judgeable(extracted: str | None) -> bool:
    """Return whether an answer has content: a letter or digit, and more than filler words."""
    if not extracted or len(extracted) > MAX_SPAN:
        return False
    words = " ".join(re.findall(r"[^\W_]+(?:'\w+)?", extracted))
    return bool(words) and not _FILLER.fullmatch(words)


def format_reference(verifier: Mapping[str, Any] | None) -> str | None:
    """Return the reference of a prompt's verifier as text, or None if it has no answer."""
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


def conversation(asked: JudgeQuestion) -> list[Message]:
    """Return the messages that ask a judge."""
    return fill_template(
        "judge/equivalence.txt",
        question=as_data(asked.question, MAX_QUESTION),
        reference=as_data(asked.reference, MAX_SPAN * 4),
        extracted=as_data(asked.extracted, MAX_SPAN),
    )


def read_reply(reply: str) -> Opinion:
    """Return the opinion on a reply's last line. Any other format is `malformed`.

    >>> read_reply('Both are one half.\\n{"verdict": "correct"}')
    'judge_correct'
    """
    verdict = read_last_line(reply, "verdict")
    return _VERDICTS.get(verdict, "malformed") if isinstance(verdict, str) else "malformed"


def read_last_line(reply: str, key: str) -> Any:
    """Return the value if a reply's last line is a JSON object with only this key, else None."""
    lines = reply.strip().splitlines()
    try:
        last = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        return None
    return last[key] if isinstance(last, dict) and last.keys() == {key} else None


def judge(questions: Sequence[JudgeQuestion], ask: Ask) -> list[Opinion]:
    """Opinions on `questions`, each a `is_judgeable` one, in order."""
    if not questions:
        return []
    replies = ask([conversation(asked) for asked in questions])
    if len(replies) != len(questions):
        raise ValueError(f"{len(replies)} replies to {len(questions)} questions")
    return [read_reply(reply) for reply in replies]


def canaries(
    asked: Mapping[str, JudgeQuestion], share: float, seed: int = 0
) -> dict[str, JudgeQuestion]:
    """Return a random share of the questions (by sample id), each with a wrong reference.

    The reference is certainly wrong: exact arithmetic finds it different from the answer. It is a
    neighbouring number or another question's reference.
    """
    references = sorted({question.reference for question in asked.values()})
    chosen = {}
    for name, question in asked.items():
        draw = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8])
        if draw >= share * 2**64:
            continue
        others = [other for other in references if other != question.reference]
        candidates = [*_neighbours(question.extracted), *_rotate(others, draw)[:16]]
        wrong = next((c for c in candidates if exact.compare(c, question.extracted) is False), None)
        if wrong is not None:
            chosen[name] = question._replace(reference=wrong)
    return chosen


def _neighbours(extracted: str) -> list[str]:
    """Return a number next to the answer: the wrong reference that is hardest to detect."""
    try:
        return [str(int(extracted.strip()) + 1)] if len(extracted) < 40 else []
    except ValueError:
        return []


def _rotate(items: list[str], by: int) -> list[str]:
    at = by % len(items) if items else 0
    return items[at:] + items[:at]


def as_data(text: str, limit: int) -> str:
    """Escape and shorten a text that is put inside tags."""
    return text[:limit].replace("</", "<\\/")


def fill_template(file: str, **fields: str) -> list[Message]:
    """Fill a shipped judge template, such as judge/equivalence.txt, and return its messages.

    The file has the system turn, a separator line, and the template of the user turn.
    """
    system, user = _template(file)
    asked = user.substitute(fields)
    return [Message(role="system", content=system), Message(role="user", content=asked)]


@cache
def _template(file: str) -> tuple[str, Template]:
    system, _, user = data_path(file).read_text("utf-8").partition(_SEPARATOR)
    return system.strip(), Template(user.strip())
