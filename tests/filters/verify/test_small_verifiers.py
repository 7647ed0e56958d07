"""Choice, free text, JSON and arithmetic: one table each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.arithmetic import ArithmeticVerifier
from filters.verify.choice import ChoiceVerifier
from filters.verify.json_answer import JsonVerifier
from filters.verify.text_answer import TextVerifier

CITIES = {"A": "Paris", "B": "London", "C": "Rome", "D": r"\frac{1}{2}"}

CHOICE = [
    ("B", r"\boxed{B}", "correct"),
    ("B", r"\boxed{\text{(B)}}", "correct"),
    ("B", "The answer is (B).", "correct"),
    ("B", "**Answer: B**", "correct"),
    ("B", "答案：B", "correct"),
    ("B", "b", "correct"),
    ("B", r"\boxed{B. London}", "correct"),
    ("B", r"\boxed{London}", "correct"),
    ("D", r"\boxed{0.5}", "correct"),
    ("B", "A looks right.\nBut the answer is B", "correct"),
    ("B", r"\boxed{A}", "wrong"),
    ("B", r"\boxed{A or B}", "wrong"),
    ("B", r"\boxed{AB}", "unparseable"),
    ("B", r"\boxed{B. Rome}", "wrong"),
    ("B", r"\boxed{Paris}", "wrong"),
    ("B", r"\boxed{E}", "unparseable"),
    ("B", r"\boxed{Berlin}", "unparseable"),
    ("B", "Option B is tempting.\nIt was not asked.", "no_answer"),
    ("B", r"B B B \boxed{C}", "wrong"),
    (["A", "C"], r"\boxed{A, C}", "correct"),
    (["A", "C"], r"\boxed{CA}", "correct"),
    (["A", "C"], r"\boxed{(A) and (C)}", "correct"),
    (["A", "C"], r"\boxed{A}", "wrong"),
    (["A", "C"], r"\boxed{A, B, C}", "wrong"),
    ("B", "We compare the rivers.\nIt lies on the Thames, which is option B.", "correct"),
    ("B", "It lies on the Thames, which corresponds to choice (B).", "correct"),
    ("B", "It does not lie on the Seine, which is option B.", "unparseable"),
    ("B", "It may lie on the Thames, which is perhaps option B.", "unparseable"),
    ("B", "Option C lies on the Seine, which is option B.", "unparseable"),
    ("B", "A, C and D are wrong, so B.", "correct"),
    ("A", "A, C and D are wrong, so B.", "wrong"),
    ("A", "A, C and D are wrong.", "unparseable"),
    ("F", r"\boxed{F}", "bad_reference"),
    ("", r"\boxed{A}", "bad_reference"),
    ("Paris", r"\boxed{A}", "bad_reference"),
    (3, r"\boxed{A}", "bad_reference"),
]


@pytest.mark.parametrize(("answer", "response", "state"), CHOICE)
def test_choice(answer: Any, response: str, state: str) -> None:
    spec = {"kind": "choice", "answer": answer, "choices": CITIES}
    (verdict,) = ChoiceVerifier().verify([(spec, response)])
    assert verdict.state == state


def test_letters_without_choices() -> None:
    spec = {"kind": "choice", "answer": "E"}
    states = [v.state for v in ChoiceVerifier().verify([(spec, "E"), (spec, "(D)"), (spec, "Z")])]
    assert states == ["correct", "wrong", "unparseable"]


TEXT = [
    ("The Nile", "<answer>nile</answer>", "correct"),
    ("café", "<answer>Cafe\u0301.</answer>", "correct"),
    (["UK", "United Kingdom"], r"\boxed{\text{United Kingdom}}", "correct"),
    ("3.5", "the answer is 3.5.", "correct"),
    ("O'Brien", "<answer>O’Brien</answer>", "correct"),
    ("3.5", "the answer is 35", "wrong"),
    ("1,000", "<answer>1000</answer>", "wrong"),
    ("Nile", "<answer>Amazon or Nile</answer>", "wrong"),
    ("Nile", "<answer>…</answer>", "unparseable"),
    ("Nile", "Many rivers.\nMany.", "no_answer"),
    ("Nile", "The river is the **Nile**.", "correct"),
    ("Nile", "We look.\nIt is called the **Nile** in English.", "correct"),
    ("Nile", "It is not the **Nile**.", "wrong"),
    ("Nile", "It could be the **Nile**.", "wrong"),
    ("Nile", "We first tried the **Nile**.\n", "wrong"),
    ("Nile", "The **Nile** and the **Amazon**.", "wrong"),
    ("Nile", "It is the **Nile**. No, the Amazon.", "wrong"),
    ("yes", "Yes, since it is even.", "correct"),
    ("no", "Yes, since it is even.", "wrong"),
    ("yes", "Yes, if it is even.", "wrong"),
    ("yes", "Yes, but not always.", "wrong"),
    ("", "<answer></answer>", "bad_reference"),
    ([], "x", "bad_reference"),
    ("?", "?", "bad_reference"),
    (None, "x", "bad_reference"),
]


@pytest.mark.parametrize(("answer", "response", "state"), TEXT)
def test_text(answer: Any, response: str, state: str) -> None:
    (verdict,) = TextVerifier().verify([({"kind": "text", "answer": answer}, response)])
    assert verdict.state == state


JSON = [
    ({"a": [1, True]}, '```json\n{"a": [1, true]}\n```', "correct"),
    ({"a": 1, "b": 2}, '{"b": 2, "a": 1}', "correct"),
    ([1, 2], "<answer>[1, 2]</answer>", "correct"),
    (1, r"\boxed{1.0}", "correct"),
    (0.1, "<answer>0.10</answer>", "correct"),
    ("x", '"x"', "correct"),
    (None, "null", "correct"),
    ([], "First:\n```\n[1]\n```\nthen\n```json\n[]\n```", "correct"),
    ([1, 2], "<answer>[2, 1]</answer>", "wrong"),
    (1, "<answer>true</answer>", "wrong"),
    (True, "<answer>1</answer>", "wrong"),
    ("1", "<answer>1</answer>", "wrong"),
    ({}, "<answer>[]</answer>", "wrong"),
    (None, "<answer>false</answer>", "wrong"),
    ({"a": 1}, '{"a": 2, "a": 1}', "unparseable"),
    ({"a": 1}, '{"a": NaN}', "unparseable"),
    ({"a": 1}, '{"a": 1', "unparseable"),
    ([1], "[" * 5000 + "]" * 5000, "unparseable"),
    ([1], "[" + "9" * 100_000 + "]", "unparseable"),
    ({"a": 1}, "I made the object\nyou asked for.", "no_answer"),
]


@pytest.mark.parametrize(("answer", "response", "state"), JSON)
def test_json(answer: Any, response: str, state: str) -> None:
    (verdict,) = JsonVerifier().verify([({"kind": "json", "answer": answer}, response)])
    assert verdict.state == state


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_any_value_equals_itself(value: Any) -> None:
    (verdict,) = JsonVerifier().verify(
        [({"kind": "json", "answer": value}, f"<answer>{json.dumps(value)}</answer>")]
    )
    assert verdict.state == "correct"


ARITHMETIC = [
    ([3, 5, 7], 22, r"\boxed{3*5+7}", "correct"),
    ([3, 5, 7], 22, r"\boxed{3 \times 5 + 7}", "correct"),
    ([3, 5, 7], 22, "<answer>(3*5)+7 = 22</answer>", "correct"),
    ([1, 3, 4, 6], 24, r"\boxed{6 ÷ (1 - 3/4)}", "correct"),
    ([1, 2], 0.5, r"\boxed{\frac{1}{2}}", "correct"),
    ([3, 5, 7], 22, r"\boxed{22}", "wrong"),
    ([3, 5, 7], 22, r"\boxed{3*5+7+0}", "wrong"),
    ([3, 5, 7], 15, r"\boxed{3*5}", "wrong"),
    ([3, 5, 7], 22, r"\boxed{3*5+7 = 23}", "wrong"),
    ([35, 7], 42, r"\boxed{3*5+7}", "wrong"),
    ([3, 3, 7], 22, r"\boxed{3*5+7}", "wrong"),
    ([1, 0], 1, r"\boxed{1/0}", "wrong"),
    ([2, 3], 8, r"\boxed{2**3}", "unparseable"),
    ([2, 3], 8, r"\boxed{__import__('os')}", "unparseable"),
    ([2, 3], 8, r"\boxed{(2).real+3}", "unparseable"),
    ([2, 3], 8, r"\boxed{" + "(" * 300 + "2" + ")" * 300 + "}", "unparseable"),
    ([2, 3], 5, "no\nanswer", "no_answer"),
    ([], 5, "5", "bad_reference"),
    ([True], 5, "5", "bad_reference"),
    ([5], None, "5", "bad_reference"),
]


@pytest.mark.parametrize(("numbers", "target", "response", "state"), ARITHMETIC)
def test_arithmetic(numbers: list[int], target: Any, response: str, state: str) -> None:
    spec = {"kind": "arithmetic", "numbers": numbers, "target": target}
    (verdict,) = ArithmeticVerifier().verify([(spec, response)])
    assert verdict.state == state


def test_numbers_may_be_left_over_where_the_puzzle_says_so() -> None:
    spec = {"kind": "arithmetic", "numbers": [3, 5, 7], "target": 15, "use": "any"}
    states = [v.state for v in ArithmeticVerifier().verify([(spec, "3*5"), (spec, "5+5+5")])]
    assert states == ["correct", "wrong"]
