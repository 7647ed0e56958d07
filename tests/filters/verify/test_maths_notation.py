"""Kinds of spelling, each with its near misses: (reference, answer, state)."""

from __future__ import annotations

import pytest

from filters.verify.mathematics import MathVerifier
from filters.verify.prose.extract_answer import final_answer
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
    (r"x\equiv 10\pmod{21}", r"x\equiv 10\pmod{22}", "wrong"),
    (r"x\equiv 10\pmod{21}", r"x\not\equiv 10\pmod{21}", "unparseable"),
    (r"x\equiv 10\pmod{21}", "10", "wrong"),
    (r"x\equiv 10\pmod{21}", "x=10", "wrong"),
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
    (r"x\equiv 1\pmod{7k}", r"x\equiv 1\pmod{7}k", "unparseable"),
    (r"\triangle A_{11}", r"\triangle A_11", "unparseable"),
    (r"\vec{a}\times\vec{b}", r"\vec a\times\vec b", "correct"),
    (r"\vec{a}\times\vec{b}", r"\vec{b}\times\vec{a}", "unparseable"),
    (r"3\times\mathbf{5}", "15", "correct"),
    (r"a\circ b^{12}", r"a\circ b^{1}2", "unparseable"),
]


SPELLINGS: list[Case] = [
    ("36%", r"36\\%", "correct"),
    (r"\\$267.49", r"\$267.49", "correct"),
    (r"2x\\,+\\,4", "2(x+2)", "correct"),
    ("£5.95", r"5.95\text{ pounds}", "correct"),
    ("£5.95", r"5.59\text{ pounds}", "wrong"),
    ("£5.95", r"5.95\text{ dollars}", "wrong"),
    (r"16\text{ oz}", r"1\text{ pound}", "correct"),
    ("£16", r"1\text{ lb}", "wrong"),
    (r"\text{(C)}\ 670", r"{\text{(C) }670}", "correct"),
    (r"\text{(C)}\ 670", r"{\text{(B) }670}", "wrong"),
    ("12", r"\large 12", "correct"),
    ("12", "\\ 12\\ ", "correct"),
    (r"\frac{1}{2}", r"\nicefrac{1}{2}", "correct"),
    (r"\frac{1}{2}", r"\nicefrac{2}{1}", "wrong"),
    (r"0.\overline{12}", r"0.{\overline{12}}", "correct"),
    (r"0.\overline{12}", r"0.{\overline{21}}", "wrong"),
    ("[0,1)", "[0,1[", "correct"),
    ("[0,1)", "]0,1]", "wrong"),
    ("(0,1)", "]0,1[", "correct"),
    ("[1,2],[3,4]", "[1,2],[3,4]", "correct"),
    (r"(-\infty,1]\cup(2,3)", r"]-\infty,1]\cup]2,3[", "correct"),
    (r"(-\infty,1]\cup(2,3)", r"]-\infty,1[\cup]2,3[", "wrong"),
    (
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        r"\begin{pmatrix}1&2\\[2pt]3&4\end{pmatrix}",
        "correct",
    ),
    ("123_{7}", "{123}_7", "correct"),
    ("123_{7}", "{123}_8", "wrong"),
    ("123_{7}", "(132)_{7}", "wrong"),
    ("A7_{12}", "(A7)_{12}", "correct"),
    ("A7_{12}", "(7A)_{12}", "wrong"),
    ("10:04 am", r"\text{10:04 a.m.}", "correct"),
    ("8:58 pm", r"8:58\,\text{PM}", "correct"),
    ("8:58 pm", r"8:58\,\text{AM}", "wrong"),
    ("8:58 pm", "8:5 8pm", "unparseable"),
    ("123_{7}", "123_{}7", "unparseable"),
    ("123_{7}", r"123_{\text{seven}}", "unparseable"),
    (r"2\text{ hours }30\text{ minutes}", r"2\text{ hours }-30\text{ minutes}", "wrong"),
    ("8:58 pm", r"\text{9:58 p.m.}", "wrong"),
    (r"2\text{ hours }30\text{ minutes}", r"\text{2 hours and 30 minutes}", "correct"),
    (r"2\text{ hours }30\text{ minutes}", r"\text{2 hours and 35 minutes}", "wrong"),
    (r"2\text{ hours }30\text{ minutes}", r"\text{2 hours or 30 minutes}", "wrong"),
    ("34:9", r"34\text{ to }9", "correct"),
    ("34:9", r"9\text{ to }34", "wrong"),
    (r"\binom{10}{6}", r"\frac{10!}{6!4!}", "correct"),
    (r"\binom{10}{6}", r"\frac{10!}{6!3!}", "wrong"),
    (r"\int_0^{2} x^2\,dx", r"\frac{8}{3}", "correct"),
    (r"\int_0^{2} x^2\,dx", r"\frac{7}{3}", "wrong"),
    (r"\frac{8}{3}", r"\int_0^{2} x^2\,dx", "wrong"),
    (r"\int_1^{3} (2x+1)\,dx", "10", "correct"),
    (r"\int_0^{2} x^2\,dx", r"\int_0^{2} t^2\,dt", "correct"),
    (r"\int_0^{2} x^2\,dx", r"\int_0^{2} x^3\,dx", "wrong"),
    (r"\int_0^{2} ax^2\,dx", r"\int_0^{2} bx^2\,dx", "wrong"),
    (r"\max(x,y)", r"\max\{x,y\}", "correct"),
    (r"\max(x,y)", r"\min\{x,y\}", "wrong"),
    (r"\overrightarrow{AB}", r"\overrightarrow{A B}", "correct"),
    (r"\overrightarrow{AB}", r"\overrightarrow{B A}", "wrong"),
    (r"P(A\mid B)=\frac{1}{3}", r"P(A|B)=\frac{1}{3}", "correct"),
    (r"P(A\mid B)=\frac{1}{3}", r"P(B|A)=\frac{1}{3}", "wrong"),
    ("180", r"180\text{ white t-shirts}", "correct"),
    ("180", r"180\text{ half-cups}", "wrong"),
]


@pytest.mark.parametrize(
    ("reference", "answer", "state"), [*SPELLINGS, *CONNECTIVES, *LISTS, *MALFORMED, *NOTATION]
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


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is $12$. ∎", "12"),
        ("答えは $12$ です。 ∎", "12"),
        (r"The answer is $12$. $\square$", "12"),
        (r"The answer is $12$. \blacksquare", "12"),
        ("The answer is $x + □$", "x + □"),
        (r"The answer is $\square$", r"\square"),
        (
            "The answer is $\\begin{matrix}1\\\\\n2\\end{matrix}$.\nDone.",
            "\\begin{matrix}1\\\\ 2\\end{matrix}",
        ),
        ("The answer is $5$\n\nIt costs $5$", "5"),
        ("The answer is \\begin{x\n", "\\begin{x"),
    ],
)
def test_where_an_announced_answer_ends(response: str, answer: str) -> None:
    found = final_answer(response)
    assert found is not None
    assert found.text == answer
