"""Texts that are hard to judge, each with its verdict."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.language import Language, language_consistency

MIXED_SCRIPT, MIXED_LANGUAGE, WRONG = "mixed_script", "mixed_language", "wrong_language"

# language of the prompt, reasoning, reason (None: kept)
TRICKY = {
    "plain English": ("en", "First we add both numbers, then we halve the sum.", None),
    "one stray Han letter": ("en", "So the 积 of both numbers is what we look for.", MIXED_SCRIPT),
    "a stray Cyrillic letter": ("en", "Then the аnswer follows from the first case.", MIXED_SCRIPT),
    "a stray Korean word": ("en", "We still have to compute the 넓이 of the square.", MIXED_SCRIPT),
    "Greek symbols": ("en", "Let θ be the angle, Δt the step, and αβ the product of roots.", None),
    "a Greek sentence": (
        "en",
        "The limit exists because the sequence is bounded. Άρα η απάντηση είναι το μηδέν.",
        MIXED_SCRIPT,
    ),
    "letterlike symbols": (
        "en",
        "Here x ∈ ℝ, 𝑛 is even, the cardinal is ℵ₀ or א, 5 µm, 3 Å.",
        None,
    ),
    "emoji and full-width marks": ("en", "That works 🎉！ Now we check the second case。", None),
    "a gloss in brackets": ("en", "The method of Sunzi (孫子) solves it at once.", None),
    "a quoted word": ("en", 'The Russian word "мир" means peace, and also world.', None),
    "a long aside in brackets": (
        "en",
        "So we add (потому что сумма всегда чётная) and then go on.",
        MIXED_SCRIPT,
    ),
    "names with accents": ("en", "By Poincaré, Erdős and de la Vallée Poussin, this holds.", None),
    "a borrowed term": ("en", "With an ansatz of this form the a priori bound is easy.", None),
    "a Spanish clause": (
        "en",
        "We know that the sum is even, por lo tanto la función es continua, and so on. "
        "The rest of the argument is the same as in the first case.",
        MIXED_LANGUAGE,
    ),
    "a German sentence": (
        "en",
        "The first case is clear. Jetzt müssen wir nur noch den zweiten Fall betrachten. "
        "After that we can combine both of them and conclude the argument.",
        MIXED_LANGUAGE,
    ),
    "Portuguese in Spanish": (
        "es",
        "La suma de los dos números es par. Mas isto não pode estar certo, porque então "
        "a soma seria ímpar. Por eso hay que revisar otra vez todos los pasos del cálculo.",
        MIXED_LANGUAGE,
    ),
    "Ukrainian in Russian": (
        "ru",
        "Сумма двух чисел чётная. Але це ще не означає, що добуток також парний. "
        "Поэтому нужно отдельно рассмотреть второй случай и сравнить ответы.",
        MIXED_LANGUAGE,
    ),
    "English titles in German": (
        "de",
        "Das Buch »The Art of Computer Programming« behandelt diesen Fall on the fly.",
        None,
    ),
    "English terms in Chinese": (
        "zh",
        "这里用 dynamic programming 和 depth first search，if and only if n 是偶数。",
        None,
    ),
    "a compound term in Japanese": ("ja", "リンクには same-origin の設定を使ってください。", None),
    "an English word in Chinese": ("zh", "所以我们要先计算 the 面积，然后再求和。", MIXED_SCRIPT),
    "an English sentence in Chinese": (
        "zh",
        "等等，这样做好像不对，我们忘了一项。Let me check the second case again. 好的，答案是三。",
        MIXED_SCRIPT,
    ),
    "kana in Chinese": ("zh", "这个函数は单调递增的，所以最大值在右端。", MIXED_SCRIPT),
    "kanji in Japanese": ("ja", "数学的帰納法を用いて、すべての自然数について証明する。", None),
    "a long kanji compound": ("ja", "東京大学大学院数理科学研究科の入試問題である。", None),
    "Chinese in Japanese": (
        "ja",
        "まず和を求める。我们首先计算这个数。よって成り立つ。",
        MIXED_SCRIPT,
    ),
    "traditional Chinese in Japanese": (
        "ja",
        "まず和を求める。這也是我們很想知道。次に進む。",
        MIXED_LANGUAGE,
    ),
    "an acronym in Korean": ("ko", "운영 체제 OS 설정을 바꾸고 IT 부서에 물어봅니다.", None),
    "a command in Russian": ("ru", "Команда su меняет пользователя, а команда po нет.", None),
    "an era in Korean": ("ko", "달력에는 era 값을 함께 적어야 합니다.", None),
    "an English word in Russian": ("ru", "Тогда the ответ будет равен трём.", MIXED_SCRIPT),
    "Ukrainian letters in Russian": (
        "ru",
        "Сумма двух чисел чётная. Недостатньо прав для відкриття цієї теки з файлами. "
        "Поэтому нужно отдельно рассмотреть второй случай.",
        MIXED_LANGUAGE,
    ),
    "Persian in Arabic": (
        "ar",
        "مجموع العددين زوجي دائما. شکست در گشودن پرونده برای نوشتن داده ها. "
        "لذلك ننظر في الحالة الثانية.",
        MIXED_LANGUAGE,
    ),
    "Marathi in Hindi": (
        "hi",
        "दोनों संख्याओं का योग सम है। म्हणून आता आपल्याला दुसरी बाजू पुन्हा एकदा तपासावी लागेल. "
        "अब हम दूसरी स्थिति देखते हैं।",
        MIXED_LANGUAGE,
    ),
    "a long clause without function words": (
        "de",
        "Die Summe ist gerade. Önizleme parçasının genişliği sayfanın tümünü kaplıyorsa. "
        "Danach ist der Fall klar.",
        MIXED_LANGUAGE,
    ),
    "the same words over and over": (
        "en",
        "".join(f"n = {n}: {n * n} mod 34 is {n * n % 34}, no luck.\n" for n in range(1, 40)),
        None,
    ),
    "odd English without a foreign word": (
        "en",
        "Nobody may avoid no prime tile separately once it can simplify no empty denominator.",
        None,
    ),
    "a Portuguese cognate in Spanish": (
        "es",
        "El conjunto vacío es un subconjunto de todo conjunto, y esto vale para cada caso.",
        None,
    ),
    "hanja gloss in Korean": ("ko", "수학(數學)에서는 이것을 항등식이라고 부릅니다.", None),
    "Han in Korean": ("ko", "이제 面积 구하면 답은 십이가 됩니다.", MIXED_SCRIPT),
    "English names in Arabic": ("ar", "نستخدم خوارزمية Dijkstra مع بنية heap لحساب الطريق.", None),
    "right-to-left marks": ("ar", "الجواب هو \u200f12\u200e\u202b والسؤال\u202c سهل جدا.", None),
    "Hindi with English terms": ("hi", "हम यहाँ dynamic programming का प्रयोग करके रास्ते गिनेंगे।", None),
    "English sentence in Hindi": (
        "hi",
        "पहले हम दोनों संख्याओं का योग निकालते हैं। Now we can divide both sides by two. उत्तर चार है।",
        MIXED_SCRIPT,
    ),
    "masked mathematics": ("en", r"So \(\text{面积} = 3\) and $площадь = 4$ agree.", None),
    "masked code": (
        "en",
        "We run it:\n```python\n# 计算总和\nx = 1\n```\nand `итог` is three.",
        None,
    ),
    "an unclosed fence hides nothing": (
        "en",
        "We run it:\n```\nand so 我们 get three.",
        MIXED_SCRIPT,
    ),
    "money is no mathematics": ("en", "It costs $5 in the 商店 and $6 at home.", MIXED_SCRIPT),
    "a URL": ("en", "See https://example.org/wiki/площадь?l=ru for the proof of this.", None),
    "only formulas": ("en", r"$x = 3$ \[ y = \alpha \] 2 + 2 = 4", None),
    "all in another language": (
        "en",
        "Пусть сумма двух чисел чётная. Тогда ответ равен трём.",
        WRONG,
    ),
    "all in another, same letters": (
        "es",
        "Let us first add both numbers. Then the answer is half of the sum.",
        WRONG,
    ),
}


def sample(
    language: str | None, thinking: str | None, question: str = "", response: str = ""
) -> dict:  # type: ignore[type-arg]
    return {
        "sample_id": "a-0",
        "language": language,
        "question": question,
        "thinking": thinking,
        "response": response,
    }


SCHEMA = dict.fromkeys(("sample_id", "language", "question", "thinking", "response"), pl.String)


def measured(*samples: dict) -> pl.DataFrame:  # type: ignore[type-arg]
    return Language().measure(pl.DataFrame(list(samples), schema=SCHEMA))


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_texts(name: str) -> None:
    language, thinking, reason = TRICKY[name]
    metrics = measured(sample(language, thinking))
    verdict = Language().decide(metrics).row(0, named=True)
    assert verdict["reason"] == reason, metrics.row(0, named=True)


QUOTES = [
    ("Translate: Пусть сумма чётная.", "The text Пусть сумма чётная speaks of a sum.", None),
    (
        "Translate: Пусть сумма чётная.",
        "The text Пусть разность чётная is another one than that of the question.",
        MIXED_SCRIPT,
    ),
    (
        "What does 'la función es continua en todo el intervalo' mean?",
        "We see that la función es continua en todo el intervalo is about a function.",
        None,
    ),
]


@pytest.mark.parametrize(("question", "thinking", "reason"), QUOTES)
def test_what_the_prompt_says_may_be_quoted(
    question: str, thinking: str, reason: str | None
) -> None:
    verdict = Language().decide(measured(sample("en", thinking, question)))
    assert verdict["reason"].item() == reason


BAD = {
    "empty": "",
    "one letter": "a" * 10_000_000,
    "one foreign letter": "数" * 300_000,
    "alternating scripts": "a 数 " * 200_000,
    "lines": "so it is\n" * 100_000,
    "openings without an end": "$5 \\( \\[ ` <b \\begin{a} http:// " * 20_000,
    "backticks": "`" * 100_000 + " `` ` ``` \n" * 10_000,
    "marks": "\u200f\u202e\u0301\ufeff" * 1_000,
    "null bytes": "\x00\x01" * 100,
    "formulas": "$x = 1$ " * 1_000,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_verdict(name: str) -> None:
    verdict = Language().decide(measured(sample("en", BAD[name], BAD[name][:1000], BAD[name])))
    assert verdict["decision"].item() in ("keep", "drop")


def test_missing_parts_and_languages_are_null_and_kept() -> None:
    metrics = measured(sample("en", None), sample(None, "2 + 2 = 4"), sample("xx", None))
    assert metrics["language_thinking_foreign"].null_count() == 3
    assert metrics["language_consistency"].null_count() == 3
    assert Language().decide(metrics)["decision"].to_list() == ["keep"] * 3


def test_the_answer_is_judged_apart() -> None:
    metrics = measured(sample("en", "We add both.", response="Ответ равен трём."))
    assert metrics["language_thinking_foreign"].item() == 0.0
    assert metrics["language_response_foreign"].item() == 1.0
    assert Language().decide(metrics)["reason"].item() == WRONG
    assert Language(judge_response=False).decide(metrics)["reason"].item() is None


def test_spans_and_shares_name_what_was_found() -> None:
    text = "Naïvely the 面积 of it, поэтому we go on."
    row = measured(sample("en", text)).row(0, named=True)
    found = [(text[s["start"] : s["end"]], s["language"]) for s in row["language_thinking_spans"]]
    assert found == [("面积", "Han"), ("поэтому", "Cyrillic")]
    assert row["language_thinking_by"] == "Han 0.11, Cyrillic 0.11"
    assert row["language_thinking_foreign"] == pytest.approx(4 / 18)


def test_a_threshold_lets_a_little_pass_and_measures_nothing_again() -> None:
    lenient = Language(max_foreign_script=0.5)
    metrics = measured(sample("en", "We compute the 面积 of the square and the circle."))
    assert Language().decide(metrics)["reason"].item() == MIXED_SCRIPT
    assert lenient.decide(metrics)["reason"].item() is None
    assert lenient.cache_key() == Language().cache_key()


CONSISTENCY = [
    ("We add both numbers and halve the sum.", "en", 1.0),
    ("We add 数数 and halve them all.", "en", 6 / 7),
    ("我们先求和。", "zh", 1.0),
    ("我们先求和。", "en", 0.0),
    ("Let us first add both numbers of the pair.", "de", 0.0),
    ("$x = 1$", "en", 1.0),
    ("", "en", 1.0),
    ("lone \ud800 surrogate in the text", "en", 1.0),
    ("no such language", "xx", 1.0),
]


@pytest.mark.parametrize(("text", "language", "share"), CONSISTENCY)
def test_language_consistency(text: str, language: str, share: float) -> None:
    assert language_consistency(text, language) == pytest.approx(share, abs=0.01)


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.sampled_from(["en", "zh", "ja", "ko", "ru", "ar", "es", "hi", "el", "th", "sw", "kk"]),
)
def test_any_text_gets_shares_between_zero_and_one(text: str, language: str) -> None:
    row = measured(sample(language, text, text[:20], text)).row(0, named=True)
    for part in ("thinking", "response"):
        assert 0.0 <= row[f"language_{part}_foreign"] <= 1.0 + 1e-9
        for span in row[f"language_{part}_spans"] or []:
            assert 0 <= span["start"] < span["end"] <= len(text)


def test_rows_do_not_influence_each_other() -> None:
    texts = [(language, text) for language, text, _ in TRICKY.values()]
    together = measured(*(sample(language, text) for language, text in texts))
    for number, (language, text) in enumerate(texts):
        assert measured(sample(language, text)).rows() == [together.row(number)]
