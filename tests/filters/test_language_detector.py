"""The detector is repeatable, safe in threads, and the same in both implementations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import langdetect
import pytest

from filters.language_id import detector

TEXTS = [
    ("The sum of both numbers is even.", "Latin", "en"),
    ("La suma de los dos números es par.", "Latin", "es"),
    ("La somme des deux nombres est paire.", "Latin", "fr"),
    ("Die Summe beider Zahlen ist gerade.", "Latin", "de"),
    ("A soma dos dois números é par.", "Latin", "pt"),
    ("Сумма обоих чисел чётная.", "Cyrillic", "ru"),
    ("Спочатку запишемо все, що відомо про це число.", "Cyrillic", "uk"),
    ("مجموع العددين زوجي دائما.", "Arabic", "ar"),
    ("दोनों संख्याओं का योग सम है।", "Devanagari", "hi"),
    ("12345 + !?", "Latin", None),
    ("", "Latin", None),
]


@pytest.mark.parametrize(("text", "script", "language"), TEXTS)
def test_both_implementations_say_the_same(text: str, script: str, language: str | None) -> None:
    pytest.importorskip("langdetect_rs")
    fast, plain = (detector.probabilities(text, script, name) for name in detector.IMPLEMENTATIONS)
    assert fast == plain
    assert detector.best(text, script)[0] == language


def test_threads_that_start_cold_agree() -> None:
    detector._load.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: detector.probabilities(*TEXTS[1][:2]), range(32)))
    assert answers == [answers[0]] * 32
    assert answers[0]["es"] > 0.5


def test_the_seed_of_the_library_stays_the_users() -> None:
    detector.warm_up("Latin", "langdetect")
    assert langdetect.DetectorFactory.seed is None
