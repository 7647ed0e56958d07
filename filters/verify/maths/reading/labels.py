"""Answers in parts: (a) 12; (b) 3/4, Minimum: -4, maximum: 5. Each part is named by its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from filters.verify.maths.forms import Form, Group, Named
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.pieces import flatten, is_pair, trim
from filters.verify.maths.reading.tokens import Token
from filters.verify.maths.vocabulary import word_set

Tokens = Sequence[Token]
Reading = Callable[[Tokens, int], Form]

MAX_PARTS = 12
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")
_LETTERED = "abcdefgh"
_SHORT = {
    "minimum": "min",
    "min": "min",
    "maximum": "max",
    "max": "max",
    "\\min": "min",
    "\\max": "max",
    "mean": "mean",
    "average": "mean",
}
_TRAILING = word_set("value values is are")
_LEADING = word_set("the a an")


def read_parts(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """A list of parts, each with its label; None where there are not two of them."""
    starts = _lettered(tokens) or _worded(tokens)
    called = len(starts) == 1 and tokens[starts[0][1]].text in ("(", "\\{", "{", "_")
    if len(starts) == 1 and starts[0][2] in ("min", "max") and not called:
        return _extreme(tokens[starts[0][1] :], starts[0][2], read, depth)
    if not 2 <= len(starts) <= MAX_PARTS:
        return None
    named: list[Form] = []
    ends = [start for start, _, _ in starts[1:]] + [len(tokens)]
    for (_, begin, label), end in zip(starts, ends, strict=True):
        part = trim(tokens[begin:end])
        if part and part[-1].text.lower() == "and":
            part = trim(part[:-1])
        if part and part[0].text in ("=", ":"):
            part = part[1:]
        if not part:
            return None
        try:
            named.append(Named(label, read(part, depth + 1)))
        except Unreadable:
            return None
    return Group("", tuple(named))


def read_point(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """A(1, 2), a point with its letter; C(5, 2) may be a binomial and is read elsewhere."""
    letter = tokens[0].text
    called = len(tokens) > 4 and tokens[0].kind == "letter" and letter.isupper()
    if not called or tokens[1].text != "(" or not is_pair(tokens[1:]):
        return None
    inside = flatten(tokens[2:-1])
    chosen = letter == "C" and all(token.text != "-" for token in tokens)
    if chosen or letter in ("N", "U"):  # a binomial, a normal or uniform distribution
        return None
    if not any(token is not None and token.text == "," for token in inside):
        return None
    return Named(letter, read(tokens[1:], depth + 1))


def _extreme(tokens: Tokens, label: str, read: Reading, depth: int) -> Form | None:
    """The maximum is 9/4."""
    while tokens and tokens[0].text.lower() in ("=", ":", "of", "is"):
        tokens = tokens[1:]
    form = read(tokens, depth + 1) if tokens else None
    return None if form is None else Named(label, form)


def _lettered(tokens: Tokens) -> list[tuple[int, int, str]]:
    """(start of the label, start of its part, label) of (a) … (b) …, (i) … (ii) …"""
    found: list[tuple[int, int, str]] = []
    for at in range(len(tokens) - 2):
        if tokens[at].text == "(":
            end = next(
                (e for e in range(at + 1, min(at + 6, len(tokens))) if tokens[e].text == ")"), 0
            )
            label = "".join(token.text for token in tokens[at + 1 : end]).lower()
            if _is_next(label, len(found)) and end + 1 < len(tokens):
                begin = at - 1 if at and tokens[at - 1].text.lower() == "part" else at
                found.append((begin, end + 1, f"({label})"))
    return found if found and found[0][0] == 0 else []


def _is_next(label: str, count: int) -> bool:
    roman = count < len(_ROMAN) and label == _ROMAN[count]
    numbered = label == str(count + 1)
    return (count < len(_LETTERED) and label == _LETTERED[count]) or roman or numbered


def _worded(tokens: Tokens) -> list[tuple[int, int, str]]:
    """The same of labels in words: Minimum: -4, Maximum: 5; minimum -4 and maximum 5."""
    flat = flatten(tokens)
    found: list[tuple[int, int, str]] = []
    position = 0
    while position < len(tokens):
        free = position == 0 or (
            flat[position - 1] is not None
            and (tokens[position - 1].text in (",", ";", "\\\\") or _joins(tokens[position - 1]))
        )
        end = position
        while end < len(tokens) and _is_label(tokens[end]):
            end += 1
        words = [token.text.lower() for token in tokens[position:end]]
        while words and words[0] in _LEADING:
            words.pop(0)
        while words and words[-1] in _TRAILING:
            words.pop()
        known = len(words) == 1 and words[0] in _SHORT
        marked = end < len(tokens) and tokens[end].text in (":", "=")
        if free and words and end < len(tokens) and (known or marked):
            start = position - 1 if position and _joins(tokens[position - 1]) else position
            label = _SHORT.get(words[0], words[0]) if len(words) == 1 else " ".join(words)
            found.append((start, end, label))
        position = max(end, position + 1)
    return found if found and found[0][0] == 0 else []


def _joins(token: Token) -> bool:
    return token.kind == "word" and token.text.lower() == "and"


def _is_label(token: Token) -> bool:
    if token.text in ("\\min", "\\max"):
        return True
    return token.kind == "word" and not _joins(token) and token.text.lower() != "or"
