"""Reference answers of mathematics as data sets write them: read like a response, once, at load.

GSM8K keeps a whole solution that ends in `#### 6`, MATH one with a single box, others a count with
its noun. Some were written as JSON without escaping their LaTeX, so that a reader of the JSON made
a tab of the `\\t` of `\\text`.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from filters.verify.prose.marks import find_marks

How = Literal["restored escapes", "read out of a solution", "left out a noun"]

_COMMANDS = {
    "\t": r"(?:ext(?:bf|it|rm|sf|tt)?|frac|imes|heta|riangleq?|ilde|herefore|binom|au)(?![A-Za-z])"
    r"|anh?(?=[({\\^_\d]|\s*\\|\s+[a-z]\b)",
    "\f": r"[A-Za-z]",
    "\b": r"[A-Za-z]",
    "\r": r"(?:ight|ightarrow|angle|ceil|floor|ho|m|oot)(?![A-Za-z])",
    "\n": r"(?:eq|abla|otin)(?![A-Za-z])",
}
"""Control character → how a LaTeX command goes on behind it. Nobody writes a form feed or a
backspace into an answer; a tab or a line end may be meant."""

_LETTERS = {"\t": "t", "\f": "f", "\b": "b", "\r": "r", "\n": "n"}
_EATEN = re.compile("|".join(f"{re.escape(c)}(?={rest})" for c, rest in _COMMANDS.items()))

_WITH_NOUN = re.compile(
    r"(?P<number>[-+]?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?)\s*"
    r"\((?P<noun>[A-Za-z][A-Za-z'-]{2,}(?: [A-Za-z'-]+){0,5}|[A-Z][A-Z]|"
    r"(?:[cmk]?[mgl]|[cmk]?L|kg|mg|ft|in|mi|yd|lbs?|oz|hrs?|min|mph|s|h)(?: ?\^?[23²³])?)\)"
)
_NO_NOUN = frozenset(("mod", "base", "modulo", "approx", "approximately", "exact", "exactly"))

_SAYS_NOTHING = re.compile(
    r"(?:(?:please\s+)?(?:see|refer\s+to|as\s+in|check)\s+(?:the\s+)?(?:full\s+)?(?:above|below|"
    r"(?:attached\s+|worked\s+)?(?:solutions?|proofs?|explanations?|answers?|text|figure|steps))|"
    r"(?:the\s+)?proofs?(?:\s+(?:is\s+)?(?:above|below|omitted|complete))?|proved|proven|shown|"
    r"(?:to\s+be\s+)?(?:proved|proven|shown)(?:\s+above)?|q\.?\s?e\.?\s?d\.?|"
    r"(?:answers?\s+(?:may\s+)?var(?:y|ies))|not\s*found|n/?a|tbd|todo|null|nan|"
    r"(?:no|not)\s+(?:answer|available|provided|given)(?:\s+(?:is\s+)?(?:provided|given))?|"
    r"证明(?:略|见上|过程略)?|略|见(?:解析|答案|上)|无答案)[\s.。!]*",
    re.IGNORECASE,
)


class Read(NamedTuple):
    """An answer as it will be compared, and what was done to it."""

    answer: str
    how: How | None


def read_answer(text: str) -> Read:
    """The answer in what a data set gives as one.

    >>> read_answer("She eats 2 + 4 = 6 apples. #### 6")
    Read(answer='6', how='read out of a solution')
    >>> read_answer("\\text{no}").how is None
    True
    """
    restored = _EATEN.sub(lambda found: "\\" + _LETTERS[found[0]], text)
    answer = _out_of_solution(restored)
    if answer != restored:
        return Read(answer, "read out of a solution")
    if restored != text:
        return Read(restored, "restored escapes")
    counted = _WITH_NOUN.fullmatch(text.strip())
    if counted and counted["noun"].split()[0].lower() not in _NO_NOUN:
        return Read(counted["number"], "left out a noun")
    return Read(text, None)


def says_nothing(answer: str) -> bool:
    """Whether a reference only points elsewhere: "see solution", "proof", "answers may vary"."""
    bare = re.sub(r"\\(?:text|textbf|mathrm|boxed)\s*\{([^{}]*)\}", r"\1", answer).strip(" $*")
    return bool(_SAYS_NOTHING.fullmatch(bare))


def _out_of_solution(text: str) -> str:
    """What the one mark of a solution holds; the text itself where there is none or several."""
    marks = [mark for mark in find_marks(text) if mark.how in ("box", "hash")]
    hashes = [mark for mark in marks if mark.how == "hash"]
    chosen = hashes or marks
    different = {mark.text for mark in chosen}
    (answer,) = different if len(different) == 1 else (None,)
    return answer or text
