"""Mark the spans of a sample's text that filters flagged, for a terminal.

Each span is enclosed in `⟦ ⟧`, which also shows in a pipe or a file; a terminal adds colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from factory.core.think import THINK_CLOSE, split_think

QUOTED = {
    "format_special_token": "special token",
    "safety_span": "safety",
    "identity_claim": "identity",
}
"""Metrics that hold the flagged text itself, and a label for each."""

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}

HEAD, TAIL, AROUND = 700, 500, 200
"""Characters shown of a long text: its head, its tail, and the context of each flagged span."""


class Flagged(NamedTuple):
    """A span of a sample's text (character offsets) and why it was flagged."""

    start: int
    end: int
    label: str


def find_flagged(text: str, metrics: Mapping[str, Any]) -> list[Flagged]:
    """Return the flagged spans of a sample's text, in order and without overlaps."""
    found = sorted([*_foreign(text, metrics), *_quoted(text, metrics)])
    separate: list[Flagged] = []
    for span in found:
        if not separate or span.start >= separate[-1].end:
            separate.append(span)
    return separate


def _foreign(text: str, metrics: Mapping[str, Any]) -> Iterator[Flagged]:
    """Yield the language filter's spans, whose offsets count from the start of each part."""
    thinking, response, _ = split_think(text)
    after = len(text) - len(response or "")
    closed = len(THINK_CLOSE) if thinking is not None and response is not None else 0
    begins = {"thinking": after - closed - len(thinking or ""), "response": after}
    for part, begin in begins.items():
        for span in metrics.get(f"language_{part}_spans") or ():
            yield Flagged(begin + span["start"], begin + span["end"], span["language"])


def _quoted(text: str, metrics: Mapping[str, Any]) -> Iterator[Flagged]:
    for metric, label in QUOTED.items():
        words = metrics.get(metric)
        if words and (start := text.find(words)) >= 0:
            yield Flagged(start, start + len(words), label)


def mark_text(text: str, found: Sequence[Flagged]) -> str:
    """Return the whole text with its flagged spans marked."""
    return _mark_window(text, found, 0, len(text))


def mark_excerpt(text: str, found: Sequence[Flagged]) -> str:
    """Return the head, the tail and the context of each flagged span, with omissions counted."""
    windows = [(0, HEAD), (len(text) - TAIL, len(text))]
    windows += [(span.start - AROUND, span.end + AROUND) for span in found]
    pieces, shown = [], 0
    for start, end in sorted(windows):
        start, end = max(start, shown), min(end, len(text))
        if start >= end:
            continue
        if start - shown > AROUND:
            pieces.append(click.style(f"\n… {start - shown:,} characters …\n", dim=True))
        else:
            start = shown
        pieces.append(_mark_window(text, found, start, end))
        shown = end
    return "".join(pieces)


def _mark_window(text: str, found: Sequence[Flagged], start: int, end: int) -> str:
    """Mark the spans in a window of a text. No window starts or ends inside a flagged span."""
    pieces = []
    for span in found:
        if start <= span.start and span.end <= end:
            words = show_controls(text[span.start : span.end])
            pieces.append(show_controls(text[start : span.start]))
            pieces.append(click.style(f"⟦{words}⟧", fg="red", bold=True))
            start = span.end
    return "".join([*pieces, show_controls(text[start:end])])


def show_controls(text: str) -> str:
    """Replace control characters by visible symbols, so that text can't steer the terminal."""
    return text.translate(_PICTURES)


def list_flagged(text: str, found: Sequence[Flagged]) -> Iterator[str]:
    """Yield a line per flagged span: its label and its text."""
    for span in found:
        words = show_controls(" ".join(text[span.start : span.end].split()))
        yield f"{span.label:<14} {words if len(words) <= 80 else words[:79] + '…'}"
