"""Announcements of an answer, language by language, with near misses."""

from __future__ import annotations

import pytest

from filters.verify.prose.phrases import MAX_TAIL, drop_closing, last_announcement

ANNOUNCED = [
    ("The answer is B.", "B."),
    ("the answer must therefore be 5", "5"),
    ("The answer is 4. No: the answer is 5", "5"),
    ("Final Answer\n\n**5**", "**5**"),
    ("### Answer\n\n**B**", "**B**"),
    ("**Answer:** 5", "5"),
    ("La réponse correcte est la C.", "C."),
    ("Réponse : C", "C"),
    ("La respuesta correcta es la C.", "C."),
    ("Respuesta final: 5", "5"),
    ("A resposta é 5", "5"),
    ("La risposta corretta è C", "C"),
    ("Die richtige Antwort lautet: **C**", "**C**"),
    ("**Final answer: 5**", "5**"),
    ("Правильный ответ: 5", "5"),
    ("Ответ — C", "C"),
    ("Ответ\n\n5", "5"),
    ("答案是 C。", "C。"),
    ("【答案】C", "C"),
    ("答案不是C", "不是C"),
    ("答えは5です。", "5です。"),
    ("정답은 5입니다", "5입니다"),
    ("Option C is right", None),
    ("I answered the question.", None),
    ("No answer given", None),
    ("The answer to this is hard.", None),
    ("правильный ответ неизвестен", None),
    ("non-answer", None),
]


@pytest.mark.parametrize(("text", "rest"), ANNOUNCED)
def test_what_follows_an_announcement(text: str, rest: str | None) -> None:
    found = last_announcement(text)
    assert (None if found is None else text[found.end :]) == rest


def test_only_the_end_of_a_response_is_searched() -> None:
    assert last_announcement("The answer is 5." + " " * MAX_TAIL) is None


def test_the_end_of_a_sentence_is_no_part_of_the_answer() -> None:
    closed = ["東京です。", "서울입니다.", "Oslo.", "Oslo", "北京。"]
    assert [drop_closing(text) for text in closed] == ["東京", "서울", "Oslo", "Oslo", "北京"]
