"""Writing systems: which script a letter belongs to, and which scripts a language is written in."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

SCRIPTS = (
    "None",  # digits, punctuation, symbols: ℝ, 𝑥, ①, emoji
    "Mark",  # combining accents, joiners, direction marks: part of a word, never evidence
    "Latin",
    "Greek",
    "Cyrillic",
    "Hebrew",
    "Arabic",
    "Devanagari",
    "Bengali",
    "Gurmukhi",
    "Gujarati",
    "Tamil",
    "Telugu",
    "Kannada",
    "Malayalam",
    "Thai",
    "Georgian",
    "Armenian",
    "Hangul",
    "Kana",
    "Han",  # letters that Chinese and Japanese share, or that only traditional Chinese has
    "Simplified",  # letters of simplified Chinese that Japanese does not have
    "Other",
)
"""The script classes. They follow Unicode's, except that Han is split: 这 is no kanji."""

SCRIPT = {name: number for number, name in enumerate(SCRIPTS)}
MARK, LATIN, HAN = 1, 2, 20  # as numbers, for the kernels

LETTERS_A_WORD = {"Kana": 2, "Han": 2, "Simplified": 2, "Thai": 4}
"""Scripts written without spaces: every letter is read by itself, and so many count as a word.

About what segmenters find: 1.6 letters a word in Chinese, 2.1 in Japanese, 4 in Thai (its vowel
signs and tone marks counted).
"""

UNSPACED = tuple(LETTERS_A_WORD)

GROUPS = {
    "Latin": ("Latin",),
    "Cyrillic": ("Cyrillic",),
    "Arabic": ("Arabic",),
    "Devanagari": ("Devanagari",),
    "Han": ("Han", "Simplified", "Kana"),
}
"""Scripts that several languages share: there words have to tell them apart."""

KIN = (
    {"es", "pt", "ca", "it"},
    {"da", "no", "sv"},
    {"cs", "sk"},
    {"hi", "mr", "ne"},
    {"id", "ms", "tl"},
    {"nl", "af", "de"},
    {"bg", "mk", "ru", "uk", "be"},
    {"hr", "sl"},
    {"fi", "et"},
)
"""Languages so near each other that a short stretch is no proof of either."""

# Modifier letters and IPA (U+0250–02FF, U+1D00–1DBF) are notation, hence in no script.
_RANGES = {
    "Latin": [
        *[(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)],
        *[(0xFF21, 0xFF3A), (0xFF41, 0xFF5A)],
    ],
    "Greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "Cyrillic": [(0x400, 0x52F)],
    "Armenian": [(0x530, 0x58F)],
    "Hebrew": [(0x5D0, 0x5F2)],
    "Arabic": [(0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)],
    "Devanagari": [(0x900, 0x97F)],
    "Bengali": [(0x980, 0x9FF)],
    "Gurmukhi": [(0xA00, 0xA7F)],
    "Gujarati": [(0xA80, 0xAFF)],
    "Tamil": [(0xB80, 0xBFF)],
    "Telugu": [(0xC00, 0xC7F)],
    "Kannada": [(0xC80, 0xCFF)],
    "Malayalam": [(0xD00, 0xD7F)],
    "Thai": [(0xE00, 0xE7F)],
    "Georgian": [(0x10A0, 0x10FF)],
    "Hangul": [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)],
    "Kana": [
        (0x3041, 0x3096),
        (0x30A1, 0x30FA),
        (0x30FC, 0x30FE),
        (0x31F0, 0x31FF),
        (0xFF66, 0xFF9D),
    ],
    "Han": [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAD9)],
    "Other": [(0xD80, 0xDFF), (0xE80, 0xFFF), (0x1000, 0x109F), (0x1200, 0x139F), (0x1780, 0x17FF)],
}
_MARKS = [
    *[
        (0x300, 0x36F),
        (0x64B, 0x65F),
        (0x670, 0x670),
        (0x180B, 0x180E),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x2064),
    ],
    *[(0x2066, 0x206F), (0xFE00, 0xFE0F), (0xFFF9, 0xFFFB)],
]

_LANGUAGES = {
    "Latin": (
        "en es fr de pt it nl pl sv da no fi tr id vi ro cs hu sk sl hr lt lv et sq sw af ca tl ms "
        "is"
    ),
    "Cyrillic": "ru uk bg mk be kk mn",
    "Arabic": "ar fa ur",
    "Devanagari": "hi mr ne",
    "Greek": "el",
    "Hebrew": "he",
    "Bengali": "bn",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Thai": "th",
    "Georgian": "ka",
    "Armenian": "hy",
    "Hangul": "ko",
    "Kana": "ja",
    "Han": "zh",
}

SCRIPT_OF_LANGUAGE = {
    language: script for script, languages in _LANGUAGES.items() for language in languages.split()
}
"""The script that a language is known by: Kana for Japanese, though it is written in Han too."""


@cache
def script_table() -> npt.NDArray[np.uint8]:
    """The script number of every code point of the basic plane."""
    table = np.zeros(0x10000, dtype=np.uint8)
    for name, ranges in _RANGES.items():
        for first, last in ranges:
            table[first : last + 1] = SCRIPT[name]
            if name == "Han":
                continue
            for code in range(first, last + 1):
                if unicodedata.category(chr(code))[0] not in "LM":
                    table[code] = SCRIPT["None"]
    for first, last in _MARKS:
        table[first : last + 1] = SCRIPT["Mark"]
    for code in (0xAD, 0x640, 0xFEFF):  # soft hyphen, tatweel, byte-order mark
        table[code] = SCRIPT["Mark"]
    for code in (0xD7, 0xF7):  # × and ÷ lie among the letters of Latin-1
        table[code] = SCRIPT["None"]
    for letter in _simplified_only():
        table[ord(letter)] = SCRIPT["Simplified"]
    return table


def _simplified_only() -> list[str]:
    """Letters in mainland China's standard set (GB 2312) and not in Japan's (JIS X 0208)."""
    letters = []
    for row in range(0xB0, 0xF8):
        for cell in range(0xA1, 0xFF):
            letter = bytes((row, cell)).decode("gb2312", "ignore")
            if letter and not letter.encode("shift_jis", "ignore"):
                letters.append(letter)
    return letters


_ALIKE = {"ё": "е", "أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ة": "ه", "ς": "σ"}


@cache
def fold_table() -> npt.NDArray[np.uint16]:
    """Return the folded code point of each in the basic plane: lower case, ordinary width."""
    table = np.arange(0x10000, dtype=np.uint16)
    for code in range(0x41, 0x10000):
        letter = chr(code - 0xFEE0 if 0xFF21 <= code <= 0xFF5A else code)  # fullwidth letters
        lowered = letter.lower()[:1]  # "İ" becomes two letters, i and a dot
        table[code] = ord(_ALIKE.get(lowered, lowered))
    return table


@cache
def _folding() -> dict[int, int]:
    table = fold_table()
    return {code: int(table[code]) for code in np.flatnonzero(table != np.arange(0x10000)).tolist()}


def fold(word: str) -> str:
    """Fold a word as the kernels do."""
    if word.isascii():
        return word.lower()
    return word.translate(_folding())


def normalized_language(code: str | None) -> str | None:
    """`zh-CN`, `ZH_tw` and `zh` are all `zh`; None for a code that is not known here."""
    if not code:
        return None
    base = code.strip().lower().replace("_", "-").split("-")[0]
    base = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "fil": "tl", "yue": "zh"}.get(
        base, base
    )
    return base if base in SCRIPT_OF_LANGUAGE else None
