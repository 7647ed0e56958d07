"""What stands around a box, a section or an announcement and takes it back or makes it a part of
something else: a line through it, $-\\boxed{12}$, "not \\boxed{12}", "\\boxed{12}. Wait, no."

Such an answer is none. Whether the words around it claim it, `claims` decides.
"""

from __future__ import annotations

import re

from filters.verify.prose.afterthoughts import is_kept, without_figures
from filters.verify.prose.claims import MAX_BEFORE, is_claimed
from filters.verify.prose.sentences import after_sentence

_STRUCK = re.compile(
    r"(?:~~|<(?:s|del|strike)>|<!--|\\(?:sout|[xb]?cancel|phantom|iffalse|begin\{comment\})"
    r"|(?:^|\n)[ \t]*%)[\s{$*]*$",
    re.IGNORECASE,
)
_JOINED_BEFORE = re.compile(
    r"(?:(?:\$|=|\\[(\[])[^$=\n]*[\w)}]\s*[-+−±]\s*|(?<![-−])[-+−±√¬]|\d|\d\s*\*\s*|[\w)}][/^_]|≠\s*"
    r"|\$[^$<>\n]*[^\s$<>=-]\s*[<>]\s*|[^\s=<>-]\s+[<>]\s*"
    r"|\\(?:cdot|times|div|[dt]?frac|sqrt|neq?|lt|gt|pm|mp|neg|lnot|log|ln|not|bar|overline)"
    r"(?:\{[^{}]{0,20}\}|\[[^\[\]]{0,9}\])?\s*|\$\s*[-−±]\s*\$\s*)(?:\{\s*)?$"
)
_JOINED_AFTER = re.compile(
    r"(?:[ \t]{0,8}\}?[ \t]{0,8}(?:\^(?!\s*\{?\s*\\(?:circ|degree))|_\s*[{\d]"
    r"|[+−-]\s*[\d\\]|\*\s*\d|/\s*[\d\\{]|\\(?:cdot|times|div|pm|mp|neq?|lt|gt)(?![A-Za-z])|!\s*\$)|\d|\.\d|[\s$]{0,4}(?:[×÷]\s*[$\d]|→|->|≠|<\s)"
    r"|[xyzn](?![A-Za-z])"
    r"|[\s$*]{0,8}(?:(?:million|billion|trillion|thousand|hundred|dozen)s?(?![A-Za-z])|[万亿千](?![米克])))"
)
_NOT_THE = re.compile(
    r"(?:(?<![^\W\d_])(?:wrong|incorrect|false|bad|worst|second|falsche|mauvaise|fausse"
    r"|неправильный|неверный)\s*|(?:错误|不正确)的?|間違っ(?:た|ている)|틀린\s*)$"
    r"|(?<![^\W\d_])in$",
    re.IGNORECASE,
)


def is_taken_back(
    response: str, start: int, end: int, text: str = "", trusted: bool = False
) -> bool:
    """Whether the mark at `start` to `end`, the last of a response, is none of its answers.

    `text` is what the mark holds: "or 13" after it takes 12 back, and not 13.0. In a `trusted`
    response only what turns back does.

    >>> is_taken_back("It is not [12].", 10, 14), is_taken_back("It is [12].", 6, 10)
    (True, False)
    """
    before = response[max(0, start - MAX_BEFORE) : start]
    if any(mark.search(before) is not None for mark in (_STRUCK, _JOINED_BEFORE)):
        return True
    if _JOINED_AFTER.match(response, end) is not None:
        return True
    after = without_figures(response[end:])
    if trusted:
        return not is_kept(after_sentence(after), text, explained=True)
    return not is_claimed(before, after, text) or not is_kept(after_sentence(after), text)


def has_second_thought(response: str, start: int, text: str) -> bool:
    """Whether what follows an announced answer, from `start` on, takes it back."""
    return not is_kept(response[start:], text)


def is_supposed(response: str, start: int) -> bool:
    """Whether the announcement at `start` is denied or supposed, or announces what is no answer.

    >>> is_supposed("If the answer is 12", 3), is_supposed("If x > 0, the answer is 12", 14)
    (True, False)
    """
    before = response[max(0, start - MAX_BEFORE) : start]
    return is_misnamed(before) or not is_claimed(before, "", "")


def is_misnamed(before: str) -> bool:
    """Whether words before a noun make it no answer's: the wrong answer, die falsche Antwort."""
    return _NOT_THE.search(before) is not None
