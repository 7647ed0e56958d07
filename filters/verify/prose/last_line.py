"""The answer in the last line of a response that marks none.

A line that concludes ("So the sum is 12."), states ("The number is 23."), names what it holds
("Result: 12"), has one value in bold, or says no more than "the answer is 12" in another language.
Such a line is read to its end: nothing else may stand in it.
"""

from __future__ import annotations

import re

from filters.verify.maths.vocabulary import word_set
from filters.verify.prose.answer_line import DOUBT, STATEMENT, plain_value
from filters.verify.prose.sentence_value import sentence_value
from filters.verify.prose.surroundings import is_taken_back
from filters.verify.prose.word_classes import PART, UNFINISHED, find_words, has, says_any

MAX_LINE = 8_000
"""Characters read after a mark that has no end of its own."""

MAX_WHOLE = 120
"""A response of one line up to this long is itself the answer."""

GUESS = re.compile(
    r"\b(?:guess|estimate|bound|candidate|attempt|try|example|case|option|step|first|next)s?\b",
    re.IGNORECASE,
)
"""What a statement of this is about is no answer."""

_RESULT = re.compile(
    r"\W*(?:result|ergebnis|résultat|resultado|risultato|результат|结果|結果|결과)"
    r"\*{0,2}\s*[:：]\*{0,2}\s*(?P<value>.{1,200}?)\.?",
    re.IGNORECASE,
)
"""A last line with the name of what it holds before it."""

_FORMULAS = re.compile(
    r"\s*(?:Therefore|Thus|Hence|So),?\s+"
    r"(?P<value>\$[^$]+\$(?:\s*(?:,|,?\s*(?:and|or))\s*\$[^$]+\$)*)\s*\.?"
)
"""A conclusion of formulas alone: "So $x=4$ or $x=10$."."""

_BOLD = re.compile(r"\*\*(?P<value>[^*\n]{1,80})\*\*")
_STATED = re.compile(
    r"(?P<subject>(?:The|Its|Their|His|Her)\s[^\d\n.,;:!?]{2,100}?)\s(?:is|are|equals)\s+"
    r"(?P<value>\$?-?\d[\d,]*(?:\.\d+)?\$?)\.?"
)
_BEFORE = word_set(
    """
    first before initially originally previous previously earlier was were had tried now next then
    remaining another away from last old original start starts
    zuerst vorher war waren hatte jetzt avant était étaient maintenant antes era eran ahora agora
    prima adesso сначала было был была теперь
    """
)
"""Words that place a value before the end of an argument."""

_CONCLUSION = re.compile(r"(?:^|[.!?]\s+|\s)(?P<word>(?:Therefore|Thus|Hence|So),?\s)")
_IN_ANOTHER_LANGUAGE = re.compile(
    r"\W*(?:(?:dus|więc|zatem|alltså|отже|vậy|do đó|sonuç olarak|إذن|لذلك|अतः),?\s+)?(?:"
    r"(?:het\s+)?(?:juiste\s+)?antwoord(?:\s+is|\s*:)|svaret(?:\s+är|\s*:)|svar\s*:"
    r"|(?:poprawna\s+|prawidłowa\s+)?odpowiedź(?:\s+to|\s*:)|(?:правильна\s+)?відповідь\s*[:—–-]"
    r"|(?:đáp án|câu trả lời)(?:\s+đúng|\s+cuối cùng)?(?:\s+là|\s*:)|(?:doğru\s+)?cevap\s*:"
    r"|(?:الجواب|الإجابة)(?:\s+(?:النهائي|النهائية|الصحيح|الصحيحة))?(?:\s+(?:هو|هي)|\s*:)"
    r"|(?:सही\s+)?उत्तर\s*:)\s*(?P<value>.{1,120}?)\s*[.。]?\s*",
    re.IGNORECASE,
)
"""Dutch, Swedish, Polish, Ukrainian, Vietnamese, Turkish, Arabic and Hindi: a whole line alone,
since what denies or doubts in them is not known here."""


def last_line_value(response: str) -> str | None:
    """What the last line of a response without a mark gives; None where that is no answer.

    >>> last_line_value("6 + 6 is easy.\\nThe sum is 12."), last_line_value("So it may be 12.")
    ('12', None)
    """
    tail = response[-MAX_LINE:].rstrip()
    line = tail[tail.rfind("\n") + 1 :]
    for pattern in (_RESULT, _IN_ANOTHER_LANGUAGE):
        named = pattern.fullmatch(line)
        if named is not None and DOUBT.search(line) is None:
            return plain_value(named["value"])
    return _emphasised(tail) or _concluded(line) or (_stated(line) if line != response else None)


def _concluded(line: str) -> str | None:
    """What the last sentence of a line concludes: "Therefore, the sum is 12." gives 12."""
    starts = [found.start("word") for found in _CONCLUSION.finditer(line)]
    if not starts:
        return None
    formulas = _FORMULAS.fullmatch(line, starts[-1])
    if formulas is not None:
        return plain_value(formulas["value"])
    said = sentence_value(line[starts[-1] :])
    if said is not None:
        return said
    found = STATEMENT.fullmatch(line[starts[-1] :].removesuffix(".").strip("*"))
    if found is None or DOUBT.search(found["subject"]) or len(found["value"]) > MAX_WHOLE:
        return None
    return plain_value(found["value"])


def _stated(line: str) -> str | None:
    """What a line of one plain sentence says its subject is: "The number is 23." gives 23."""
    found = _STATED.fullmatch(line)
    if found is None or any(word.search(found["subject"]) for word in (DOUBT, GUESS)):
        return None
    if _is_on_the_way(found["subject"]) or has(find_words(found["subject"]), PART):
        return None
    start, end = found.span("value")
    return None if is_taken_back(line, start, end, found["value"]) else found["value"].strip("$")


def _is_on_the_way(text: str) -> bool:
    """Whether words are about a step, an attempt, or what was before: "We tried 12 first."."""
    return says_any(find_words(text), UNFINISHED, _BEFORE)


def _emphasised(tail: str) -> str | None:
    """The one value in bold of the last line, where no other number is in its clause or others are
    placed by a preposition: "He pays **$18**." gives $18, "**$64** for 16 glasses" gives $64."""
    last = tail.rfind("\n") + 1
    sentence = tail[max(last, tail.rfind(". ") + 2) :]
    said = sentence_value(sentence)
    if said is not None and sentence.count("**") == 2 and f"**{said}**" in sentence:
        return said
    bold = [*_BOLD.finditer(tail, last)]
    if len(bold) != 1:
        return None
    before, after = tail[last : bold[0].start()], tail[bold[0].end() :]
    value, around = bold[0]["value"], before + after
    near = before.rpartition(", ")[2] + after
    digits = any(map(str.isdigit, value)) and not any(map(str.isdigit, near))
    if not digits or DOUBT.search(around) is not None or _is_on_the_way(around):
        return None
    if re.search(r"[.!?;:。]\W*\w", value[-1:] + after) is not None:
        return None  # a sentence more
    taken_back = is_taken_back(tail, bold[0].start(), bold[0].end(), value)
    return None if taken_back else plain_value(value).strip("* ")
