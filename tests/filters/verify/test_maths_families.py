"""General solutions, constants, parts, vectors, dates, units with powers: hits and near misses."""

from __future__ import annotations

import pytest

from filters.verify.mathematics import MathVerifier

GENERAL = r"x = \frac{\pi}{4} + k\pi, k \in \mathbb{Z}"
LINE = r"(x,y,z) = (1+2t, -t, 3), t \in \mathbb{R}"
HARMONIC = r"y = C_1 e^{2x} + C_2 e^{-3x}"

RIGHT = [
    (GENERAL, r"x=\frac{\pi}{4}+n\pi,\ n\in\mathbb Z"),
    (GENERAL, r"x=\frac{5\pi}{4}-k\pi \text{ for any integer } k"),
    (GENERAL, r"x = \frac{\pi}{4}+2k\pi \text{ or } x=\frac{5\pi}{4}+2k\pi,\ k\in\mathbb Z"),
    (GENERAL, r"\left\{\frac{\pi}{4}+k\pi : k\in\mathbb Z\right\}"),
    (r"x = (-1)^k\frac{\pi}{6}+k\pi, k\in\mathbb{Z}",
     r"x=\frac{\pi}{6}+2n\pi \text{ or } x=\frac{5\pi}{6}+2n\pi,\ n\in\mathbb{Z}"),
    (r"n \equiv 3 \pmod 7", r"n=7k-4,\ k\in\mathbb Z"),
    (LINE, r"(3+2s, -1-s, 3),\ s\in\mathbb{R}"),
    (HARMONIC, r"y=Ae^{-3x}+Be^{2x}"),
    (HARMONIC, r"y(x)=c_1e^{2x}+c_2e^{-3x}"),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+c"),
    (r"f(x)=2x+1", r"f(t)=2t+1 \text{ for all } t\in\mathbb{R}"),
    (r"n \ge 4", r"\text{all integers } n \ge 4"),
    (r"(a) 12; (b) \frac{3}{4}", r"(a)\ 12\quad (b)\ 0.75"),
    ("Minimum: -4, Maximum: 5", r"\text{max}=5,\ \text{min}=-4"),
    (r"\frac{1}{5}\begin{pmatrix}3 & -1\\ -1 & 2\end{pmatrix}",
     r"\begin{pmatrix}0.6&-0.2\\-0.2&0.4\end{pmatrix}"),
    (r"(1+2t, -t, 3)", r"(1,0,3)+t(2,-1,0)"),
    ("March 14", r"\text{14th March}"),
    (r"9.8 \text{ m/s}^2", r"9.8\,\mathrm{m\,s^{-2}}"),
    (r"8.314\ \mathrm{J/(mol\cdot K)}", r"8.314\text{ J mol}^{-1}\text{ K}^{-1}"),
    (r"50\text{ cents}", r"\$0.50"),
    (r"12\sqrt3\text{ square units}", r"12\sqrt3\ \mathrm{cm}^2"),
    (r"3\ln x - \ln(x+1)", r"\ln\frac{x^3}{x+1}"),
    (r"\binom{10}{3}", "C(10,3)"),
    (r"2:3", "4:6"),
    ("0.75", "0,75"),
]  # fmt: skip

WRONG = [
    (GENERAL, r"x=\frac{\pi}{4}+2k\pi,\ k\in\mathbb Z"),
    (GENERAL, r"x=\frac{\pi}{4}+k\pi,\ k\in\mathbb N"),
    (GENERAL, r"x=\frac{\pi}{4}+k\pi,\ k\in\mathbb R"),
    (GENERAL, r"x=\frac{\pi}{4}+c\pi \text{ for some constant } c"),
    (GENERAL, r"y=\frac{\pi}{4}+k\pi,\ k\in\mathbb Z"),
    (GENERAL, r"x=\frac{\pi}{4}+k^2\pi,\ k\in\mathbb Z"),
    (GENERAL, r"x=\frac{\pi}{4}+k\pi+\lfloor k/50\rfloor,\ k\in\mathbb Z"),
    (r"n \equiv 3 \pmod 7", r"n=7k-3,\ k\in\mathbb Z"),
    (r"n \equiv 3 \pmod 7", r"n=7k+3,\ k\geq 0"),
    (LINE, r"(3+2s, -1-s, 4),\ s\in\mathbb{R}"),
    (LINE, r"(3+2s, -s, 3),\ s\in\mathbb{R}"),
    (LINE, r"(3+2s, -1-s, 3),\ s>0"),
    (HARMONIC, r"y=Ae^{-3x}+Ae^{2x}"),
    (HARMONIC, r"y=Ae^{-3x}+Be^{2x}+C"),
    (HARMONIC, r"y=C_1 e^{2x} C_2 e^{-3x}"),
    (r"\frac{C_1}{C_1+C_2}", r"\frac{C_2}{C_1+C_2}"),
    (r"C_1 V + C_2 U", r"C_2 V + C_1 U"),
    (r"f(x)=2x+1", r"f(t)=2x+1"),
    (r"U = Cx", r"U = Ax"),
    (r"5\text{ units}", r"5\text{ square units}"),
    (r"f(x)=2x+1", r"f(x)=2x+1 \text{ for all } x>0"),
    (r"n \ge 4", r"\text{all even integers } n \ge 4"),
    (r"x \ge 4", r"\text{all integers } x \ge 4"),
    (r"x\in\mathbb{R}^+", r"x\in\mathbb{R}_{\ge0}"),
    (r"(a) 12; (b) \frac{3}{4}", r"(a)\ \frac34\quad (b)\ 12"),
    ("Minimum: -4, Maximum: 5", r"\text{min}=5,\ \text{max}=-4"),
    (r"\text{The maximum is } 8", r"\text{The minimum is } 8"),
    (r"(1+2t, -t, 3)", r"(2,-1,0)+t(1,0,3)"),
    (r"(3,-1)", r"f(3,-1)"),
    ("March 14", r"\text{May 14}"),
    ("3:45 pm", "3:45"),
    ("12:00", "1:00"),
    ("3:15", "1:5"),
    (r"\frac58", "5:8"),
    (r"9.8 \text{ m/s}^2", r"9.8\,\mathrm{m\,s^{-1}}"),
    (r"50\text{ cents}", r"\$50"),
    (r"12\sqrt3\text{ square units}", r"12\sqrt3\ \mathrm{cm}"),
    (r"\frac{\mathrm{d}y}{\mathrm{d}x}=2", r"\frac{\mathrm{d}y}{\mathrm{d}t}=2"),
    (r"2\sqrt{3}\approx 3.46", r"2\sqrt3\approx 4.36"),
    (r"k=2", r"k=-2 \text{ (rejecting } k=2)"),
    ("75,25", "75.25"),
    (r"\text{all real numbers except } 2", r"x \neq -2"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "answer"), RIGHT)
def test_another_spelling_is_correct(maths: MathVerifier, reference: str, answer: str) -> None:
    (verdict,) = maths.verify([({"answer": reference}, rf"So $\boxed{{{answer}}}$.")])
    assert verdict.state == "correct", verdict


@pytest.mark.parametrize(("reference", "answer"), WRONG)
def test_a_near_miss_is_not(maths: MathVerifier, reference: str, answer: str) -> None:
    (verdict,) = maths.verify([({"answer": reference}, rf"So $\boxed{{{answer}}}$.")])
    assert verdict.state in ("wrong", "unparseable"), verdict
