"""Finding the final answer of a response, in linear time.

A response is what follows the closed think section. Its answer is, in this order: the last
`\\boxed` or `\\fbox` (boxes that stand side by side are one answer), the last `<answer>` section,
what follows the last `####`, the last "Final answer:", "the answer is" or 答案, or the whole of a
response that is one short line. A box or section that is cut off is no answer.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

How = Literal["box", "tag", "hash", "phrase", "whole"]

MAX_LINE = 8_000
"""Characters read after a mark that has no end of its own."""

MAX_WHOLE = 120
"""A response of one line up to this long is itself the answer."""

MAX_BOXES = 16
MAX_PHRASES = 32

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*(?P<open>\{)?|\\[\s\S]|[{}]")
_BARE_BOX = re.compile(r"[^\s${}\\][^\s${}]{0,40}")
_BETWEEN_BOXES = re.compile(
    r"[\s$*,;&]*(?:\\\(|\\\)|and|or|和|或|\\text\{\s*(?:and|or)\s*\})?[\s$*,;&]*(?:\\\()?\s*"
)
_PHRASE = re.compile(
    r"(?:final\s+answer(?:\s+is)?|\banswer\s+is|\banswer(?=\s*[:：])|最终答案|答案)"
    r"(?:\s|\*|[:：是为】])*",
    re.IGNORECASE,
)
_HASHES = "####"
_DISPLAY = (("$$", "$$"), ("\\[", "\\]"), ("```", "```"))

# NFKC alone would read x² as x2, 10₂ as 102 and 3½ as 31/2: these go first.
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_RAISED = re.compile(f"[{_SUPERSCRIPTS}]+")
_LOWERED = re.compile(f"[{_SUBSCRIPTS}]+")
_FLATTEN = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-n" + "0123456789")
_VULGAR = re.compile(r"[¼-¾⅐-⅞]")
_SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": "\\times ",
        "·": "\\cdot ",
        "⋅": "\\cdot ",
        "÷": "/",
        "⁄": "/",
        "∕": "/",
        "π": "\\pi ",
        "∞": "\\infty ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\ne ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∅": "\\emptyset ",
        "°": "^\\circ ",
        "±": "\\pm ",
        "∓": "\\mp ",
        "、": ",",
        "。": ".",
    }
)
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9]+|[A-Za-z]))")


class Answer(NamedTuple):
    """A final answer as written, and what marked it."""

    text: str
    how: How


def fold(text: str) -> str:
    """Unicode mathematics as ASCII LaTeX: full-width forms, √, π, exponents, vulgar fractions.

    >>> fold("（３，x²）≤√2")
    '(3,x^{2})\\\\le \\\\sqrt{2}'
    """
    if text.isascii():
        return text
    text = _RAISED.sub(lambda found: "^{" + found[0].translate(_FLATTEN) + "}", text)
    text = _LOWERED.sub(lambda found: "_{" + found[0].translate(_FLATTEN) + "}", text)
    text = _VULGAR.sub(lambda found: " " + unicodedata.normalize("NFKC", found[0]), text)
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    return _ROOT.sub(lambda root: "\\sqrt{" + (root[1] or root[2] or root[3] or "") + "}", text)


def final_answer(response: str, *, prefer: tuple[How, ...] = ("box", "tag")) -> Answer | None:
    """The answer of a response, or None where it gives none.

    `prefer` orders the two explicit marks; if the first is there but cut off, there is no answer.
    """
    finders = {"box": _boxed, "tag": _tagged}
    for how in prefer:
        text = finders[how](response)
        if text is not None:
            return Answer(text, how) if text.strip() else None
    at = response.rfind(_HASHES)
    if at >= 0:
        return _line(response[at + len(_HASHES) :], "hash")
    phrase = _last_phrase(response)
    if phrase is not None:
        return _line(response[phrase.end() :], "phrase")
    whole = response.strip()
    if 0 < len(whole) <= MAX_WHOLE and "\n" not in whole:
        return Answer(_unmark(whole), "whole") if _unmark(whole) else None
    return None


def last_mark(response: str) -> Answer | None:
    """The answer at whichever mark comes last: for letters, where an early box may be scratch."""
    phrase = _last_phrase(response)
    marks: list[tuple[int, How]] = [
        (max(response.rfind("\\boxed"), response.rfind("\\fbox")), "box"),
        (response.rfind("<answer>"), "tag"),
        (response.rfind(_HASHES), "hash"),
        (phrase.start() if phrase else -1, "phrase"),
    ]
    at, how = max(marks)
    if at < 0:
        return final_answer(response)
    if how in ("box", "tag"):
        return final_answer(response, prefer=("tag", "box") if how == "tag" else ("box", "tag"))
    if how == "hash":
        return _line(response[at + len(_HASHES) :], how)
    assert phrase is not None
    return _line(response[phrase.end() :], how)


def _last_phrase(response: str) -> re.Match[str] | None:
    """The last phrase that announces an answer. Looks only near its rarest letters: a regular
    expression over the whole of a long response would take most of the time there is."""
    end = len(response)
    for _ in range(MAX_PHRASES):
        end = max(response.rfind(letters, 0, end) for letters in ("nswer", "NSWER", "答案"))
        if end < 0:
            return None
        for found in _PHRASE.finditer(response, max(0, end - 16), end + MAX_LINE):
            if found.start() <= end < found.end():
                return found
    return None


def _boxed(response: str) -> str | None:
    """What the last boxes hold; "" if the last one is cut off or empty, None if there is none."""
    first = min((at for at in map(response.find, ("\\boxed", "\\fbox")) if at >= 0), default=-1)
    if first < 0:
        return None
    boxes, cut_off = _boxes(response, first)
    if cut_off:
        return ""
    boxes = [(start, end, text) for start, end, text in boxes if text.strip()]
    if not boxes:
        return ""
    start, _, text = boxes.pop()
    texts = [text.strip()]
    while boxes and len(texts) < MAX_BOXES:
        previous, end, text = boxes.pop()
        if start - end > 24 or not _BETWEEN_BOXES.fullmatch(response, end, start):
            break
        texts.append(text.strip())
        start = previous
    return ", ".join(reversed(texts))


def _boxes(response: str, first: int) -> tuple[list[tuple[int, int, str]], bool]:
    """The outermost complete boxes (start, end, content) in order; whether the last is cut off."""
    boxes: list[tuple[int, int, str]] = []
    opened: list[tuple[int, int] | None] = []  # per open brace: its box's (start, content), or None
    skip_to = 0
    for token in _BOX_TOKEN.finditer(response, first):
        mark = token[0]
        if token.start() < skip_to:
            continue
        if mark.startswith(("\\boxed", "\\fbox")):
            if token["open"]:
                opened.append((token.start(), token.end()))
            elif bare := _BARE_BOX.match(response, token.end()):
                skip_to = bare.end()
                boxes.append((token.start(), bare.end(), bare[0].rstrip(".,")))
        elif mark == "{":
            opened.append(None)
        elif mark == "}" and opened:
            box = opened.pop()
            if box is not None:
                start, content = box
                while boxes and boxes[-1][0] > start:
                    boxes.pop()  # boxes inside this one
                boxes.append((start, token.end(), response[content : token.start()]))
    unclosed = max((box[0] for box in opened if box is not None), default=-1)
    return boxes, unclosed >= 0 and (not boxes or unclosed > boxes[-1][0])


def _tagged(response: str) -> str | None:
    """The last `<answer>` section; "" if it is cut off, None if there is none."""
    start = response.rfind("<answer>")
    if start < 0:
        return None
    end = response.find("</answer>", start)
    return "" if end < 0 else _unmark(response[start + len("<answer>") : end])


def _line(rest: str, how: How) -> Answer | None:
    """The first line of what follows a mark, or the displayed block if one comes first."""
    rest = rest[:MAX_LINE].lstrip(" \t\r\n*:：")
    for opening, closing in _DISPLAY:
        if rest.startswith(opening):
            end = rest.find(closing, len(opening))
            text = rest[len(opening) : end] if end >= 0 else ""
            return Answer(text.strip(), how) if text.strip() else None
    text = _unmark(rest.split("\n", 1)[0])
    return Answer(text, how) if text else None


def _unmark(text: str) -> str:
    """Without the Markdown, dollar signs and full stop around it; the formula if there is just one.

    >>> _unmark("**the value is $x^2$.** I hope it is correct.")
    'x^2'
    """
    text = text.strip()
    pieces = text.split("$")
    if len(pieces) == 3 and "\\" not in pieces[0][-1:]:
        words = pieces[0] + pieces[2]
        if len(words) < 80 and not any(character.isdigit() for character in words):
            return pieces[1].strip()
    return text.strip("*` \t").removesuffix(".").strip("*` \t")
