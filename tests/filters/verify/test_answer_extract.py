from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.prose.extract_answer import final_answer, last_mark
from filters.verify.prose.folding import fold

CASES = [
    (r"so \boxed{4}", "4", "box"),
    (r"\boxed{2} and \boxed{3}", "2, 3", "box"),
    (r"\boxed{2}, \boxed{3}, and $\boxed{5}$", "2, 3, 5", "box"),
    (r"The maximum is \boxed{4}. The minimum is \boxed{9}.", "4, 9", "box"),
    ("1. The sum is \\boxed{4}.\n2. The product is \\boxed{9}.", "4, 9", "box"),
    (r"So $x=\boxed{4}$. Therefore the area is \boxed{16}.", "16", "box"),
    ("\\boxed{4}\n\n\\boxed{9}", "4, 9", "box"),
    (r"\boxed{840} … **Final Answer** \boxed{840}", "840", "box"),
    ("<think>a</think> \\boxed{6} <think> \\boxed{5}", None, None),
    ("Answer: 41</s>", "41", "phrase"),
    ("Answer: 41<|im_end|>\n<|endoftext|>", "41", "phrase"),
    ("Réponse : 73", "73", "phrase"),
    ("La respuesta es 73.", "73", "phrase"),
    ("Die Antwort lautet 73.", "73", "phrase"),
    ("A resposta é 73.", "73", "phrase"),
    ("La risposta è 73.", "73", "phrase"),
    ("Ответ: 73", "73", "phrase"),
    ("答え：73", "73", "phrase"),
    ("정답은 73", "73", "phrase"),
    ("답은 73입니다.", "73", "phrase"),
    ("答えは $73$ です。", "73", "phrase"),
    ("Answer\n\n73", "73", "phrase"),
    ("So the correct answer is $73$!", "73", "phrase"),
    ("## Answer\n\n73", "73", "phrase"),
    ("The answer is 73 because 70 + 3 = 73.", "73", "phrase"),
    ("The answer is 73. Or maybe it is 74.", "73. Or maybe it is 74", "phrase"),
    ("Adding.\nTherefore, the sum of both is 12.", "12", "phrase"),
    (r"$\boxed{4}$ or $\boxed{5}$", "4, 5", "box"),
    ("\\boxed{4}\nNo, wait:\n\\boxed{5}", "5", "box"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "box"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}", "box"),
    (r"\boxed{\left\{1\right.}", r"\left\{1\right.", "box"),
    (r"\fbox{9}", "9", "box"),
    (r"\boxed 7", "7", "box"),
    ("\\boxed{5}.\n\n\\boxed{}", "5", "box"),
    (r"write \boxed{. Then \boxed{5}", "5", "box"),
    (r"\boxed{2 + \boxed{3}}", r"2 + \boxed{3}", "box"),
    (r"\boxed{3", None, None),
    (r"\boxed{1} … \boxed{2", None, None),
    (r"\boxed{}", None, None),
    ("<answer>7</answer>", "7", "tag"),
    ("<answer>6</answer> <answer>7</answer>", "7", "tag"),
    ("<answer>7", None, None),
    (r"<answer>so \boxed{8}</answer>", "8", "box"),
    ("sum\n#### 42", "42", "hash"),
    ("Final Answer: The final answer is $5$. I hope it is correct.", "5", "phrase"),
    ("Final answer:\n\n$$\nx^2\n$$", "x^2", "phrase"),
    ("**The answer is 12.**", "12", "phrase"),
    ("The answer is 3.5.\nChecking again, the answer is 4.", "4", "phrase"),
    ("答案：12", "12", "phrase"),
    ("答案是 $\\frac12$。", r"\frac12", "phrase"),
    ("42", "42", "whole"),
    ("  42.\n", "42", "whole"),
    ("one\ntwo", None, None),
    ("x" * 121, None, None),
    ("", None, None),
    ("####", None, None),
]


@pytest.mark.parametrize(("response", "text", "how"), CASES)
def test_the_final_answer(response: str, text: str | None, how: str | None) -> None:
    found = final_answer(response)
    assert (found.text if found else None, found.how if found else None) == (text, how)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (r"\boxed{A} is tempting, but the answer is B.", "B"),
        (r"The answer is B, so \boxed{C}", "C"),
        ("#### A\n<answer>D</answer>", "D"),
        ("<answer>D</answer>\n#### A", "A"),
        ("B", "B"),
    ],
)
def test_the_last_mark_of_any_kind(response: str, text: str) -> None:
    found = last_mark(response)
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("１２３", "123"),
        ("x²", "x^{2}"),
        ("x⁻¹⁰", "x^{-10}"),
        ("10₂", "10_{2}"),
        ("3½", "3 1/2"),
        ("√2", r"\sqrt{2}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        ("（１，２］", "(1,2]"),
        ("−5", "-5"),
        ("plain $x^2$", "plain $x^2$"),
    ],
)
def test_unicode_becomes_latex(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text(alphabet=st.sampled_from(list("{}\\boxedf bra0$ \n<answer>/#")), max_size=200))
def test_any_text_has_an_answer_or_none(text: str) -> None:
    found = final_answer(text)
    assert found is None or found.text.strip()


@given(st.integers(), st.text(alphabet="ab {}\\\n", max_size=50))
def test_a_last_complete_box_is_found(value: int, noise: str) -> None:
    found = final_answer(f"{noise}\n\n=> \\boxed{{{value}}}")
    # Open braces before it cannot hide it: only an unclosed box would.
    assert found is not None
    assert found.text == str(value)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 40_000,
        r"\boxed{" * 40_000 + "}" * 40_000,
        r"\boxed{1} " * 60_000,
        "final " * 100_000,
        "answer " * 100_000,
        "final" + " " * 500_000,
        "<answer>" * 60_000,
        "#" * 500_000,
        "$" * 500_000,
        "**" * 200_000,
    ],
)
@pytest.mark.timeout(10)
def test_half_a_megabyte_of_marks_ends(text: str) -> None:
    final_answer(text)
    last_mark(text)
