"""Measure which share of each text is foreign, where it is, and in which language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.kernels import Bytes, utf8
from filters.language_id.hidden import OWN_WORDS, SPARE, written
from filters.language_id.hidden_prose import find_hidden_prose
from filters.language_id.masking import ascii_classes, mask
from filters.language_id.mentions import Question
from filters.language_id.reader import survey
from filters.language_id.readings import reading
from filters.language_id.spans import Text
from filters.language_id.text_words import Found, Stretch, Verdict
from filters.language_id.words import WORD_UNITS

PORTION = 2_000_000  # bytes read at once
SPANS_KEPT = 8  # what `explain` and the report can show


class Span(NamedTuple):
    """A foreign stretch, in characters, and its language or script."""

    start: int
    end: int
    language: str


@dataclass
class Mixing:
    """Results for a column, one entry per text. Shares are of its words."""

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
    also: Sequence[Set[str]] | None = None,
    answers: bool = False,
) -> Mixing:
    """Measure a column: survey every text, then judge the suspects.

    `also` are further languages that a text may be in: those its question asks for. `answers` says
    that the texts are answers, which may be titles alone.
    """
    offsets, data = utf8(texts)
    masked = mask(data, offsets, ascii_classes())
    letters = written(data, offsets)
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
    found: dict[int, Verdict] = {}
    for home in sorted({home for home in homes if home is not None}):
        chosen = np.array([row for row in range(count) if homes[row] == home], dtype=np.int64)
        for some in _portions(chosen, offsets):
            units, ends, leads, words, scores = survey(masked, offsets, some, reading(home))
            result.words[some] = units / WORD_UNITS
            begins = np.concatenate(([0], ends[:-1]))
            for place in np.flatnonzero(ends > begins).tolist():
                row, here = int(some[place]), slice(int(begins[place]), int(ends[place]))
                part = slice(offsets[row], offsets[row + 1])
                question = Question(questions[row] or "")
                asked = also[row] if also else frozenset()
                read = Found(words.of_text(here), scores[here], leads[place])
                verdict = Text(home, masked[part], read, question, asked, answers).verdict()
                _record(result, row, verdict, data[part])
                found[row] = verdict
        own_words = result.words * (1.0 - result.foreign)
        for row in chosen[letters[chosen] > OWN_WORDS * own_words[chosen] + SPARE].tolist():
            part = slice(offsets[row], offsets[row + 1])
            question = Question(questions[row] or "")
            asked = also[row] if also else frozenset()
            shown = found.get(row) or Verdict(round(result.words[row] * WORD_UNITS), [])
            hidden = find_hidden_prose(
                data[part], masked[part], home, question, asked, answers, shown
            )
            if hidden is not None and hidden.consistency < shown.consistency:
                _record(result, row, hidden, data[part])
    return result


def _portions(
    chosen: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.int64]]:
    """Split texts into groups of about PORTION bytes."""
    sizes = np.cumsum(offsets[chosen + 1] - offsets[chosen])
    if len(chosen):
        yield from np.split(chosen, np.flatnonzero(np.diff(sizes // PORTION)) + 1)


def _record(result: Mixing, row: int, verdict: Verdict, raw: Bytes) -> None:
    """Store the verdict of one text."""
    result.words[row] = verdict.units / WORD_UNITS
    result.script[row] = result.language[row] = 0.0
    result.by[row] = result.spans[row] = None
    if not verdict.foreign:
        return
    shares: dict[str, float] = {}
    for stretch in verdict.foreign:
        share = stretch.units / verdict.units
        (result.language if stretch.by_words else result.script)[row] += share
        shares[stretch.label] = shares.get(stretch.label, 0.0) + share
    result.by[row] = shares
    result.spans[row] = _in_characters(raw, verdict.foreign[:SPANS_KEPT])


def _in_characters(raw: Bytes, stretches: list[Stretch]) -> list[Span]:
    """Convert byte offsets to character offsets."""
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
