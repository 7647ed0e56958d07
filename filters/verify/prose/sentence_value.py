"""The value in a sentence that answers in words: "Janet makes $18 every day at the market."

A sentence is read only where somebody or something does or has the value: a verb of the list below
comes before it, with a few plain words between at most. It holds no other number, but one that a
preposition places ("$64 for 16 glasses"), and no word that denies, doubts, compares or supposes.
"""

from __future__ import annotations

import re

from filters.verify.maths.vocabulary import word_set
from filters.verify.prose.answer_line import DOUBT
from filters.verify.prose.word_classes import (
    COMPARE,
    NOT,
    PART,
    SAYS,
    UNFINISHED,
    find_words,
    says_any,
)

MAX_SENTENCE = 300

_VERBS = word_set(
    """
    is are equals
    has have had gets get got receives receive received earns earn earned makes make made
    pays pay paid spends spend spent costs cost owes owe owed saves save saved
    needs need needed requires require required takes take took lasts last lasted
    uses use used eats eat ate drinks drink drank reads read writes write wrote
    runs run ran walks walk walked travels travel traveled travelled drives drive drove
    sells sell sold buys buy bought collects collect collected gives give gave
    bakes bake baked plants plant planted picks pick picked scores score scored
    weighs weigh weighed contains contain contained holds hold held totals
    produces produce produced completes complete completed
    """
)
_LABELS = word_set(
    """
    the these those each all every both some any no other another number step case line day week
    month year hour minute page room class grade level problem question equation figure part
    first second third next last previous remaining only just
    in on at for from of with by to after before during over under within per until since about
    around against among into than as and or if when while
    """
)
"""Words that make the number after them a part of something else."""

_NUMBER = r"(?:\\?\$|£|€)?[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?(?:\\?%)?"
_UNIT = (
    r"(?:\s(?!(?:a|an|each|every|per|more|less|fewer|times?|on|in|at|for|from|of|with|by|to|after|"
    r"before|during|over|and|or|as|out|altogether|total|left|if|when|that|because|so|now|away|"
    r"apart|is|are|was|were|long|tall|wide|deep|high|old)\b)[A-Za-z]+(?:\sper\s[A-Za-z]+)?)?"
)
_VALUE = re.compile(
    r"(?<![\w.,/^*+=×÷<>−–-])(?:"
    rf"\*\*(?P<bold>{_NUMBER}{_UNIT})\*\*"
    rf"|\$(?P<formula>{_NUMBER})\$(?P<after>{_UNIT})"
    rf"|\\\((?P<inline>{_NUMBER})\\\)(?P<later>{_UNIT})"
    rf"|(?P<plain>{_NUMBER}(?![\w/^*+=×÷<>]){_UNIT}))"
)
_OPERATOR = re.compile(r"[=+*/^×÷<>≤≥≠≈±√−–|\\{}_~]|(?<!\w)-|-(?!\w)|:\d")
_PLACED = re.compile(
    r"(?<!\w)(?:for|in|after|at|on|during|over|from|within|out of|of)\s+(?:(?:the|his|her|their|"
    r"all|those|these|its|a|each)\s+)?(?:\\?\$)?\d[\d,]*(?:\.\d+)?\s+[A-Za-z]+"
)
_OPEN = UNFINISHED | {COMPARE, NOT, PART, SAYS}
_NUMBER_WORDS = word_set(
    """
    one two three four five six seven eight nine ten eleven twelve dozen hundred thousand million
    half halves quarter quarters third thirds fifth fifths tenth tenths both
    """
)
_EARLIER = word_set(
    """
    before initially originally original previously previous earlier first then next remaining
    another start starts beginning tried already still
    """
)
MAX_BETWEEN = 4
"""Words between the verb and the value: "gives her chickens", "needs to pay"."""


def is_open(text: str) -> bool:
    """Whether words deny, doubt, compare or suppose, or speak of an earlier step."""
    return says_any(find_words(text), _OPEN, _EARLIER)


def sentence_value(sentence: str) -> str | None:
    """The value that a sentence says somebody or something has, with its unit; None of any other.

    >>> sentence_value("Janet makes $18 every day."), sentence_value("Janet sells the 18 eggs.")
    ('$18', None)
    """
    sentence = sentence.strip()
    if len(sentence) > MAX_SENTENCE or DOUBT.search(sentence) is not None:
        return None
    if re.search(r"[.!?;:。](?:\*\*)?\s+\S", sentence) is not None:
        return None  # more than one sentence
    found = _VALUE.search(sentence)
    if found is None:
        return None
    before, after = sentence[: found.start()], sentence[found.end() :]
    if any(map(str.isdigit, before)) or _OPERATOR.search(before + " " + after) is not None:
        return None
    if any(map(str.isdigit, _PLACED.sub(" ", after))) or re.match(r"\s*(?:and|or|,)\s", after):
        return None
    words, later = find_words(before), find_words(after)
    said = [word for word in words if word.text.lower() not in _VERBS]
    if not words or any(says_any(some, _OPEN, _NUMBER_WORDS | _EARLIER) for some in (said, later)):
        return None
    plain = [word.text.lower() for word in words]
    verbs = [place for place, word in enumerate(plain) if word in _VERBS]
    if not verbs or verbs[-1] == 0 or len(plain) - verbs[-1] - 1 > MAX_BETWEEN:
        return None
    between = plain[verbs[-1] + 1 :]
    total = between[-3:] in (["a", "total", "of"], ["an", "average", "of"], ["a", "profit", "of"])
    if between and between[-1] in _LABELS and not total:
        return None
    return "".join(part for part in found.groups() if part)
