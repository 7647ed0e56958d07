"""langdetect, made safe to use: seeded, loaded before any thread needs it, on prose only.

`langdetect-rs`, a drop-in replacement with the same answers, is used where it is installed.
Both are asked about masked suspicious stretches and never about a whole text: on formulas and
short strings they answer nonsense, and on a mixed text they name the majority. Only the languages
of the stretch's script stand to choose from, which is faster and errs less.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import langdetect

from filters.language_id.scripts import SCRIPT_OF_LANGUAGE

IMPLEMENTATIONS = ("langdetect_rs", "langdetect")
SEED = 0  # without one, langdetect's random walk gives other answers from run to run
_LOADING = threading.Lock()


def profile(language: str) -> str | None:
    """langdetect's own data about a language, as JSON."""
    path = Path(langdetect.PROFILES_DIRECTORY) / language
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def _load(implementation: str, script: str) -> tuple[Any, type[Exception]]:
    """A factory of our own: the library's global one, and its seed, stay the user's."""
    library = import_module(implementation)
    languages = [name for name, known_by in SCRIPT_OF_LANGUAGE.items() if known_by == script]
    factory = library.DetectorFactory()
    factory.load_json_profile([found for name in languages if (found := profile(name))])
    factory.set_seed(SEED)
    return factory, library.LangDetectException


@cache
def fastest() -> str:
    """The implementation in use."""
    try:
        import_module(IMPLEMENTATIONS[0])
    except ImportError:
        return IMPLEMENTATIONS[1]
    return IMPLEMENTATIONS[0]


def warm_up(script: str, implementation: str | None = None) -> None:
    """Load the profiles once. Threads that each find them missing would each load them."""
    with _LOADING:
        _load(implementation or fastest(), script)


@lru_cache(maxsize=1 << 14)  # a text that loops, and a prompt's samples, ask the same again
def probabilities(text: str, script: str, implementation: str | None = None) -> Mapping[str, float]:
    """Language of `script` → probability, those above 0.1; empty where the text shows nothing.

    `script` is one that several languages share: Latin, Cyrillic, Arabic or Devanagari.
    """
    warm_up(script, implementation)
    factory, failure = _load(implementation or fastest(), script)
    detector = factory.create()
    detector.append(text)
    try:
        return {guess.lang: guess.prob for guess in detector.get_probabilities()}
    except failure:
        return {}


def best(text: str, script: str, implementation: str | None = None) -> tuple[str | None, float]:
    """The likeliest language and its probability."""
    found = probabilities(text, script, implementation)
    return max(found.items(), key=lambda item: item[1]) if found else (None, 0.0)
