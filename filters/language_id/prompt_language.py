"""Which language a question is asked in, where its source does not say."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

import numpy as np
import polars as pl

from filters.language_id import detector
from filters.language_id.masking import ascii_classes, mask
from filters.language_id.scripts import (
    SCRIPT_OF_LANGUAGE,
    SCRIPTS,
    normalized_language,
    script_table,
)
from filters.language_id.spans import DETECTABLE_LETTERS, WORD
from filters.language_id.tables import languages_of_word

# A Latin letter beside letters of another script is more often a term than a sentence.
_LATIN_DISCOUNT = 4
# A share of kana that Japanese always has, and a Chinese text about Japan has not.
_KANA_SHARE = 0.1
_BEGINNING = 4000  # characters of a text, enough to show its language
_SURE, _LEAD, _CERTAIN = 1.5, 1.3, 0.9


def prompt_languages(samples: pl.DataFrame) -> list[str | None]:
    """The language to judge each sample by: given, the question's, or the sample's own."""
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
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    return mask(data, ascii_classes()).tobytes().decode("utf-8", "replace")


@lru_cache(maxsize=4096)  # the samples of a prompt share its question
def detect_language(text: str) -> str | None:
    """The language most of `text` is written in, or None where it does not show."""
    prose = masked_text(text)
    script = main_script(prose)
    if script is None:
        return None
    candidates = [name for name, known_by in SCRIPT_OF_LANGUAGE.items() if known_by == script]
    if len(candidates) == 1:
        return candidates[0]
    votes: dict[str, float] = defaultdict(float)
    for word in WORD.findall(prose):
        languages = languages_of_word().get(word.lower(), frozenset())
        if len(word.encode()) > 1:
            for language in languages & set(candidates):
                votes[language] += 1.0 / len(languages)
    ranked = [*sorted(votes.items(), key=lambda item: -item[1]), ("", 0.0)]
    if votes and ranked[0][1] >= max(_SURE, _LEAD * ranked[1][1]):
        return ranked[0][0]
    if sum(map(str.isalpha, prose)) < DETECTABLE_LETTERS:
        return None
    detected, certainty = detector.best(prose, script)
    return detected if certainty >= _CERTAIN else None


def main_script(prose: str) -> str | None:
    """The script most of the letters are in."""
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
