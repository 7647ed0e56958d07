from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from filters.verify import algebra
from filters.verify.answer_forms import parse
from filters.verify.exact import compare
from filters.verify.latex import normalise
from filters.verify.scalar import parse_scalar
from filters.verify.units import split_unit

UNDECIDED = [
    (r"1+\sqrt{2}", r"\sqrt{3+2\sqrt{2}}"),
    (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    ("x=5", "y=5"),
    (r"x \ne 2", "2"),
    (r"\{x \mid x>2\}", r"(2,\infty)"),
    ("(1,234)", "1234"),
    ("1" * 5000, "1"),
    ("9^{9^9}", "9"),
    (r"\frac{1}{0}", "1"),
    (r"e^{\pi}", r"\pi^{e}"),
    ("(" * 50 + "1" + ")" * 50, "1"),
]


@pytest.mark.parametrize(("reference", "answer"), UNDECIDED)
def test_what_the_fast_path_leaves_open(reference: str, answer: str) -> None:
    assert compare(reference, answer) is None


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (r"$\dfrac{1}{2}$.", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "( 1, 2 )"),
        (r"12\,000", "12000"),
        ("1{,}000", "1,000"),
        (r"5 \mathrm{ cm}", r"5 \text{ cm}"),
        (r"45^{\circ}", r"45\degree"),
        (r"\boxed{7}", "{7}"),
        (r"a \leq b", "a <=b"),
        (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix}1\\ 2\end{pmatrix}"),
    ],
)
def test_one_spelling(written: str, normal: str) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize(
    ("text", "number", "dimension"),
    [
        (r"5 \text{cm}", "5", "length"),
        (r"5 \text{cm}^2", "5", "length^2"),
        ("5 square meters", "5", "length^2"),
        (r"\$5", "5", "money"),
        ("5 apples", "5", "things: apple"),
        ("5 units", "5", None),
        ("60 km/h", "60", "speed"),
    ],
)
def test_units(text: str, number: str, dimension: str | None) -> None:
    measured = split_unit(text)
    assert measured is not None
    assert measured.number == number
    assert (measured.unit.dimension if measured.unit else None) == dimension


@pytest.mark.parametrize("text", ["5", "5x", "5m", "x^2", "5 or 6", "5 mod 7", "5 ab", r"5\pi"])
def test_no_unit(text: str) -> None:
    assert split_unit(text) is None


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


@given(st.lists(terms, min_size=1, max_size=5), st.randoms())
def test_order_of_terms_does_not_matter(parts: list[tuple[int, str]], random: object) -> None:
    def spell(some: list[tuple[int, str]]) -> str:
        return "+".join(f"({c}){atom}" if atom else f"({c})" for c, atom in some).replace("+-", "-")

    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    left, right = parse_scalar(spell(parts)), parse_scalar(spell(shuffled))
    assert algebra.equal(left, right)
    assert not algebra.equal(left, algebra.add(right, algebra.number(1)))


@given(st.fractions(0, 500, max_denominator=30))
def test_a_root_squared_is_what_it_was(value: Fraction) -> None:
    root = algebra.root(algebra.number(value), 2)
    assert algebra.multiply(root, root).rational == value or not value


@given(
    st.text(
        alphabet=st.sampled_from(list("0123456789.,;()[]{}\\/+-*^_=<>$%x ∪π√ab'!|&:")), max_size=40
    )
)
def test_no_text_raises(text: str) -> None:
    parse(normalise(text))


@given(st.decimals(min_value=1, max_value=1000, places=4), st.integers(2, 3))
def test_a_rounded_reference_takes_what_rounds_to_it(value: object, places: int) -> None:
    reference = f"{value:.{places}f}"
    assume(f"{value}" != reference)
    answer = f"{value}"
    off = abs(Fraction(answer) - Fraction(reference)) * 10**places
    assert compare(reference, answer) is (off <= Fraction(1, 2))
