"""Kinds of spelling, each with its near misses: (reference, answer, state)."""

from __future__ import annotations

import pytest

from filters.verify.mathematics import MathVerifier
from filters.verify.verifiers import Item, Verifiers

Case = tuple[str, str, str]

CONNECTIVES: list[Case] = [
    (r"p\land q", r"p\lor q", "unparseable"),
    (r"p\land q", r"p\wedge q", "correct"),
    (r"x=1 \lor x=2", r"x=2 \text{ or } x=1", "correct"),
    (r"x=1 \vee x=2", "1, 2", "correct"),
    (r"x=1 \land y=2", "x=1, y=2", "correct"),
    (r"x=1 \land y=2", r"x=1 \lor y=2", "wrong"),
    ("x=1, y=2", r"x=1 \text{ or } y=2", "wrong"),
    (r"x<1 \lor x>2", r"(-\infty,1)\cup(2,\infty)", "correct"),
]
LISTS: list[Case] = [
    ("x=-11, x=17", "n_1=-11, n_2=17", "wrong"),
    ("x=-11, x=17", "x_1=17, x_2=-11", "correct"),
    ("x=-11, x=17", "x_1=17, x_2=11", "wrong"),
    ("x=-11, x=17", "x_1=17, y_2=-11", "wrong"),
    ("x=-11, x=17", "x_1=17, x_1=-11", "wrong"),
    ("x_1=3, x_2=5", "x_1=5, x_2=3", "wrong"),
    ("x_1=3, x_2=5", "x=5, x=3", "wrong"),
]
MALFORMED: list[Case] = [
    ("10, 6", "10,,6", "unparseable"),
    ("10, 6", "10; ,6", "unparseable"),
    ("10, 6", r"10,\quad 6", "correct"),
    ("1, 2, 3", r"1, 2, \text{ and } 3", "correct"),
    (r"\frac{7}{8}", "frac{7}{8}", "unparseable"),
    (r"\binom{7}{2}", "binom{7}{2}", "unparseable"),
    ("5", "=5", "unparseable"),
    ("5", "x=5", "correct"),
]


NOTATION: list[Case] = [
    ("2,6,10,\\dots", r"2, 6, 10, \ldots", "correct"),
    ("2,6,10,\\dots", "2, 6, 10, …", "correct"),
    ("2,6,10,\\dots", r"2, 6, 11, \ldots", "unparseable"),
    ("2,6,10,\\dots", "2, 6, 10", "unparseable"),
    (r"1+3+9+\cdots+3^n", r"1 + 3 + 9 + \dots + 3^{n}", "correct"),
    (r"1+3+9+\cdots+3^n", r"1 + 3 + 9 + \dots + 3^{n+1}", "unparseable"),
    (r"1+3+9+\cdots+3^n", r"1 + 3 + 9 + \dots", "unparseable"),
    (r"x\equiv 10\pmod{21}", r"x\equiv10\bmod 21", "correct"),
    (r"x\equiv 10\pmod{21}", r"x\equiv 10\ (\text{mod }21)", "correct"),
    (r"x\equiv 10\pmod{21}", "x ≡ 10 (mod 21)", "correct"),
    (r"x\equiv 10\pmod{21}", r"x\equiv 10\pmod{22}", "unparseable"),
    (r"x\equiv 10\pmod{21}", r"x\not\equiv 10\pmod{21}", "unparseable"),
    (r"x\equiv 10\pmod{21}", "10", "unparseable"),
    (r"x\equiv 10\pmod{21}", "x=10", "unparseable"),
    (r"\triangle ABC", r"\triangle{A B C}", "correct"),
    (r"\triangle ABC", r"\angle ABC", "unparseable"),
    (r"\triangle ABC", r"\triangle ACB", "unparseable"),
    (r"\triangle ABC\cong\triangle DEF", r"△ABC ≅ △DEF", "correct"),
    (r"\triangle ABC\cong\triangle DEF", r"\triangle ABC\sim\triangle DEF", "unparseable"),
    (r"15\oplus 8", r"15 \oplus 8", "correct"),
    (r"15\oplus 8", r"15 \ominus 8", "unparseable"),
    (r"15\oplus 8", r"1 5 \oplus 8", "unparseable"),
    (r"A\cup B", r"B \cup A", "correct"),
    (r"A\cup B", r"A \cap B", "unparseable"),
    (r"A\setminus B", r"B \setminus A", "unparseable"),
    (r"\neg p\lor q", r"¬p ∨ q", "correct"),
    (r"\neg p\lor q", r"p \lor \neg q", "unparseable"),
    (r"\forall x\,\exists y\,P(x,y)", r"\forall x\exists y P(x,y)", "correct"),
    (r"\forall x\,\exists y\,P(x,y)", r"\exists y\,\forall x\,P(x,y)", "unparseable"),
    (r"\frac{1}{2}\oplus 3", r"\frac{12}{}\oplus 3", "unparseable"),
    (r"a\circ b^{12}", r"a\circ b^{1}2", "unparseable"),
]


@pytest.mark.parametrize(
    ("reference", "answer", "state"), [*CONNECTIVES, *LISTS, *MALFORMED, *NOTATION]
)
def test_a_kind(maths: MathVerifier, reference: str, answer: str, state: str) -> None:
    (verdict,) = maths.verify([({"answer": reference}, rf"So $\boxed{{{answer}}}$.")])
    assert verdict.state == state, verdict


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (r"<think>a</think>\boxed{5}", "correct"),
        (r"<think>a</think>\boxed{6}</think>\boxed{5}", "no_answer"),
        (r"<think>a<think>b</think>\boxed{5}", "no_answer"),
        (r"<think>a</think>\boxed{6}<think>b</think>\boxed{5}", "no_answer"),
        (r"a</think>\boxed{5}", "correct"),
        (r"a</think>b</think>\boxed{5}", "no_answer"),
    ],
)
def test_a_second_think_section_is_no_answer(text: str, state: str) -> None:
    with Verifiers(workers=1) as verifiers:
        (verdict,) = verifiers.verify([Item.of({"kind": "math", "answer": "5"}, text)])
    assert verdict.state == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (r"\boxed{\text{(A) }4}", "wrong"),
        ("Answer: C) 4", "wrong"),
        ("Answer: B) 4", "correct"),
        (r"\boxed{\text{(B) }4}", "correct"),
        (r"\boxed{4}", "correct"),
        (r"\boxed{\text{(B) }3}", "wrong"),
    ],
)
def test_a_letter_that_contradicts_its_text(text: str, state: str) -> None:
    spec = {"kind": "choice", "answer": "B", "choices": {"A": "3", "B": "4", "C": "5", "D": "6"}}
    with Verifiers(workers=1) as verifiers:
        (verdict,) = verifiers.verify([Item.of(spec, text)])
    assert verdict.state == state
