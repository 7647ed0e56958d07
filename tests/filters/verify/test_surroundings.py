"""Answers that what stands around them takes back, and answers that it does not."""

from __future__ import annotations

import pytest

from filters.verify.choice import ChoiceVerifier
from filters.verify.exact import compare
from filters.verify.latex import normalise
from filters.verify.mathematics import MathVerifier
from filters.verify.maths.compare import Comparison
from filters.verify.maths.parse import parse
from filters.verify.maths.same_values import Values
from filters.verify.prose.extract_answer import final_answer

TAKEN_BACK = [
    r"It is not \boxed{12}.",
    r"The answer cannot be $\boxed{12}$.",
    r"\boxed{13} (not \boxed{12})",
    r"\boxed{12} is wrong.",
    r"\boxed{12} is not correct",
    r"\boxed{12} or 13",
    r"\boxed{12}. Hmm, that is incorrect; the right value is 13.",
    "\\boxed{12}\n\nWait, that's wrong. The answer is 13.",
    "\\boxed{12}\nThe answer is 13.",
    "\\boxed{12}\n#### 13",
    r"\boxed{12} — just kidding, it's 13.",
    r"<answer>13</answer> \boxed{12}",
    "<answer>12</answer>\nCorrection: 13",
    "#### 12\nWait, no: 13",
    r"A common mistake is \boxed{12}.",
    r"It would be wrong to answer \boxed{12}.",
    r"~~\boxed{12}~~ 13",
    r"\boxed{~~12~~}",
    r"<!-- \boxed{12} --> 13",
    r"\cancel{\boxed{12}} 13",
    r"$-\boxed{12}$",
    r"$x = \boxed{12} + 3$",
    r"$5 \cdot \boxed{12}$",
    r"$\frac{\boxed{12}}{5}$",
    r"$\boxed{12}^2$",
    r"$x \ne \boxed{12}$",
    r"\boxed{12} million",
    r"不是\boxed{12}",
    "\\boxed{12}\n等等，不对，应该是13。",
    r"\boxed{12} ist falsch, richtig ist 13",
    r"\boxed{12} est faux, c'est 13",
    r"\boxed{12}は間違いで、13が正しい",
    r"We ruled out \boxed{12}.",
    r"\boxed{12} cannot be right.",
    r"\boxed{12} (rejected)",
    r"\boxed{12} ❌",
    "\\boxed{12}\nOn reflection the value is 13.",
    "\\boxed{12}\n答案是13。",
    "He claims the answer is 12.",
    "It's false that the answer is 12.",
    "The wrong answer is 12.",
    "An incorrect answer is 12.",
    "The answer is 12. False.",
    "It is impossible that the answer is 12.",
    "Nobody says the answer is 12.",
    "Suppose the answer is 12. Then contradiction. So there is none.",
    r"The answer is \[12\] \[13\].",
    "The answer is ~~12~~.",
]

KEPT = [
    r"The relative error is \boxed{12}",
    r"So not 13 but \boxed{12}.",
    r"The value is $\boxed{12}$, not $13$.",
    r"$x$ -> \boxed{12}",
    r"\boxed{12} is the only possibility.",
    "\\boxed{12}\nMy final answer is 12",
    "The answer is exactly 12.",
    r"**Answer:** _\boxed{12}_",
    r"$\angle A = \boxed{12}^\circ$",
    r"$\boxed{12}\text{ cm}$",
    r"\boxed{12} is the answer, as no prime divides it.",
    "\\boxed{12}\n\nCheck: it should be 12, and it is. Moment of inertia: see above.",
    "\\boxed{12}\n\nNote: a common mistake is to forget the factor 2.",
    "\\boxed{12}\n<answer>12</answer>",
    "#### 12\nExplanation: we added 5 and 7.",
    "The answer is 12.\n\nNote that 13 would be incorrect.",
    "If we assume x>0, the answer is 12.",
    "The answer is not 13, so the answer is 12.",
    "Since the wrong approach gives 13, the answer is 12.",
]


@pytest.mark.parametrize("response", TAKEN_BACK)
def test_an_answer_taken_back_is_none(response: str) -> None:
    answer = final_answer(response)
    assert answer is None or compare("12", answer.text) is not True


@pytest.mark.parametrize("response", KEPT)
def test_an_answer_is_kept(response: str) -> None:
    answer = final_answer(response)
    assert answer is not None
    assert compare("12", answer.text) is True


def test_no_is_an_answer_that_its_explanation_may_repeat() -> None:
    for response in ("\\boxed{No}\n\nNo, because 3 is odd.", "The answer is No.\nNo, it is odd."):
        answer = final_answer(response)
        assert answer is not None
        assert answer.text == "No"


def test_a_thousand_and_a_half_in_another_language_is_no_decimal() -> None:
    assert final_answer("Die Antwort ist 1.500.") is None
    assert final_answer("La respuesta es 3.125.") is not None


@pytest.mark.parametrize(
    ("response", "claimed"),
    [
        ("\\boxed{B} is wrong.", False),
        ("Not \\boxed{B}.", False),
        ("\\boxed{B}\nActually C.", False),
        ("<answer>B</answer> is wrong", False),
        ("The answer is B.\nWait, it is C.", False),
        ("The answer is B?\nNo.", False),
        ("The wrong answer is B.", False),
        ("Die falsche Antwort ist B.", False),
        ("La mauvaise réponse est B.", False),
        ("間違っている答えはBです。", False),
        ("First choice: A. Second choice: B.", False),
        ("\\boxed{B}\n\nA: wrong. C: This is incorrect because 5 is odd.", True),
        ("The answer is B.\n\n- A: false\n- C: false", True),
        ("The incorrect options are A, C, D. The answer is B.", True),
    ],
)
def test_a_letter_taken_back_is_not_claimed(response: str, *, claimed: bool) -> None:
    spec = {"kind": "choice", "answer": "B", "choices": {"A": "3", "B": "4", "C": "5", "D": "6"}}
    verdict = ChoiceVerifier().verify([(spec, response)])[0].state
    assert (verdict == "correct") is claimed


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        ("P(A)=0.3", "P(B)=0.3", False),
        ("f(x)=x+1", "f(t)=t+1", True),
        (r"x=k\pi, k\in\mathbb{Z}", r"x=k\pi \text{ for all real } k", False),
        ("(1+2t, -t) for all real t", "(1+2s, -s) for all real s", True),
        ("2021-03-04", "2021-04-03", False),
        ("2021-03-04", "March 4, 2021", True),
        ("2021-03-04", "2014", False),
        ("3/4/2021", "6/8/2021", False),
        ("1st", "st", False),
        ("1st", "1^{st}", True),
        ("12", r"\approx 12", None),
        ("12.5", r"\approx 12.5", True),
        ("11:17", "11/17", None),
        ("2:3", "2/3", True),
        (r"\frac{1}{2}LI^2", r"\frac{1}{2}(LI)^2", None),
        ("(AB)^2", "(AB)^2", True),
        ("A^TB", "A^{TB}", None),
        ("1,000,000", "1,00,000", False),
        ("84,52", "52, 84", True),
        ("y=c_1 e^{x}+c_2 e^{2x}", "y=c_1 e^{x}+c_7 e^{2x}", None),
        ("y=c_1 e^{x}+c_2 e^{2x}", "y=C_2 e^{x}+C_1 e^{2x}", True),
        ("y=c_1 e^{x}+c_2 e^{2x}", "y=A e^{x}+B e^{2x}", True),
        (r"5 \mathrm{~m/s}", r"5 \mathrm{~s/s}", None),
    ],
)
def test_what_was_confused(reference: str, answer: str, verdict: bool | None) -> None:
    assert compare(reference, answer) is verdict


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        (r"\ln|x|", r"\ln x", None),
        (r"\sqrt{x}", r"\sqrt{|x|}", None),
        (r"\ln|x|", r"\ln|-x|", True),
        ("|z|^2", "z^2", None),
        ("|x|^2", "x^2", True),
        (r"\ln x^2", r"2\ln x", True),
    ],
)
def test_bars(reference: str, answer: str, verdict: bool | None) -> None:
    forms = [parse(normalise(text)) for text in (reference, answer)]
    assert None not in forms
    assert Comparison(Values(hard=True)).same(forms[0], forms[1]) is verdict  # type: ignore[arg-type]


def test_they_are_recognised_in_another_spelling() -> None:
    references = ["1st", "22^{nd}", "2021-03-04", "2021-13-04", "3/4/2021", "13/14/2021", "(AB)^2"]
    verifier = MathVerifier(1)
    try:
        problems = verifier.check([{"kind": "math", "answer": text} for text in references])
    finally:
        verifier.close()
    assert problems == [None] * len(references)
