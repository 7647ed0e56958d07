"""Whether a sentence claims the answer that is marked in it.

Not by phrases, which nobody could list, but by how classes of words act on a claim:

- before the mark, in its own clause, nothing denies, doubts, supposes, compares, reports or takes a
  part of it. A denial in a noun phrase is about the noun ("the number of n not divisible by 3 is");
- after it, in its sentence, stand a unit or a noun, a reason, a denied other value ("not 13"); no
  contrast, no other value, no verdict on the answer.

What is doubtful claims nothing: a refused answer costs a sample, a wrong one spoils the corpus.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from filters.verify.prose.clause_after import is_doubtful_after
from filters.verify.prose.clause_before import SELF, is_doubtful_before, last_clause
from filters.verify.prose.sentences import first_sentence, last_sentence, plain
from filters.verify.prose.word_classes import (
    AND,
    CONTRARY,
    DOUBT,
    IF,
    INSIDE,
    KNOW,
    NOT,
    SO,
    WOULD,
    find_words,
    has,
)

MAX_BEFORE = 400
MAX_AFTER = 4_000
"""Characters read before and after a mark; of a longer text also as many at its end."""


MAX_UNSURE = 60
MAX_UNSURE_WORDS = 8
"""Size of a sentence that says no more than that one does not know."""

_GIVES_UP = re.compile(
    r"(?:^|\W)(?:(?:i|we)(?:['’]ll)? give up|no (?:idea|clue)|keine ahnung|aucune idée|"
    r"ni idea|nessuna idea|non (?:lo )?so|понятия не имею)\W*$|"
    r"不知道$|不清楚$|わからない$|(?:分か|わか)りません$|모르겠",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()]*\)|（[^（）]*）")
CROSS = re.compile(r"[✗✘❌👎]")
_ASKED = re.compile(r"[?？]|吗[。]?\s*$|でしょうか|ですか")
_COUNTED = re.compile(r"[$\s)}\]\\]*(?!(?:here|there)\b)(?:[^\W\d_]{2}|[\u3040-\uffff])")


def is_claimed(before: str, after: str, text: str) -> bool:
    """Whether the sentence around a mark claims the `text` that it holds.

    `before` and `after` are what stands around the mark in the response.

    >>> is_claimed("So the answer is ", ".", "12"), is_claimed("It is at least ", ".", "12")
    (True, False)
    >>> is_claimed("", " is too small.", "12"), is_claimed("It is ", ", not 13.", "12")
    (False, True)
    """
    earlier = before[-MAX_BEFORE:]
    sentence = last_sentence(earlier)
    head = plain(sentence)
    rest, mark = first_sentence(after[:MAX_AFTER])
    if _ASKED.search(mark) is not None or _ASKED.search(rest[-12:]) is not None:
        return False
    if CROSS.search(head + rest) is not None or CROSS.match(
        after[len(rest) + len(mark) :].lstrip()
    ):
        return False
    counted = _COUNTED.match(rest) is not None and not has(find_words(rest)[:1], INSIDE)
    lead = _read_lead(head, counted)
    if lead.doubtful:
        return False
    if lead.would and any({IF, CONTRARY} & word.classes for word in find_words(rest)):
        return False  # "It would be 12 had we kept the ties"
    if len(sentence) < len(earlier) and _is_unsure(earlier[: -len(sentence) or None]):
        return False
    said = plain(rest)
    return not is_doubtful_after(said, text, bare=lead.bare, concluded=lead.concluded)


class _Lead(NamedTuple):
    """What the words of a sentence before a mark do: claim nothing, say what would be, name no
    subject so that the mark is one, draw a conclusion."""

    doubtful: bool
    would: bool
    bare: bool
    concluded: bool


@lru_cache(maxsize=4096)
def _read_lead(head: str, counted: bool) -> _Lead:
    """Most responses lead up to their answer in one of few sentences, which are read once."""
    spoken = (
        _ASIDE.sub(lambda aside: " " * len(aside[0]), head) if "(" in head or "（" in head else head
    )
    words = find_words(spoken)
    clause = last_clause(head, words)
    doubtful = is_doubtful_before(head, words, clause, counted=counted)
    said = [word for word in words if word.start >= clause]
    piece = max(head.rfind(mark, 0, len(head.rstrip(" ,，"))) for mark in ",，;；—") + 1
    lead = [word for word in words if word.start >= min(clause, piece)]
    bare = (
        all({SO, AND} & word.classes for word in lead)
        and not set("=:：") & set(head[clause:])
        and (bool(said) or not any(map(str.isalnum, head[clause:])))
    )
    concluded = any(SO in word.classes for word in words)
    return _Lead(doubtful, has(words, WOULD), bare, concluded)


def _is_unsure(earlier: str) -> bool:
    """Whether what comes before a sentence ends in one that gives up: "I don't know." """
    said = plain(last_sentence(earlier.rstrip().rstrip(".!…。 ")))
    if len(said) > MAX_UNSURE:
        return False
    if _GIVES_UP.search(said) is not None:
        return True
    words = find_words(said)
    if not words or len(words) > MAX_UNSURE_WORDS:
        return False
    own = words[0].text.lower() in SELF
    return (own and has(words, DOUBT)) or (has(words, NOT) and has(words, KNOW))


def is_supposition(sentence: str) -> bool:
    """Whether a sentence says what would be if something were so."""
    words = find_words(plain(sentence))
    return has(words, WOULD) and (has(words, IF) or has(words, CONTRARY))
