"""Verdicts on letters, words and JSON: any text gets one, and no near miss passes."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.verify.prose.fences import blocks
from filters.verify.text_answer import plain
from filters.verify.verifiers import Item, Verifiers

OPTIONS = {"A": "copper", "B": "iron", "C": "gold", "D": "lead"}
LETTERS = st.sampled_from(sorted(OPTIONS))
ANY_TEXT = st.text(st.characters(), max_size=200)  # lone surrogates too
PIECES = st.lists(
    st.sampled_from(
        [
            *"ABCDab()[]{}.,:;!?-–*`$\"'_~\u0301\ud800\n",
            *("**", "```", "~~~", "```json", "\\boxed{", "\\text{", "<answer>", "</answer>"),
            *("answer", "is", "the", "The answer is", "not", "no", "and", "because", "wrong"),
            *("correct", "答案", "是", "不", "正解", "は", "です", '{"a": 1}', "NaN", "####"),
        ]
    ),
    max_size=30,
).map(" ".join)
SPECS: list[dict[str, Any]] = [
    {"kind": "choice", "answer": "B", "choices": OPTIONS},
    {"kind": "choice", "answer": ["A", "B"], "choices": OPTIONS},
    {"kind": "text", "answer": "iron"},
    {"kind": "json", "answer": {"a": 1}},
    {"kind": "arithmetic", "numbers": [1, 2], "target": 3},
]
CLAIMS = [
    "The answer is {0}.", "**Answer: {0}**", r"\boxed{{{0}}}", "<answer>({0})</answer>", "{0}",
    "Therefore, option {0} is correct.", "I choose {0}.", "答案是 {0}。", "答えは{0}です。",
    "정답은 {0}입니다.", "Die Antwort ist {0}.", "La respuesta correcta es la {0}.",
    "La réponse est {0}.", "La risposta corretta è {0}.", "A resposta é {0}.", "Ответ: {0}.",
]  # fmt: skip
TWO = [
    "{0} or {1}", "{0}, {1}", "{0}/{1}", "{0} and {1}", "{0} - no, {1}", "{0}; {1} is right",
    "{0}? No, {1}.", "{0}: false, {1}: true", "not {0} but {1}", "{1}, not {0}", "{0} -> {1}",
    "either {0} or {1}", "{0} & {1}", "{0}. {1}.", "{0}, possibly {1}", "({0}) or ({1})",
]  # fmt: skip
DENIALS = [
    "not {0}", "it is not {0}", "{0} is wrong", "{0} is not correct", "never {0}", "no {0}",
    "anything but {0}", "{0}: false", "the opposite of {0}", "{0} cannot be right",
]  # fmt: skip


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1) as shared:
        yield shared


@given(ANY_TEXT | PIECES)
@example("\ud800")
@example("(}")  # a brace closes another bracket
def test_any_text_gets_a_verdict_that_can_be_stored(verifiers: Verifiers, text: str) -> None:
    for spec in SPECS:
        (verdict,) = verifiers.verify([Item(spec, text)])
        for stored in (verdict.extracted, verdict.detail):
            (stored or "").encode()


@given(st.sampled_from(CLAIMS), LETTERS, LETTERS)
def test_a_letter_is_what_is_claimed(
    verifiers: Verifiers, claim: str, said: str, reference: str
) -> None:
    spec = {"kind": "choice", "answer": reference, "choices": OPTIONS}
    (verdict,) = verifiers.verify([Item(spec, claim.format(said))])
    assert verdict.state == ("correct" if said == reference else "wrong")


@given(st.sampled_from(CLAIMS[:4]), st.sampled_from(TWO), LETTERS, LETTERS)
def test_two_letters_are_not_the_first(
    verifiers: Verifiers, claim: str, both: str, reference: str, other: str
) -> None:
    if other == reference:
        return
    spec = {"kind": "choice", "answer": reference, "choices": OPTIONS}
    (verdict,) = verifiers.verify([Item(spec, claim.format(both.format(reference, other)))])
    assert verdict.state != "correct"


@given(st.sampled_from(CLAIMS[:4]), st.sampled_from(DENIALS), LETTERS)
def test_a_letter_denied_is_not_claimed(
    verifiers: Verifiers, claim: str, denial: str, reference: str
) -> None:
    spec = {"kind": "choice", "answer": reference, "choices": OPTIONS}
    (verdict,) = verifiers.verify([Item(spec, claim.format(denial.format(reference)))])
    assert verdict.state != "correct"


@given(LETTERS, LETTERS)
def test_the_text_of_another_option_is_another_answer(
    verifiers: Verifiers, reference: str, other: str
) -> None:
    spec = {"kind": "choice", "answer": reference, "choices": OPTIONS}
    for form in ("{0}. {1}", "{0} ({1})", "{0}: {1}", "{1}"):
        text = form.format(reference, OPTIONS[other])
        (verdict,) = verifiers.verify([Item(spec, rf"\boxed{{{text}}}")])
        assert (verdict.state == "correct") == (other == reference), text


SIGNS = st.sampled_from("−-+≤≥<>=≠¬∧∨∀∃→⇒²³₂½√()[]{}|!%^_/~°′")
WORDS = st.text(string.ascii_letters, min_size=1, max_size=8)


@given(WORDS, SIGNS, WORDS)
def test_a_sign_is_never_set_aside(left: str, sign: str, right: str) -> None:
    assert plain(f"{left} {sign} {right}") != plain(f"{left} {right}")
    assert plain(f"{left}{sign}{right}") != plain(f"{left}{right}")


@given(WORDS, SIGNS, SIGNS, WORDS)
def test_one_sign_is_not_another(left: str, sign: str, other: str, right: str) -> None:
    same = sign == other or {sign, other} == {"-", "−"}
    assert (plain(f"{left} {sign} {right}") == plain(f"{left} {other} {right}")) == same


@given(st.characters(categories=["Mn", "Mc"]), st.characters(categories=["Lo"]))
def test_a_combining_mark_is_never_set_aside(mark: str, letter: str) -> None:
    assert plain(letter + mark + letter) != plain(letter + letter)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3))
def test_json_is_found_in_any_block(verifiers: Verifiers, value: dict[str, Any]) -> None:
    spec = {"kind": "json", "answer": value}
    for opening in ("```json", "~~~", "```", "````JSON", "```jsonc"):
        marks = opening.rstrip("jsoncJSON")
        text = f"```text\n{{}}x\n```\n\n{opening}\n{json.dumps(value, indent=1)}\n{marks}\nDone."
        (verdict,) = verifiers.verify([Item(spec, text)])
        assert verdict.state == "correct", text


@given(st.text(max_size=300))
def test_blocks_lie_in_order(text: str) -> None:
    end = 0
    for block in blocks(text):
        assert end <= block.start < block.end
        end = block.end
