"""Splits a completion into its reasoning and its response.

A completion's canonical text is `<think>…</think>` followed by the response. A `<think>` prefilled
by the template is part of the stored text, so that the text is the whole assistant turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import polars as pl

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

Shape = Literal["ok", "no_think", "no_open", "unclosed", "text_before", "repeated"]
"""The structure of the think tags:

ok           one opening tag first, one closing tag after it
no_think     no tag at all: the whole text is the response
no_open      closed but never opened (a template that prefills the tag and does not report it)
unclosed     opened, never closed: there is no response
text_before  text before the opening tag
repeated     more than one opening or closing tag
"""


class Parts(NamedTuple):
    """The parts of a completion. `thinking` or `response` is None if it is missing."""

    thinking: str | None
    response: str | None
    shape: Shape


def split_think(text: str) -> Parts:
    """Split a completion at its think tags, in linear time.

    The response is what follows the *last* closing tag, so that an answer inside the reasoning is
    never read as the final one.

    >>> split_think("<think>2+2</think>4")
    Parts(thinking='2+2', response='4', shape='ok')
    """
    opens, closes = text.count(THINK_OPEN), text.count(THINK_CLOSE)
    start, end = text.find(THINK_OPEN), text.rfind(THINK_CLOSE)
    if not opens and not closes:
        return Parts(None, text, "no_think")
    if not closes:
        return Parts(text[start + len(THINK_OPEN) :], None, "unclosed")
    if not opens or start > end:
        thinking = text[:end]
        shape: Shape = "repeated" if closes > 1 or opens else "no_open"
    else:
        thinking = text[start + len(THINK_OPEN) : end]
        if opens > 1 or closes > 1:
            shape = "repeated"
        else:
            shape = "text_before" if text[:start].strip() else "ok"
    return Parts(thinking, text[end + len(THINK_CLOSE) :], shape)


def join_think(thinking: str | None, response: str) -> str:
    """Return the canonical text of an assistant turn, in the format of the released R1 models."""
    if thinking is None:
        return response
    return f"{THINK_OPEN}\n{thinking.strip()}\n{THINK_CLOSE}\n\n{response.strip()}"


def split_think_exprs(column: str = "text") -> dict[str, pl.Expr]:
    """Return `split_think` as Polars expressions: thinking, response and shape."""
    import polars as pl

    text, data = pl.col(column), pl.col(column).cast(pl.Binary)
    opens, closes = (text.str.find_many([tag]) for tag in (THINK_OPEN, THINK_CLOSE))
    n_opens, n_closes = opens.list.len(), closes.list.len()
    start, end = opens.list.first(), closes.list.last()  # byte offsets
    is_open = (n_opens > 0) & (start.lt(end) | (n_closes == 0))
    begin = pl.when(is_open).then(start + len(THINK_OPEN)).otherwise(0)
    inside = data.bin.slice(begin, pl.when(n_closes > 0).then(end - begin)).cast(pl.String)
    after = data.bin.slice(end + len(THINK_CLOSE)).cast(pl.String)
    lead = data.bin.slice(0, start).cast(pl.String).str.strip_chars()
    repeated = (n_opens > 1) | (n_closes > 1) | ((n_opens > 0) & ~is_open)
    shape = (
        pl.when((n_opens == 0) & (n_closes == 0))
        .then(pl.lit("no_think"))
        .when(n_closes == 0)
        .then(pl.lit("unclosed"))
        .when(repeated)
        .then(pl.lit("repeated"))
        .when(n_opens == 0)
        .then(pl.lit("no_open"))
        .when(lead != "")
        .then(pl.lit("text_before"))
        .when(text.is_not_null())
        .then(pl.lit("ok"))
    )
    return {
        "thinking": pl.when((n_opens > 0) | (n_closes > 0)).then(inside),
        "response": pl.when(n_closes > 0).then(after).when(n_opens == 0).then(text),
        "shape": shape,
    }
