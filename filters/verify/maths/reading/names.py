"""What an answer calls what it gives: the left side of x = 5, f(x) = …, P(X = 4) = …"""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.verify.maths.reading.pieces import is_pair, split, trim
from filters.verify.maths.reading.tokens import GREEK, Token

_DERIVATIVE = re.compile(
    r"frac \{ (?P<mark>d|partial) (?P<of>[A-Za-z]+) \} \{ (?P=mark) (?P<by>[A-Za-z]+) \}"
)
_POWER_OF_MATRIX = re.compile(r"[A-Z](?:_\{?\w\}?)?\^(?:\{-?\w{1,3}\}|\w|top|\{top\})")
_NAMING = frozenset(("\\angle", "\\triangle", "\\widehat", "\\odot"))

Tokens = Sequence[Token]


def read_name(tokens: Tokens) -> str | None:
    """The name left of an equals sign, as its tokens spell it; None for an expression.

    A symbol, f(x), P(X = 4), (x, y), ∠ABC, max f, or words.
    """
    tokens = trim(tokens)
    if not tokens:
        return None
    texts = ["|" if t.text == "\\mid" else t.text.lstrip("\\") for t in tokens]
    if ":" in texts:  # S_1 : S_2 = 7 : 32
        at = texts.index(":")
        parts = read_name(tokens[:at]), read_name(tokens[at + 1 :])
        return None if None in parts else ":".join(part or "" for part in parts)
    if tokens[0].text == "\\frac" and (derivative := _derivative(texts)):
        return derivative
    kinds = {token.kind for token in tokens}
    if "number" not in kinds and kinds <= {"word"}:
        return " ".join(texts).lower()
    at = 0
    if tokens[0].text in _NAMING or tokens[0].text in ("\\max", "\\min"):
        at = 1
    elif tokens[0].text == "|" and len(tokens) == 3 and tokens[2].text == "|":
        return "".join(texts) if tokens[1].kind == "letter" and len(tokens[1].text) > 1 else None
    elif tokens[0].text == "(":
        if not is_pair(tokens):
            return None
        inner, _ = split(tokens[1:-1])
        names = [read_name(piece) for piece in inner]
        if len(names) > 1 and None not in names:
            return "(" + ",".join(name or "" for name in names) + ")"
        return None
    if at >= len(tokens) or not _is_symbol(tokens[at]):
        return None
    at = _after_scripts(tokens, at + 1)
    if [token.text for token in tokens[at : at + 6]] == ["^", "{", "-", "1", "}", "("]:
        at += 5  # f^{-1}(x)
    if at < len(tokens) and tokens[at].text == "(" and is_pair(tokens[at:]):
        head = tokens[at - 1] if at == 1 else tokens[0]
        plain = head.kind == "command" or (
            head.kind == "letter"
            and (head.text.isupper() or head.text in "fghpqrsuvy" or " " in head.text)
        )
        if not plain and at == 1:
            return None
        return "".join(texts)
    return "".join(texts) if at == len(tokens) else None


def read_matrix_name(tokens: Tokens) -> str | None:
    """A^{-1}, A^n, A^T: what a matrix may be called beside a plain name; None of anything else."""
    texts = [token.text.lstrip("\\") for token in trim(tokens)]
    found = _POWER_OF_MATRIX.fullmatch("".join(texts))
    return "".join(texts) if found is not None else None


def _derivative(texts: list[str]) -> str | None:
    """dy/dx, and ∂f/∂x as f_x."""
    found = _DERIVATIVE.fullmatch(" ".join(texts))
    if found is None:
        return None
    partial = found["mark"] == "partial"
    return f"{found['of']}_{found['by']}" if partial else f"d{found['of']}/d{found['by']}"


def _is_symbol(token: Token) -> bool:
    if token.kind == "letter":
        return not (token.text == "i" and not token.upright)
    return token.kind == "word" or (token.kind == "command" and token.text[1:] in GREEK)


def _after_scripts(tokens: Tokens, at: int) -> int:
    """The index after a symbol's primes and subscript."""
    while at < len(tokens) and tokens[at].text in ("'", "’", "_"):
        if tokens[at].text != "_":
            at += 1
            continue
        at += 1
        if at < len(tokens) and tokens[at].text == "{":
            depth = 0
            while at < len(tokens):
                depth += (tokens[at].text == "{") - (tokens[at].text == "}")
                at += 1
                if not depth:
                    break
        else:
            at += 1
    return at
