from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from filters.verify.exact import compare
from filters.verify.latex import normalise
from filters.verify.maths import forms, polynomials
from filters.verify.maths.parse import parse, read
from filters.verify.maths.polynomials import expression_of
from filters.verify.maths.reading.expressions import parse_expression
from filters.verify.maths.reading.tokens import tokenize
from filters.verify.maths.units import Unit, combine, factor

UNDECIDED = [
    (r"1+\sqrt{2}", r"\sqrt{3+2\sqrt{2}}"),
    (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"),
    ("9^{9^9}", "9"),
    (r"\frac{1}{0}", "1"),
    (r"0 \cdot \ln 0", "0"),
    (r"e^{\pi}", r"\pi^{e}"),
]


@pytest.mark.parametrize(("reference", "answer"), UNDECIDED)
def test_what_the_fast_path_leaves_open(reference: str, answer: str) -> None:
    assert compare(reference, answer) is None


@pytest.mark.parametrize(
    "text",
    [
        *("1 2", "x2", "5...", r"5\oplus", r"\phantom{5}", "1/2x", r"\sin(x)^2", "2^3^4"),
        *("(1,", "(1,,2)", "[1,2", "5^{+}", r"5 \cup 6", "5@6", "5`6", r"5 \mod 7", "x+", "*"),
        *(r"\frac{1}{2", r"\wp f", "1+2\\cdots", "5$6", "()", r"\unknown{5}", "9" * 401),
    ],
)
def test_what_cannot_be_read_whole_is_not_read(text: str) -> None:
    assert isinstance(read(normalise(text)), str)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("42", forms.Value),
        (r"3\text{ ft }4\text{ in}", forms.Value),
        ("(1,2]", forms.Group),
        ("{1,2,3}", forms.Group),
        (r"$8$ and $4$", forms.Group),
        (r"x \neq 3", forms.Named),
        (r"\{x \mid x>3\}", forms.Group),
        (r"(-\infty,1)\cup(2,\infty)", forms.Region),
        ("2x-y-5=0", forms.Relation),
        ("y=2x-5", forms.Named),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", forms.Matrix),
        (r"\begin{cases}1 & x>0\\2 & x\le 0\end{cases}", forms.Piecewise),
        ("3:4", forms.Ratio),
        ("1010_2", forms.Based),
        (r"\textbf{(C)}\ 14", forms.Choice),
        ("no solution", forms.Words),
        ("concave up on $(0, \\infty)$", forms.Phrase),
    ],
)
def test_forms(text: str, form: type) -> None:
    assert isinstance(parse(normalise(text)), form)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (r"$\dfrac{1}{2}$.", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "( 1, 2 )"),
        (r"12\,000", "12000"),
        ("1{,}000", "1,000"),
        (r"11,\! 111,\! 100", "11,111,100"),
        (r"\boxed{7}", "{7}"),
        (r"a \leq b", "a <=b"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        ("x<sup>2</sup>", "x^{2}"),
        (r"{\color{red}29}", "{29}"),
        (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix}1\\ 2\end{pmatrix}"),
    ],
)
def test_one_spelling(written: str, normal: str) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize(
    ("parts", "powers"),
    [
        ([("cm", 2)], (("centimeter", 2),)),
        ([("km", 1), ("h", -1)], (("hour", -1), ("kilometer", 1))),
        ([("mph", 1)], (("hour", -1), ("mile", 1))),
        ([("\\$", 1)], (("usd", 1),)),
    ],
)
def test_units(parts: list[tuple[str, int]], powers: tuple[tuple[str, int], ...]) -> None:
    unit = combine(parts)
    assert unit is not None
    assert unit.powers == powers


def test_units_convert_exactly_or_not_at_all() -> None:
    def unit(*parts: tuple[str, int]) -> Unit:
        made = combine([*parts])
        assert made is not None
        return made

    assert factor(unit(("km", 1), ("h", -1)), unit(("m", 1), ("s", -1))) == Fraction(5, 18)
    assert factor(unit(("inch", 1)), unit(("cm", 1))) == Fraction(127, 50)
    assert factor(unit(("cents", 1)), unit(("dollars", 1))) == Fraction(1, 100)
    assert factor(unit(("kg", 1)), unit(("m", 1))) is None
    assert factor(unit(("apples", 1)), unit(("pears", 1))) is None
    assert factor(unit(("°C", 1)), unit(("°F", 1))) is None


def spellings(value: Fraction) -> list[str]:
    """Ways to write one number."""
    top, bottom = value.numerator, value.denominator
    written = [
        rf"\frac{{{top}}}{{{bottom}}}",
        f"{top}/{bottom}",
        rf"\dfrac{{{2 * top}}}{{{2 * bottom}}}",
    ]
    if bottom == 1:
        written = [f"{top}", f"{top:,}", f"{top}.0", rf"${top}$", f"x = {top}"]
    elif abs(value) > 1:
        whole, rest = divmod(abs(top), bottom)
        written.append(f"{'-' * (top < 0)}{whole}\\frac{{{rest}}}{{{bottom}}}")
    return written


rationals = st.fractions(min_value=-1000, max_value=1000, max_denominator=50)


@given(rationals, st.data())
def test_spellings_of_one_number_are_equal(value: Fraction, data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(spellings(value))) for _ in range(2))
    assert compare(one, other) is True


@given(rationals, rationals, st.data())
def test_different_numbers_are_different(a: Fraction, b: Fraction, data: st.DataObject) -> None:
    assume(a != b)
    one, other = data.draw(st.sampled_from(spellings(a))), data.draw(st.sampled_from(spellings(b)))
    assert compare(one, other) is False


terms = st.tuples(
    st.integers(-9, 9).filter(bool),
    st.sampled_from(["", r"\sqrt{2}", r"\sqrt{3}", r"\pi", "x", "x^2"]),
)


def exactly(text: str) -> polynomials.Expression:
    return expression_of(parse_expression(tokenize(normalise(text))))


@given(st.lists(terms, min_size=1, max_size=5), st.randoms())
def test_order_of_terms_does_not_matter(parts: list[tuple[int, str]], random: object) -> None:
    def spell(some: list[tuple[int, str]]) -> str:
        return "+".join(f"({c}){atom}" if atom else f"({c})" for c, atom in some).replace("+-", "-")

    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    left, right = exactly(spell(parts)), exactly(spell(shuffled))
    assert polynomials.equal(left, right)
    assert not polynomials.equal(left, polynomials.add(right, polynomials.number(1)))


@given(st.fractions(0, 500, max_denominator=30))
def test_a_root_squared_is_what_it_was(value: Fraction) -> None:
    root = exactly(rf"\sqrt{{\frac{{{value.numerator}}}{{{value.denominator}}}}}")
    assert polynomials.multiply(root, root).rational == value or not value


@given(st.decimals(min_value=1, max_value=1000, places=4), st.integers(2, 3))
def test_a_rounded_reference_takes_what_rounds_to_it(value: object, places: int) -> None:
    """If it is written with two digits more; a fraction may be any."""
    reference = f"{value:.{places}f}"
    assume(Fraction(f"{value}") != Fraction(reference))
    answer = f"{value}"
    off = abs(Fraction(answer) - Fraction(reference)) * 10**places
    exact = Fraction(answer)
    assert compare(reference, answer) is (off <= Fraction(1, 2) and places == 2)
    quotient = rf"\frac{{{exact.numerator}}}{{{exact.denominator}}}"
    assert compare(reference, quotient) is (off <= Fraction(1, 2))
