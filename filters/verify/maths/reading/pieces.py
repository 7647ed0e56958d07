"""Tokens divided at what stands in no bracket."""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.tokens import AND, OR, Token

MAX_ITEMS = 64

Tokens = Sequence[Token]

OPENING = frozenset(("(", "[", "{", "\\{", "\\begin", "\\lfloor", "\\lceil"))
CONNECTIVES = frozenset(("\\land", "\\lor"))
_STATING = frozenset(("=", "<", ">", "<=", ">=", "\\ne", "\\approx", "\\in"))
CLOSING = frozenset((")", "]", "}", "\\}", "\\end", "\\rfloor", "\\rceil"))


def split(tokens: Tokens) -> tuple[list[Tokens], str]:
    """The pieces between separators that stand in no bracket, and the word that joins them.

    Separators: , ; \\\\ & wide spaces, the words and, or in the languages of `tokens`, and \\land,
    \\lor between statements. Raises Unreadable for two commas with nothing between them.
    """
    pieces: list[Tokens] = []
    joined, start = "", 0
    connected = False
    flat = flatten(tokens)
    for position, token in enumerate(flat):
        if token is None:
            continue
        text = token.text
        if token.kind == "word" and text.lower() in OR | AND:
            if not position or position == len(tokens) - 1:
                raise Unreadable(f"{text} joins nothing")
            joined = "or" if text.lower() in OR else joined or "and"
        elif text in CONNECTIVES:
            joined, connected = ("or" if text == "\\lor" else joined or "and"), True
        elif not (token.kind in ("sign", "command") and text in (",", ";", "\\\\", "&")):
            continue
        if position > start:
            pieces.append(tokens[start:position])
        elif start and text in (",", ";") and tokens[start - 1].text in (",", ";"):
            raise Unreadable("two separators and nothing between them")
        start = position + 1
    if start < len(tokens):
        pieces.append(tokens[start:])
    if len(pieces) > MAX_ITEMS:
        raise Unreadable("too many items")
    if connected and not all(any(t.text in _STATING for t in piece) for piece in pieces):
        raise Unreadable("a connective between what says nothing")  # p \\land q is no list
    return pieces, joined


def flatten(tokens: Tokens) -> list[Token | None]:
    """The tokens that stand in no bracket; None for the others. Mixed brackets pair (intervals)."""
    found: list[Token | None] = []
    depth = 0
    for token in tokens:
        if token.text in OPENING:
            depth += 1
            found.append(None)
        elif token.text in CLOSING:
            depth -= 1
            found.append(None)
            if depth < 0:
                raise Unreadable("a bracket closes that never opened")
        else:
            found.append(None if depth else token)
    if depth:
        raise Unreadable("a bracket left open")
    return found


def trim(tokens: Tokens) -> Tokens:
    """Without the separators and the full stop around them."""
    start, end = 0, len(tokens)
    while start < end and tokens[start].text in (",", ";", ":", "\\\\", "&"):
        start += 1
    while end > start and tokens[end - 1].text in (",", ";", "\\\\", ":"):
        end -= 1
    if end > start + 1 and tokens[end - 1].text == "." != tokens[end - 2].text:
        end -= 1
    return tokens[start:end]


def is_pair(tokens: Tokens) -> bool:
    """Whether the first token's bracket closes with the last."""
    depth = 0
    for position, token in enumerate(tokens):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if not depth:
            return position == len(tokens) - 1
    return False
