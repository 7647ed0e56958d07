"""Verdicts of answers labelled by construction.

The generator knows nothing of the verifiers; no rule may be written on what it draws: a failure
names a kind to be understood, not a case to be matched. The seed is fixed, so that a change is
judged by itself; GENERATED_SEED draws others, and benchmarks/verify.py a new one each time.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.answers.generate import MAKERS, Made, generate
from benchmarks.answers.judged import judge_math
from benchmarks.answers.mutations import mutate
from benchmarks.answers.oracle import same
from filters.verify.verifiers import Verifiers

ITEMS = 600
REFUSED = 0.03

REFERENCES = (
    "7", "-12", "3.25", r"\frac{5}{6}", r"2\sqrt{3}", r"4+\sqrt{7}", r"\frac{3\pi}{4}", "x^2-5x+6",
    "(3,-4)", r"\{1,4,9\}", "[-2,5)", r"(-\infty,1)\cup(4,\infty)", "y=3x-7", "x=2", "n(n+1)",
    "2, 5", r"x\le 6", r"\log_2 5", "5-2i", "e^{2x}+1",
)  # fmt: skip


@pytest.fixture(scope="module")
def seed() -> int:
    drawn = int(os.environ.get("GENERATED_SEED", "20261130"))
    print(f"GENERATED_SEED={drawn}")
    return drawn


@pytest.fixture(scope="module")
def verifiers():
    with Verifiers(workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def judged(seed: int, verifiers: Verifiers) -> list[tuple[Made, str]]:
    items = generate(seed, ITEMS)
    states = judge_math([(item.reference, item.response) for item in items], verifiers)
    return list(zip(items, states, strict=True))


@settings(max_examples=10, derandomize=True)
@given(st.integers(0, 2**32))
def test_labels_hold_by_numbers(seed: int) -> None:
    for item in generate(seed, 2 * len(MAKERS)):
        if same(item.reference, item.answer) is not None:
            assert same(item.reference, item.answer) == item.equal, item


def test_both_labels_are_drawn_of_every_form() -> None:
    drawn = {(item.form, item.equal) for item in generate(1, 20 * len(MAKERS))}
    assert drawn == {(form, equal) for form in MAKERS for equal in (True, False)}


def test_no_near_miss_is_called_correct(judged: list[tuple[Made, str]], seed: int) -> None:
    assert [item for item, state in judged if state == "correct" and not item.equal] == [], seed


def test_few_right_answers_are_refused(judged: list[tuple[Made, str]], seed: int) -> None:
    right = [(item, state) for item, state in judged if item.equal]
    refused = [(item, state) for item, state in right if state != "correct"]
    assert len(refused) <= REFUSED * len(right), (seed, refused)


def test_no_changed_character_passes(seed: int, verifiers: Verifiers) -> None:
    mutations = [
        one for one in mutate([("here", one) for one in REFERENCES], seed, ITEMS)
        if one.kind == "different"
    ]  # fmt: skip
    pairs = [(one.reference, f"The answer is $\\boxed{{{one.answer}}}$.") for one in mutations]
    states = judge_math(pairs, verifiers)
    assert [one for one, state in zip(mutations, states, strict=True) if state == "correct"] == []
