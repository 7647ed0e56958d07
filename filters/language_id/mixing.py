"""How much of each text of a column is foreign to its language, where, and in what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.kernels import Bytes, utf8
from filters.language_id.scan import BY_WORDS, scan
from filters.language_id.spans import CONTEXT, WORD, Judge, Question
from filters.language_id.tables import LANGUAGES, NUMBER, tables

SPANS_KEPT = 8  # what `explain` and the report can show


class Span(NamedTuple):
    """A foreign stretch, in characters, and its language or script."""

    start: int
    end: int
    language: str


class Candidate(NamedTuple):
    """A row of the scan's: bytes of the text, and what it holds."""

    kind: int
    start: int
    end: int
    halves: int  # twice its words: a Han or kana letter is half a word
    language: str | None  # the likeliest
    lead: int  # how far it is ahead of the home language, in eighths of a nat

    def widened(self, left: str, right: str) -> Candidate:
        """With more of the text on both sides of it."""
        words = WORD.findall(left) + WORD.findall(right)
        return self._replace(
            start=self.start - len(left.lstrip().encode()),
            end=self.end + len(right.rstrip().encode()),
            halves=self.halves + 2 * len(words),
        )


@dataclass
class Mixing:
    """What is foreign, a row a text. Shares are of its words."""

    judged: npt.NDArray[np.bool_]  # there is a text, and a language to judge it by
    worded: npt.NDArray[np.bool_]  # there are words in it
    script: npt.NDArray[np.float64]  # letters of another script, or clauses among other letters
    language: npt.NDArray[np.float64]  # clauses in another language of the same script
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
    implementation: str | None = None,
) -> Mixing:
    """Scan every text in one pass, then judge the stretches that stood out."""
    offsets, data = utf8(texts)
    numbers = np.array([-1 if home is None else NUMBER[home] for home in homes], dtype=np.int64)
    totals, found, masked = scan(data, offsets, numbers, **vars(tables()))
    result = Mixing(
        judged=(numbers >= 0) & texts.is_not_null().to_numpy(),
        worded=totals[:, 0] > 0,
        script=np.zeros(len(numbers)),
        language=np.zeros(len(numbers)),
        by=[None] * len(numbers),
        spans=[None] * len(numbers),
    )
    for text, rows in groupby(found.tolist(), key=lambda row: row[0]):
        home = homes[text]
        assert home is not None  # the scan skips texts without a language
        raw = data[offsets[text] : offsets[text + 1]]
        candidates = [
            Candidate(
                kind,
                start - offsets[text],
                end - offsets[text],
                halves,
                LANGUAGES[language] if language >= 0 else None,
                lead,
            )
            for _, kind, start, end, halves, language, lead in rows
        ]
        judge = Judge(home, Question(questions[text] or ""), implementation)
        prose = masked[offsets[text] : offsets[text + 1]].tobytes()
        accepted = judged(prose, candidates, judge)
        if accepted:
            # Candidates that were counted but not kept are foreign in the proportion of the rest.
            scale = 1.0 + totals[text, 1] / sum(candidate.halves for candidate in candidates)
            _record(result, text, accepted, totals[text, 0] / scale)
            result.spans[text] = _in_characters(raw, accepted[:SPANS_KEPT])
    return result


def judged(masked: bytes, candidates: list[Candidate], judge: Judge) -> list[tuple[Candidate, str]]:
    """The candidates of one text that are foreign, in order, with their language or script."""
    accepted: list[tuple[Candidate, str]] = []
    candidates = sorted(candidates, key=lambda candidate: candidate.start)
    next_starts = [*(candidate.start for candidate in candidates[1:]), len(masked)]
    last_end = 0
    for candidate, next_start in zip(candidates, next_starts, strict=True):
        start, end = candidate.start, candidate.end
        before, after = masked[max(0, start - CONTEXT) : start], masked[end : end + CONTEXT]
        guess = (candidate.language, candidate.lead)
        stretch = _text(masked[start:end])
        label = judge.label(candidate.kind, stretch, _text(before), _text(after), guess)
        if label is not None:
            if candidate.kind == BY_WORDS:
                # Widened at most to its neighbours, so that no word counts twice.
                before = masked[max(last_end, start - CONTEXT) : start]
                after = after[: max(0, next_start - end)]
                candidate = candidate.widened(*judge.rest_of_clause(_text(before), _text(after)))
            accepted.append((candidate, label))
        last_end = max(last_end, end)
    return accepted


def _text(part: bytes) -> str:
    """Bytes cut out of a text; a letter that the cut went through is left out."""
    return part.decode("utf-8", "ignore")


def _record(
    result: Mixing, text: int, accepted: list[tuple[Candidate, str]], halves: float
) -> None:
    """Add up what is foreign in one text of so many half words."""
    shares: dict[str, float] = {}
    for candidate, label in accepted:
        share = candidate.halves / halves
        (result.language if candidate.kind == BY_WORDS else result.script)[text] += share
        shares[label] = shares.get(label, 0.0) + share
    result.by[text] = shares


def _in_characters(raw: Bytes, accepted: list[tuple[Candidate, str]]) -> list[Span]:
    """Byte offsets as character offsets."""
    spans, byte, char = [], 0, 0
    for candidate, label in accepted:
        char += len(raw[byte : candidate.start].tobytes().decode())
        end = char + len(raw[candidate.start : candidate.end].tobytes().decode())
        spans.append(Span(char, end, label))
        byte, char = candidate.end, end
    return spans
