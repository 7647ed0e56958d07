"""The language of a question, where its source does not say."""

from __future__ import annotations

import polars as pl
import pytest

from filters.language_id.detector import second_opinion
from filters.language_id.prompt_language import detect_language, prompt_languages
from filters.language_id.scripts import normalized_language
from filters.language_id.targets import names_any, target_languages

QUESTIONS = [
    ("How many ways are there to seat five guests?", "en"),
    ("Find the sum of $x$ and \\(y\\).", "en"),
    ("¿Cuántas manzanas le quedan al agricultor?", "es"),
    ("Combien de pommes reste-t-il dans les paniers ?", "fr"),
    ("Wie viele Äpfel bleiben in den Körben übrig?", "de"),
    ("Quantas maçãs sobram nos cestos do agricultor?", "pt"),
    ("Quante mele restano nei cesti del contadino?", "it"),
    ("Сколько яблок осталось у фермера в корзинах?", "ru"),
    ("Скільки яблук залишилося у фермера, якщо він віддав ще три?", "uk"),
    ("كم تفاحة بقيت لدى المزارع في السلال؟", "ar"),
    ("किसान के पास कितने सेब बचे हैं?", "hi"),
    ("求函数 $f(x)=x^2$ 的最小值。", "zh"),
    ("用 Python 写一个函数 def solve(n) 返回结果。", "zh"),
    ("関数の最小値を求めよ。", "ja"),
    ("함수의 최솟값을 구하시오.", "ko"),
    ("Translate the Chinese word 面积 into English and explain it.", "en"),
    ("Βρείτε το ελάχιστο της συνάρτησης.", "el"),
    ("$x + 1 = 3$", None),
    ("", None),
]


@pytest.mark.parametrize(("question", "language"), QUESTIONS)
def test_detect_language(question: str, language: str | None) -> None:
    assert detect_language(question) == language


UNCLEAR = [  # the words lean too little; langdetect decides where it agrees
    ("Hvor mange epler har Ola", "no"),
    ("foo bar baz qux quux corge", None),
    ("Determinar xyz", None),
    ("\\alpha \\beta \\gamma \\delta \\epsilon \\zeta", None),
]


@pytest.mark.parametrize(("question", "language"), UNCLEAR)
def test_two_opinions_that_agree_decide(question: str, language: str | None) -> None:
    assert detect_language(question) == language


def test_the_second_opinion_is_the_same_every_time() -> None:
    said = {second_opinion("Hvor mange epler har Ola", ("no", "da", "sv")) for _ in range(5)}
    assert len(said) == 1
    assert second_opinion("Hvor mange epler har Ola", ("xx",)) is None
    assert second_opinion("Hvor mange", ("no", "da", "sv")) is None


CODES = [("en", "en"), ("EN", "en"), ("zh-CN", "zh"), ("zh_TW", "zh"), ("nb", "no"), ("xx", None)]


@pytest.mark.parametrize(("code", "language"), [*CODES, ("", None), (None, None)])
def test_normalized_language(code: str | None, language: str | None) -> None:
    assert normalized_language(code) == language


TARGETS = [  # capitals and letters that fold are spelled freely
    ("İngilizce'ye çevir: merhaba", {"en"}),
    ("BUNU İTALYANCA YAZ", {"it"}),
    ("Translate into ITALIAN and Japanese: hello", {"it", "ja"}),
    ("ترجم الى الانجليزيه", {"en"}),
    ("The frenchman answered", {"fr"}),
    ('Say "into German" twice', set()),
]


@pytest.mark.parametrize(("question", "languages"), TARGETS)
def test_target_languages(question: str, languages: set[str]) -> None:
    assert target_languages(question) == languages


def test_a_named_language_is_found_outside_of_quotations() -> None:
    assert names_any("İngilizce'de buna ne denir", ("en",))
    assert not names_any("İngilizce'de buna ne denir", ("de", "fr"))
    assert not names_any('the word "spanish" is here', ("es",))


def test_given_then_question_then_text() -> None:
    samples = pl.DataFrame(
        {
            "language": ["fr", None, None, None],
            "question": ["Find the sum of the numbers.", "Find the sum of the numbers.", "1+1", ""],
            "thinking": ["", "求和。", "求和，然后得到答案。", None],
            "response": ["", "", "", None],
        },
        schema=dict.fromkeys(("language", "question", "thinking", "response"), pl.String),
    )
    assert prompt_languages(samples) == ["fr", "en", "zh", None]
