"""What stands around a box, a section or an announcement and takes it back or makes it a part of
something else: "not \\boxed{12}", "\\boxed{12} is wrong", "\\boxed{12}. Wait, no.", $-\\boxed{12}$.

Such an answer is none. All of it is found near the mark, or at the start of a later sentence.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_BEFORE = 100
MAX_AFTER = 8_000
MAX_DIGITS = 60

_OPENING = r"[\s$*(\[{\\\"“]*(?:the\s+answer\s+|l['’]|la\s+)?[\s$*(\[{\\]*$"
_DENIED = re.compile(
    r"(?:(?<![^\W\d_])(?:not|never|neither|nor|cannot|instead\s+of|rather\s+than|other\s+than"
    r"|unlike|except|anything\s+but|nicht|kein\w*|statt|pas|plutôt\s+que|au\s+lieu\s+de|no\s+es"
    r"|en\s+lugar\s+de|não\s+é|non\s+è|invece\s+di|не|вместо)|[a-z]n['’]t"
    r"|不是|并非|而非|不等于|不選|不选)"
    r"(?:\s+(?:be|equal|equals|to|write|say|answer|choose|pick|put))*" + _OPENING,
    re.IGNORECASE,
)
_MISTAKEN = re.compile(
    r"(?:(?:mistake|(?:wrong|incorrect|false)\s+(?:answer|result|value|option|choice))"
    r"(?:\s+(?:is|was|would\s+be|may\s+be)(?:\s+to\s+\w+)?|\s*[:：])"
    r"|wrong\s+to\s+\w+(?:\s+that)?"
    r"|(?:ruled?|ruling)\s+out|reject(?:s|ed)?|exclude[sd]?|eliminate[sd]?|discard(?:s|ed)?"
    r"|(?:many|most|some|people|students)\s+(?:would|might|may)\s+(?:say|answer|guess|think))"
    + _OPENING,
    re.IGNORECASE,
)
_STRUCK = re.compile(
    r"(?:~~|<(?:s|del|strike)>|<!--|\\(?:sout|[xb]?cancel|phantom|iffalse|begin\{comment\})"
    r"|(?:^|\n)[ \t]*%)[\s{$*]*$",
    re.IGNORECASE,
)
_JOINED_BEFORE = re.compile(
    r"(?:(?:\$|=|\\[(\[])[^$=\n]*[\w)}]\s*[-+−±]\s*|(?<![-−])[-+−±√¬]|\d|\d\s*\*\s*|[\w)}][/^_]|≠\s*"
    r"|\$[^$<>\n]*[^\s$<>=-]\s*[<>]\s*|[^\s=<>-]\s+[<>]\s*"
    r"|\\(?:cdot|times|div|[dt]?frac|sqrt|neq?|lt|gt|pm|mp|neg|lnot|log|ln|not|bar|overline)"
    r"(?:\{[^{}]{0,20}\}|\[[^\[\]]{0,9}\])?\s*)(?:\{\s*)?$"
)
_JOINED_AFTER = re.compile(
    r"(?:[ \t]{0,8}\}?[ \t]{0,8}(?:\^(?!\s*\{?\s*\\(?:circ|degree))|_\s*[{\d]"
    r"|[+−-]\s*[\d\\]|\*\s*\d|/\s*[\d\\{]|\\(?:cdot|times|div|pm|mp|neq?|lt|gt)(?![A-Za-z])|!\s*\$)|\d|\.\d"
    r"|[xyzn](?![A-Za-z])"
    r"|[\s$*]{0,8}(?:(?:million|billion|trillion|thousand|hundred|dozen)s?(?![A-Za-z])|[万亿千]))"
)
_WRONG = r"(?:wrong|incorrect|false|mistaken|not\s+(?:right|correct))"
_DENIED_AFTER = re.compile(
    r"[\s$*\\)\]}.,;:?!—–-]{0,40}(?:~~|[✗✘❌]|</(?:s|del|strike)>|(?:no|nope)\s*[,.!:]|no\s+way|"
    rf"(?:hmm,?\s+|but\s+)?(?:that|this|it|they)(?:['’]s|\s+(?:is|are|was))\s+(?:\w+\s+)?{_WRONG}|"
    rf"{_WRONG}\s*(?:[.!,]|$)|\((?:wrong|incorrect|rejected|extraneous|invalid|false)\)|"
    r"(?:(?:is|was|seems|looks|would\s+be|ist|est|es|è|é|está)\s+"
    r"(?:(?:clearly|obviously|definitely|therefore|thus|also|the|an?|leider)\s+)*"
    r"(?:wrong|incorrect|false|mistaken|mistake|erroneous|impossible|invalid|rejected|excluded"
    r"|extraneous|ruled\s+out|what\s+(?:most|many|some)"
    r"|not\s+(?:the\s+)?(?:correct|right|true|valid|answer|possible)"
    r"|falsch|nicht|faux|fausse|pas|incorrect\w*|fals[oa]|errad[oa]|sbagliat[oa])"
    r"|isn['’]t\s+(?:the\s+)?(?:correct|right|answer)|should\s+(?:actually\s+)?be"
    r"|(?:cannot|can['’]t)\s+be\s+(?:correct|right|the\s+answer|true)|fails"
    r"|(?:does\s+not|doesn['’]t)\s+(?:work|hold|satisfy|fit)|i\s+doubt"
    r"|n['’]est\s+pas|no\s+es|non\s+è|não\s+é|неверно|не\s+(?:верн|подход))(?![A-Za-z])"
    r"|(?:是|显然)?(?:错|錯|不对|不對|不正确)|不是|(?:は|が)(?:間違|誤)|ではな|じゃな"
    r"|(?:은|는|이|가)\s*(?:틀|아니))",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"(?:^|[.!?;,:—–。！？，；\n]|\s-)[\s*_$\\)\]]{0,12}(?:but\s+|oh,?\s+)?(?:"
    r"(?:hmm+|wait(?!\s+time)|actually|oops|sorry|correction(?=\s*[:：])|scratch\s+that|just\s+kidding|nope"
    r"|on\s+second\s+thought|on\s+reflection|let\s+me\s+correct|edit(?=\s*:)|(?:ignore|disregard)"
    r"\s+(?:that|this|the\s+above|it)|i\s+(?:made\s+an?\s+(?:mistake|error)|was\s+(?:wrong|mistaken)))"
    r"(?![A-Za-z])|等等|不对|不對|错了|抱歉|更正"
    r"|(?:warte|moment(?=\s*[,.!…])|attends|attendez|espera|espere|aspetta|подожди|постой"
    r"|das\s+stimmt\s+nicht|c['’]est\s+faux)(?![^\W\d_])|待って|잠깐)",
    re.IGNORECASE,
)
_ANOTHER_VALUE = re.compile(
    r"(?<![A-Za-z])(?:it|this|that)\s+(?:should(?:\s+actually)?|(?:could|might|may)\s+(?:also|instead))"
    r"\s+be[\s$\\(]{1,6}(?P<number>-?\d[\d,]{0,40}(?:\.\d{1,40})?)",
    re.IGNORECASE,
)
_VERDICT = re.compile(r"(?<![A-Za-z])(?:yes|no|not|true|false|wrong|incorrect)(?![A-Za-z])", re.I)
"""Words that an explanation of the answer says again."""
_ALTERNATIVE = re.compile(
    r"[\s$*\\)\].,]{0,12}(?:or|oder|ou|或|または)\s+(?:maybe\s+|perhaps\s+|possibly\s+|even\s+)?"
    r"[$\\(]*(?P<number>-?\d[\d,]*(?:\.\d+)?)(?![\d/^\\])",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"(?<![^\W\d_])(?:if|whether|suppose|supposing|assume|assuming|unless|imagine|nobody|no\s+one"
    r"|claims|thinks|believes|refuse|(?:false|wrong)\s+that"
    r"|impossible|(?<!no\s)doubt|deny|wenn|falls|ob|si|supongamos|supposons|если)(?![^\W\d_])"
    r"[^.!?。！？\n]*$|(?:如果|假设|假設|もし|만약)[^.!?。！？\n]*$",
    re.IGNORECASE,
)
_QUALIFIED = re.compile(r"(?<![^\W\d_])(?:then|therefore|thus|hence|so)(?![^\W\d_])|[,，、]")
_NOT_THE = re.compile(
    r"(?:(?<![^\W\d_])(?:wrong|incorrect|false|bad|worst|second|falsche|mauvaise|fausse"
    r"|неправильный|неверный)\s*|(?:错误|不正确)的?|間違っ(?:た|ている)|틀린\s*)$"
    r"|(?<![^\W\d_])in$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def is_taken_back(response: str, start: int, end: int, text: str = "") -> bool:
    """Whether the mark at `start` to `end`, the last of a response, is none of its answers.

    `text` is what the mark holds: "or 13" after it takes 12 back, and not 13.0.

    >>> is_taken_back("It is not [12].", 10, 14), is_taken_back("It is [12].", 6, 10)
    (True, False)
    """
    before = response[max(0, start - MAX_BEFORE) : start]
    before_marks = (_DENIED, _MISTAKEN, _STRUCK, _JOINED_BEFORE)
    if any(mark.search(before) is not None for mark in before_marks):
        return True
    if _JOINED_AFTER.match(response, end) is not None:
        return True
    other = _ALTERNATIVE.match(response, end)
    if other is not None and differ(text, other["number"]):
        return True
    return has_second_thought(response, end, text)


def has_second_thought(response: str, start: int, text: str) -> bool:
    """Whether what follows from `start` on takes the answer `text` back."""
    if _DENIED_AFTER.match(response, start) is not None and _VERDICT.search(text) is None:
        return True
    after = response[start : start + MAX_AFTER]
    values = (found["number"] for found in _ANOTHER_VALUE.finditer(after))
    return _SECOND_THOUGHT.search(after) is not None or any(differ(text, v) for v in values)


def is_supposed(response: str, start: int) -> bool:
    """Whether the announcement at `start` is a supposition, or announces what is no answer.

    >>> is_supposed("If the answer is 12", 7), is_supposed("If x > 0, the answer is 12", 14)
    (True, False)
    """
    before = response[max(0, start - MAX_BEFORE) : start]
    if is_misnamed(before):
        return True
    found = _SUPPOSED.search(before)
    return found is not None and _QUALIFIED.search(before, found.start()) is None


def is_misnamed(before: str) -> bool:
    """Whether words before a noun make it no answer's: the wrong answer, die falsche Antwort."""
    return _NOT_THE.search(before) is not None


def differ(text: str, other: str) -> bool:
    """Whether both are plain numbers, and not the same.

    >>> differ("12", "13"), differ("12", "12.0"), differ("1/2", "13")
    (True, False, False)
    """
    values = [_number(side) for side in (text, other)]
    return None not in values and values[0] != values[1]


def _number(text: str) -> Fraction | None:
    plain = text.strip().strip("$*.。 \\()[]")
    if len(plain) > MAX_DIGITS or _NUMBER.fullmatch(plain) is None:
        return None
    return Fraction(plain.replace(",", ""))
