"""How much of each text of a column is foreign to its language, where, and in what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.kernels import Bytes, utf8
from filters.language_id.masking import ascii_classes, mask
from filters.language_id.mentions import Question
from filters.language_id.reader import survey
from filters.language_id.readings import reading
from filters.language_id.spans import Stretch, Text
from filters.language_id.words import WORD_UNITS

SPANS_KEPT = 8  # what `explain` and the report can show


class Span(NamedTuple):
    """A foreign stretch, in characters, and its language or script."""

    start: int
    end: int
    language: str


@dataclass
class Mixing:
    """What is foreign, a row a text. Shares are of its words."""

    judged: npt.NDArray[np.bool_]  # there is a text, and a language to judge it by
    words: npt.NDArray[np.float64]  # of a language; names, terms, formulas and quotations are none
    script: npt.NDArray[np.float64]  # in another script, or Latin among other letters
    language: npt.NDArray[np.float64]  # in another language of the same script
    by: list[dict[str, float] | None]  # the shares by script or language
    spans: list[list[Span] | None]

    @property
    def foreign(self) -> npt.NDArray[np.float64]:
        """Both together."""
        return np.minimum(self.script + self.language, 1.0)


def mixing(
    texts: pl.Series,
    homes: Sequence[str | None],
    questions: Sequence[str | None] | pl.Series,
    also: Sequence[str | None] | None = None,
) -> Mixing:
    """Read every text once, then judge those that may hold something foreign.

    `also` is a language that a text may be in besides: what its question asks to translate into.
    """
    offsets, data = utf8(texts)
    masked = mask(data, offsets, ascii_classes())
    count = len(texts)
    named = np.array([home is not None for home in homes], dtype=bool)
    result = Mixing(
        judged=named & texts.is_not_null().to_numpy(),
        words=np.zeros(count),
        script=np.zeros(count),
        language=np.zeros(count),
        by=[None] * count,
        spans=[None] * count,
    )
    for home in sorted({home for home in homes if home is not None}):
        chosen = np.array([row for row in range(count) if homes[row] == home], dtype=np.int64)
        units, suspect = survey(masked, offsets, chosen, reading(home))
        result.words[chosen] = units / WORD_UNITS
        for row in chosen[suspect].tolist():
            part = slice(offsets[row], offsets[row + 1])
            question = Question(questions[row] or "")
            verdict = Text(home, masked[part], question, also[row] if also else None).verdict()
            result.words[row] = verdict.units / WORD_UNITS
            if verdict.foreign:
                _record(result, row, verdict.foreign, verdict.units)
                result.spans[row] = _in_characters(data[part], verdict.foreign[:SPANS_KEPT])
    return result


def _record(result: Mixing, row: int, foreign: list[Stretch], units: int) -> None:
    """Add up what is foreign in one text of so many quarters of words."""
    shares: dict[str, float] = {}
    for stretch in foreign:
        share = stretch.units / units
        (result.language if stretch.by_words else result.script)[row] += share
        shares[stretch.label] = shares.get(stretch.label, 0.0) + share
    result.by[row] = shares


def _in_characters(raw: Bytes, stretches: list[Stretch]) -> list[Span]:
    """Byte offsets as character offsets."""
    spans, byte, char = [], 0, 0
    for stretch in stretches:
        start = max(stretch.start, byte)
        if stretch.end <= start:
            continue
        char += len(raw[byte:start].tobytes().decode())
        end = char + len(raw[start : stretch.end].tobytes().decode())
        spans.append(Span(char, end, stretch.label))
        byte, char = stretch.end, end
    return spans
