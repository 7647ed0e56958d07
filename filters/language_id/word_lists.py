"""Read the word frequencies of each language.

The lists are those of wordfreq (Apache-2.0; its data CC BY-SA 4.0), read where that package is
installed; none is copied. To them come the forms that people write: without diacritics, and other
scripts in Latin letters. A language without a list has its function words alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache

from filters.language_id.function_words import CONNECTIVES, FUNCTION_WORDS
from filters.language_id.romanised import ROMANISED, romanised
from filters.language_id.scripts import GROUPS, SCRIPT_OF_LANGUAGE, UNSPACED

WORDFREQ = {"no": "nb", "hr": "sh", "tl": "fil"}
"""Codes that wordfreq spells otherwise."""

WORDS = 20_000  # the most frequent of a list; rarer ones tell languages apart by their letters
MORE_WORDS = {"en": 80_000}  # in which most is reasoned, and most is borrowed from
ROMANISED_WORDS = 8_000
ROMANISED_SHARE = 0.3  # of the spellings in Latin letters, this one
PLAIN_FORM = 0.1  # how often a word is written without its diacritics
TRADITIONAL = 0.4  # how often Chinese is written in traditional letters
SHARED = 20  # times as frequent a word may be elsewhere and be the same word
CONNECTIVE = 3e-4  # the least frequency of a connective in reasoning
FUNCTION_WORD = 0.03  # of the first of a list; the others fall as Zipf has it

_BETWEEN = re.compile(r"[\s'’ʼ\-‐‑·.&/_\d]+")
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i"}
)
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


def group_of(language: str) -> str | None:
    """Return the group of a language; None if it shares its script with no other."""
    script = "Latin" if language in ROMANISED else SCRIPT_OF_LANGUAGE[language]
    return next((group for group, scripts in GROUPS.items() if script in scripts), None)


def languages_of(group: str) -> list[str]:
    """Return the languages of a group that have words, in a fixed order."""
    known = [*SCRIPT_OF_LANGUAGE, *ROMANISED] if group == "Latin" else [*SCRIPT_OF_LANGUAGE]
    return [name for name in known if group_of(name) == group and _has_words(name)]


def _has_words(language: str) -> bool:
    from wordfreq import available_languages

    code = WORDFREQ.get(language, language)
    return (
        language in ROMANISED or code in available_languages("small") or language in FUNCTION_WORDS
    )


def frequencies(language: str) -> dict[str, float]:
    """Return word → share of all words; of Chinese and Japanese, letter → share of all letters."""
    if language in ROMANISED:
        native = ROMANISED[language]
        found: dict[str, float] = {}
        for word, frequency in romanised(native, _listed(native, ROMANISED_WORDS)):
            found[word] = max(found.get(word, 0.0), ROMANISED_SHARE * frequency)
        return found
    if SCRIPT_OF_LANGUAGE[language] in UNSPACED:
        return _letters(language)
    found = dict(_listed(language, MORE_WORDS.get(language, WORDS)))
    for word in CONNECTIVES.get(language, "").split():
        found[word] = max(found.get(word, 0.0), CONNECTIVE)
    for word, frequency in list(found.items()):
        for form in _plain_forms(language, word):
            found[form] = max(found.get(form, 0.0), PLAIN_FORM * frequency)
    return found


@cache
def _listed(language: str, most: int) -> dict[str, float]:
    from wordfreq import available_languages, get_frequency_dict

    found: dict[str, float]
    code = WORDFREQ.get(language, language)
    if code not in available_languages("small"):
        own = FUNCTION_WORDS[language].split()
        found = {word: FUNCTION_WORD / rank for rank, word in enumerate(own, 1)}
        for neighbour in languages_of(group_of(language) or ""):
            if neighbour not in FUNCTION_WORDS and neighbour not in ROMANISED:
                theirs = _listed(neighbour, most)
                for word in found.keys() & theirs.keys():  # of both: it says nothing between them
                    if SHARED * theirs[word] >= found[word]:
                        found[word] = theirs[word]
        return found
    found = defaultdict(float)
    listed = get_frequency_dict(code, "large" if most > WORDS else "small")
    for word, frequency in sorted(listed.items(), key=lambda item: -item[1])[: 2 * most]:
        for part in filter(None, _BETWEEN.split(word)):  # "don't", "semi-final" are read in parts
            found[part] += frequency
    ranked = sorted(found.items(), key=lambda item: -item[1])[:most]
    return dict(ranked)


def _letters(language: str) -> dict[str, float]:
    from wordfreq import get_frequency_dict

    found: dict[str, float] = defaultdict(float)
    for word, frequency in get_frequency_dict(language, "small").items():
        for letter in word:
            if ord(letter) > 0x2E80:
                found[letter] += frequency
    if language == "zh":
        for traditional, simple in _traditional().items():
            if simple in found and traditional != simple:
                found[traditional] = max(found[traditional], TRADITIONAL * found[simple])
    total = sum(found.values())
    return {letter: frequency / total for letter, frequency in found.items()}


def _traditional() -> Mapping[str, str]:
    """Return traditional → simplified letters: wordfreq's table, whose module would load jieba."""
    import gzip

    import msgpack
    from wordfreq.util import data_path

    with gzip.open(data_path("_chinese_mapping.msgpack.gz")) as file:
        table = msgpack.load(file, raw=False, strict_map_key=False)
    return {chr(code): simple for code, simple in table.items() if len(simple) == 1}


def _plain_forms(language: str, word: str) -> Iterator[str]:
    """Yield the spellings of a word without diacritics."""
    if word.isascii():
        return
    if language == "de":
        yield word.translate(_GERMAN)
    if group_of(language) == "Latin":
        plain = unicodedata.normalize("NFD", word.translate(_LETTERS))
        yield "".join(letter for letter in plain if not unicodedata.combining(letter))
