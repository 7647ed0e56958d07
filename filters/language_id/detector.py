"""langdetect, made safe to use, as a second opinion on a question whose words decide nothing.

It is seeded, loaded once, and asked about prose only (formulas, code and URLs are blanked). On
short or mixed text it answers nonsense, so it is asked last, about a whole question, and believed
only when it is sure and the words lean the same way.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

SEED = 0  # without one, langdetect's random walk gives other answers from run to run
MIN_WORDS = 5
SURE = 0.99

_LOADING = threading.Lock()


def second_opinion(prose: str, languages: tuple[str, ...]) -> str | None:
    """The one of `languages` that langdetect is sure of; None where it is not, or knows none.

    `prose` is a question with mathematics, code, tags and URLs blanked.
    """
    if len(prose.split()) < MIN_WORDS:
        return None
    with _LOADING:  # threads that each find the profiles missing would each load them
        factory, failure = _load(languages)
    if factory is None:
        return None
    detector = factory.create()
    detector.append(prose)
    try:
        guesses = detector.get_probabilities()
    except failure:
        return None
    return next((str(guess.lang) for guess in guesses if guess.prob >= SURE), None)


@cache
def _load(languages: tuple[str, ...]) -> tuple[Any, type[Exception]]:
    """A factory of our own: the library's global one, and its seed, stay the user's."""
    import langdetect
    from langdetect.detector_factory import DetectorFactory, LangDetectException

    folder = Path(langdetect.PROFILES_DIRECTORY)
    files = [folder / language for language in languages]
    profiles = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    if not profiles:
        return None, LangDetectException
    factory = DetectorFactory()
    factory.load_json_profile(profiles)
    factory.set_seed(SEED)
    return factory, LangDetectException
