"""Small tools for text."""

from textkit.durations import format_duration, parse_duration
from textkit.numerals import from_roman, to_roman
from textkit.words import abbreviate, count_words, slugify, wrap

__all__ = [
    "abbreviate",
    "count_words",
    "format_duration",
    "from_roman",
    "parse_duration",
    "slugify",
    "to_roman",
    "wrap",
]
