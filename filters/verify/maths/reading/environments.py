"""\\begin{…} … \\end{…}: where one ends, and its rows and cells."""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.tokens import Token

MAX_CELLS = 400


def environment_end(tokens: Sequence[Token], start: int) -> tuple[int, str]:
    """Where the environment that begins at `start` ends (the index after it), and its name."""
    depth = 0
    for position in range(start, len(tokens)):
        if tokens[position].text == "\\begin":
            depth += 1
        elif tokens[position].text == "\\end":
            depth -= 1
            if not depth:
                closed, end = _name(tokens, position)
                name, _ = _name(tokens, start)
                if name != closed:
                    raise Unreadable("an environment closed by another name")
                return end, name
    raise Unreadable("an environment left open")


def read_rows(tokens: Sequence[Token], start: int, end: int) -> list[list[Sequence[Token]]]:
    """The cells' tokens, row by row."""
    name, at = _name(tokens, start)
    if name in ("array", "tabular", "alignedat") and at < end and tokens[at].text == "{":
        at += 1
        while at < end and tokens[at].text != "}":
            if tokens[at].text == "|":
                raise Unreadable("a table with rules")
            at += 1
        at += 1
    last = end
    while tokens[last - 1].text != "\\end":
        last -= 1
    last -= 1
    rows: list[list[Sequence[Token]]] = [[]]
    depth, cell = 0, at
    for position in range(at, last + 1):
        text = tokens[position].text if position < last else "\\\\"
        if text in ("\\begin", "{"):
            depth += 1
        elif text in ("\\end", "}"):
            depth -= 1
        elif not depth and text in ("&", "\\\\"):
            rows[-1].append(tokens[cell:position])
            cell = position + 1
            if text == "\\\\":
                rows.append([])
    rows.pop()
    if rows and len(rows[-1]) == 1 and not rows[-1][0]:
        rows.pop()  # a break after the last row
    if not rows or sum(map(len, rows)) > MAX_CELLS:
        raise Unreadable("a table without cells, or too large")
    return rows


def _name(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    """The name after \\begin or \\end, and the index after its brace."""
    if at + 1 >= len(tokens) or tokens[at + 1].text != "{":
        raise Unreadable("an environment without a name")
    name, position = "", at + 2
    while position < len(tokens) and tokens[position].text != "}":
        name += tokens[position].text
        position += 1
    return name, position + 1
