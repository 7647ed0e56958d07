"""What filters took offence at in a sample's text: where it stands, marked for a terminal.

`⟦ ⟧` stand around each stretch, so that it shows in a pipe or a file too; a terminal adds colour.
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
"""Metrics that hold the words themselves, and what to call them."""

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}

HEAD, TAIL, AROUND = 700, 500, 200
"""Characters shown of a long text: its ends, and what is around each offence."""


class Offence(NamedTuple):
    """Characters of a sample's text, and what is wrong with them."""

    start: int
    end: int
    what: str


def offences(text: str, metrics: Mapping[str, Any]) -> list[Offence]:
    """Where a sample's text is not as its filters want it, in order; none overlap."""
    found = sorted([*_foreign(text, metrics), *_quoted(text, metrics)])
    apart: list[Offence] = []
    for offence in found:
        if not apart or offence.start >= apart[-1].end:
            apart.append(offence)
    return apart


def _foreign(text: str, metrics: Mapping[str, Any]) -> Iterator[Offence]:
    """The language filter's, which counts from where each part begins."""
    thinking, response, _ = split_think(text)
    after = len(text) - len(response or "")
    closed = len(THINK_CLOSE) if thinking is not None and response is not None else 0
    begins = {"thinking": after - closed - len(thinking or ""), "response": after}
    for part, begin in begins.items():
        for span in metrics.get(f"language_{part}_spans") or ():
            yield Offence(begin + span["start"], begin + span["end"], span["language"])


def _quoted(text: str, metrics: Mapping[str, Any]) -> Iterator[Offence]:
    for metric, what in QUOTED.items():
        words = metrics.get(metric)
        if words and (start := text.find(words)) >= 0:
            yield Offence(start, start + len(words), what)


def marked(text: str, found: Sequence[Offence]) -> str:
    """The whole text with its offences marked."""
    return _marked(text, found, 0, len(text))


def excerpt(text: str, found: Sequence[Offence]) -> str:
    """The ends of a text and the neighbourhood of each offence; what is left out is counted."""
    windows = [(0, HEAD), (len(text) - TAIL, len(text))]
    windows += [(offence.start - AROUND, offence.end + AROUND) for offence in found]
    pieces, shown = [], 0
    for start, end in sorted(windows):
        start, end = max(start, shown), min(end, len(text))
        if start >= end:
            continue
        if start - shown > AROUND:
            pieces.append(click.style(f"\n… {start - shown:,} characters …\n", dim=True))
        else:
            start = shown
        pieces.append(_marked(text, found, start, end))
        shown = end
    return "".join(pieces)


def _marked(text: str, found: Sequence[Offence], start: int, end: int) -> str:
    """A window of a text; none begins or ends within an offence."""
    pieces = []
    for offence in found:
        if start <= offence.start and offence.end <= end:
            words = visible(text[offence.start : offence.end])
            pieces.append(visible(text[start : offence.start]))
            pieces.append(click.style(f"⟦{words}⟧", fg="red", bold=True))
            start = offence.end
    return "".join([*pieces, visible(text[start:end])])


def visible(text: str) -> str:
    """Model text whose control characters show instead of steering the terminal."""
    return text.translate(_PICTURES)


def listed(text: str, found: Sequence[Offence]) -> Iterator[str]:
    """A line an offence: what it is, and its words."""
    for offence in found:
        words = visible(" ".join(text[offence.start : offence.end].split()))
        yield f"{offence.what:<14} {words if len(words) <= 80 else words[:79] + '…'}"
