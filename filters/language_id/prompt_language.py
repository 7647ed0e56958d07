"""Detect the language of a question if its source does not state it."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import polars as pl

from filters.language_id.detector import second_opinion
from filters.language_id.masking import ascii_classes, mask
from filters.language_id.mentions import count_words
from filters.language_id.reader import FREQUENT, floor_of, read
from filters.language_id.readings import reading
from filters.language_id.romanised import ROMANISED
from filters.language_id.scripts import (
    GROUPS,
    SCRIPT_OF_LANGUAGE,
    SCRIPTS,
    normalized_language,
    script_table,
)
from filters.language_id.tables import LANGUAGES, lexicon
from filters.language_id.targets import target_languages
from filters.language_id.words import OWN

# A Latin letter next to letters of another script is more often a term than a sentence.
_LATIN_DISCOUNT = 4
# A share of kana that Japanese always has, and a Chinese text about Japan has not.
_KANA_SHARE = 0.1
_BEGINNING = 4000  # characters of a text, enough to show its language
_OFTEN = 3  # times that a word counts
_LEAD = 12  # eighths of a nat that the likeliest language must be ahead of the next
_BORROWED = 36  # the most that a word says for English that is no function word
_FRAME = 2  # words that show in which language a question speaks of what it quotes
_QUOTED = re.compile(r"[\"“„«「『][^\n\"”“»」』]*[\"”“»」』]")
_AFTER_COLON = re.compile(r"(?<=\w): .*")


def prompt_languages(samples: pl.DataFrame) -> list[str | None]:
    """Return each sample's language: the stated one, the question's, or its own."""
    homes: list[str | None] = []
    asked = samples.select("language", "question").iter_rows()
    for row, (given, question) in enumerate(asked):
        home = normalized_language(given)
        if home is None and question:
            home = detect_language(question)
        if home is None:
            home = next(filter(None, map(detect_language, _beginnings(samples, row))), None)
        homes.append(home)
    return homes


def _beginnings(samples: pl.DataFrame, row: int) -> list[str]:
    texts = (samples[part][row] for part in ("thinking", "response"))
    return [text[:_BEGINNING] for text in texts if text]


def masked_text(text: str) -> str:
    """`text` with mathematics, code, tags and URLs blanked."""
    return _masked(text).tobytes().decode("utf-8", "replace")


def _masked(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    return mask(data, np.array([0, len(data)]), ascii_classes())


@lru_cache(maxsize=4096)  # the samples of a prompt share its question
def detect_language(text: str) -> str | None:
    """Return the language that `text` speaks in, or None if it is unclear.

    What it quotes may be in another language, and what follows a colon where it asks for one:
    "Translate into German: …".
    """
    frame = _QUOTED.sub(" ", text)
    if target_languages(text):
        frame = _AFTER_COLON.sub(" ", frame)
    if frame != text and count_words(frame) >= _FRAME:
        return _language_of(frame) or _language_of(text)
    return _language_of(text)


def _language_of(text: str) -> str | None:
    """Return the language of most of `text`, or None if it is unclear."""
    masked = _masked(text)
    prose = masked.tobytes().decode("utf-8", "replace")
    script = main_script(prose)
    if script is None:
        return None
    candidates = [name for name, known_by in SCRIPT_OF_LANGUAGE.items() if known_by == script]
    if len(candidates) == 1:
        return candidates[0]
    group = next(group for group in GROUPS if script in GROUPS[group])
    likeliest, clear = _likeliest(masked, group)
    if clear or second_opinion(prose, tuple(candidates)) == likeliest:
        return likeliest
    return None


def _likeliest(masked: np.ndarray[tuple[int], np.dtype[np.uint8]], group: str) -> tuple[str, bool]:
    """Return the most likely language of a group, and whether its lead is clear."""
    languages = LANGUAGES[group]
    words = read(masked, reading(languages[0]))
    sums = np.zeros(len(languages), np.int64)
    frequent = np.zeros(len(languages), bool)
    times: dict[int, int] = {}
    for kind, row, look in zip(
        words.kind.tolist(), words.row.tolist(), words.look.tolist(), strict=True
    ):
        times[row] = times.get(row, 0) + 1
        if kind == OWN and row != -1 and times[row] <= _OFTEN:
            scores = lexicon().words[row] if row >= 0 else words.extra[-2 - row]
            scores = scores[: len(languages)].copy()
            if languages[0] == "en" and scores[0] < FREQUENT:
                scores[0] = min(scores[0], max(_BORROWED, scores[1:].max()))
            scores = np.maximum(scores, floor_of(look))
            sums += scores
            frequent |= scores >= FREQUENT
    native = np.array([name not in ROMANISED for name in languages])
    ranked = np.argsort(np.where(native, -sums, 1), kind="stable")
    best, second = int(ranked[0]), int(ranked[1])
    lead = _LEAD if frequent[best] else 2 * _LEAD
    return languages[best], bool(sums[best] - sums[second] >= lead)


def main_script(prose: str) -> str | None:
    """Return the script of most letters."""
    codes = np.frombuffer(prose.encode("utf-32-le"), dtype=np.uint32)
    counts = np.bincount(script_table()[codes[codes < 0x10000]], minlength=len(SCRIPTS))
    letters = dict(zip(SCRIPTS, counts.tolist(), strict=True))
    del letters["None"], letters["Mark"]
    letters["Latin"] //= _LATIN_DISCOUNT if letters["Latin"] < sum(letters.values()) else 1
    letters["Han"] += letters.pop("Simplified")
    if letters["Kana"] > _KANA_SHARE * letters["Han"]:
        letters["Kana"] += letters["Han"]
    script = max(letters, key=letters.__getitem__)
    return script if letters[script] else None
