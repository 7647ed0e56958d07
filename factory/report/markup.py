"""Render model text as safe HTML: formulas, coloured code, highlighted spans, all else escaped.

Runs in linear time: every opening delimiter is found once, and its closing one is searched for
within a fixed distance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from markupsafe import Markup, escape

from factory.report.formulas import MAX_LATEX, mathml

MAX_CODE = 20_000
MAX_FORMULAS = 400
"""Most formulas rendered in one text; further ones are shown as LaTeX."""

HEAD, TAIL, AROUND = 2500, 1500, 200
"""Characters shown of a long text: its head, its tail, and the context of each span."""

_OPENERS = re.compile(
    r"```|\\\[|\\\(|\$\$|\$|\\boxed\{|\\begin\{(?:align|equation|gather|multline)\*?\}"
)
_CLOSERS = {"\\[": "\\]", "\\(": "\\)", "$$": "$$"}
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#-]{0,20}")
_END_OF_LINE = re.compile(r"[ \t]*\n?")


class MarkedSpan(NamedTuple):
    """A span of a text to highlight (character offsets), and the label that explains it."""

    start: int
    end: int
    label: str


class _Piece(NamedTuple):
    start: int
    end: int
    kind: str  # text, code, inline, display
    inner: str


def render(text: str, spans: Iterable[MarkedSpan] = ()) -> Markup:
    """Render the whole text as HTML."""
    return _render(text, _first_line(text), len(text), sorted(spans))


def render_excerpt(text: str, spans: Iterable[MarkedSpan] = ()) -> Markup:
    """Render the head, the tail and the context of each span, with omissions counted."""
    marked = sorted(spans)
    windows = [(0, HEAD), (len(text) - TAIL, len(text))]
    windows += [(mark.start - AROUND, mark.end + AROUND) for mark in marked]
    out, shown = Markup(), _first_line(text)
    for start, end in _merge_windows(windows, shown, len(text)):
        if start > shown:
            out += Markup('<span class="cut">… {:,} characters …</span>').format(start - shown)
        out += _render(text, start, end, marked)
        shown = end
    return out


def _first_line(text: str) -> int:
    return len(text) - len(text.lstrip("\n"))


def _merge_windows(
    windows: list[tuple[int, int]], low: int, high: int
) -> Iterator[tuple[int, int]]:
    current: tuple[int, int] | None = None
    for start, end in sorted((max(low, s), min(high, e)) for s, e in windows):
        if current is None:
            current = (start, end)
        elif start <= current[1]:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current


def _render(text: str, start: int, end: int, spans: Sequence[MarkedSpan]) -> Markup:
    out, formulas = list[Markup](), 0
    for piece in _split(text, start, end):
        html: Markup | None = None
        if piece.kind == "code":
            html = _highlight_code(piece.inner)
        elif piece.kind != "text" and formulas < MAX_FORMULAS:
            formulas += 1
            html = mathml(piece.inner, piece.kind == "display")
        if html is None:
            out.append(_mark_text(text, piece.start, piece.end, spans))
        else:
            labels = {s.label for s in spans if s.start < piece.end and piece.start < s.end}
            out.append(_mark(html, ", ".join(sorted(labels))) if labels else html)
    return Markup("").join(out)


def _split(text: str, start: int, end: int) -> Iterator[_Piece]:
    """Split the text at its formulas and code fences."""
    plain = at = start
    while (opener := _OPENERS.search(text, at, end)) is not None:
        at = opener.end()
        piece = _parse_piece(text, opener[0], opener.start(), end)
        if piece is not None:
            if piece.kind in ("display", "code"):
                piece = _absorb_line_breaks(piece, text, plain, end)
            if piece.start > plain:
                yield _Piece(plain, piece.start, "text", "")
            yield piece
            plain = at = piece.end
    if plain < end:
        yield _Piece(plain, end, "text", "")


def _absorb_line_breaks(piece: _Piece, text: str, low: int, high: int) -> _Piece:
    """Extend a block over the line breaks around it: in HTML a block starts its own line."""
    start, after = piece.start, _END_OF_LINE.match(text, piece.end, high)
    if start > low and text[start - 1] == "\n":
        start -= 1
    return piece._replace(start=start, end=after.end() if after else piece.end)


def _parse_piece(text: str, opener: str, start: int, end: int) -> _Piece | None:
    """Return the formula or code that `opener` starts; None if it isn't closed."""
    inner = start + len(opener)
    if opener == "```":
        close = text.find("```", inner, min(end, inner + MAX_CODE))
        return None if close < 0 else _Piece(start, close + 3, "code", text[inner:close])
    limit = min(end, inner + MAX_LATEX)
    if opener == "\\boxed{":
        close = _find_closing_brace(text, inner, limit)
        return None if close < 0 else _Piece(start, close + 1, "inline", text[start : close + 1])
    if opener.startswith("\\begin"):
        closer = opener.replace("begin", "end")
        close = text.find(closer, inner, limit)
        after = close + len(closer)
        return None if close < 0 else _Piece(start, after, "display", text[start:after])
    if opener == "$":
        return _parse_dollars(text, start, inner, min(end, inner + 300))
    close = text.find(_CLOSERS[opener], inner, limit)
    if close <= inner:
        return None
    kind = "inline" if opener == "\\(" else "display"
    return _Piece(start, close + 2, kind, text[inner:close])


def _parse_dollars(text: str, start: int, inner: int, limit: int) -> _Piece | None:
    """Accept `$x$` but not "costs $5 and $6", by Pandoc's rule, within one line."""
    close = text.find("$", inner, limit)
    if close <= inner or "\n" in text[inner:close]:
        return None
    if text[inner].isspace() or text[close - 1].isspace() or text[close - 1] == "\\":
        return None
    if text[start - 1 : start] == "\\" or text[close + 1 : close + 2].isdigit():
        return None
    return _Piece(start, close + 1, "inline", text[inner:close])


def _find_closing_brace(text: str, inner: int, limit: int) -> int:
    """Return where the brace opened before `inner` is closed; -1 if it isn't."""
    depth = 1
    for found in re.finditer(r"\\.|[{}]", text[inner:limit], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return inner + found.start()
    return -1


def _mark_text(text: str, start: int, end: int, spans: Sequence[MarkedSpan]) -> Markup:
    out, at = Markup(), start
    for mark in spans:
        low, high = max(mark.start, at), min(mark.end, end)
        if low < high:
            out += escape(text[at:low]) + _mark(escape(text[low:high]), mark.label)
            at = high
    return out + escape(text[at:end])


def _mark(html: Markup, label: str) -> Markup:
    return Markup('<mark title="{}">{}</mark>').format(label, html)


@lru_cache(maxsize=1024)
def _highlight_code(inner: str) -> Markup:
    """Highlight the body of a code fence with Pygments, which escapes its output."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    language = _LANGUAGE.match(inner)
    name = language[0] if language else ""
    body = inner[len(name) :].removeprefix("\n")
    try:
        lexer = get_lexer_by_name(name or "text", stripnl=False)
    except ClassNotFound:
        lexer, body = get_lexer_by_name("text", stripnl=False), inner
    return Markup(highlight(body, lexer, HtmlFormatter(cssclass="code")).removesuffix("\n"))
