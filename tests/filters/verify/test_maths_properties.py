"""Properties of maths verdicts: respellings are equal, near misses and mutations never are."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from filters.verify.latex import normalise
from filters.verify.mathematics import MathVerifier
from filters.verify.maths import numeric
from filters.verify.maths.forms import Value
from filters.verify.maths.parse import read
from filters.verify.maths.respell import NoSpelling, respell

slow = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

integers = st.integers(-60, 60)
positive = st.integers(1, 12)
names = st.sampled_from("xyabn")


def fraction(top: int, bottom: int) -> str:
    return rf"\frac{{{top}}}{{{bottom}}}"


def expressions(depth: int = 2) -> st.SearchStrategy[str]:
    """LaTeX of an expression with a value."""
    leaf = st.one_of(
        positive.map(str),
        names,
        st.builds(fraction, positive, st.integers(2, 9)),
        positive.map(lambda n: rf"\sqrt{{{n}}}"),
        st.just(r"\pi"),
    )
    if not depth:
        return leaf
    inner = expressions(depth - 1)
    return st.one_of(
        leaf,
        st.builds(lambda a, b: f"({a}) + ({b})", inner, inner),
        st.builds(lambda a, b: f"({a}) - {b}", inner, leaf),
        st.builds(lambda a, b: rf"({a}) \cdot ({b})", inner, inner),
        st.builds(lambda a, b: rf"\frac{{{a}}}{{{b} + 13}}", inner, inner),
        st.builds(lambda a, n: f"({a})^{{{n}}}", inner, st.integers(2, 3)),
        st.builds(lambda f, a: rf"\{f}({a})", st.sampled_from(["sin", "cos", "ln"]), inner),
        st.builds(lambda a: rf"e^{{{a}}}", leaf),
    )


forms = st.one_of(
    expressions(),
    st.lists(expressions(1), min_size=2, max_size=3).map(lambda v: f"({', '.join(v)})"),
    st.lists(integers, min_size=2, max_size=4, unique=True).map(
        lambda v: rf"\{{{', '.join(map(str, v))}\}}"
    ),
    st.builds(lambda a, b: f"[{a}, {a + b})", integers, positive),
    st.builds(lambda a, b: f"{a} < x \\le {a + b}", integers, positive),
    st.builds(lambda a: rf"x \ne {a}", integers),
    st.builds(lambda a, b, c: f"{a}x + {b}y = {c}", positive, positive, integers),
    st.builds(lambda a, b: rf"{a} \text{{ cm}}^{b}", positive, st.integers(1, 3)),
    st.builds(
        lambda a, b, c: rf"\begin{{pmatrix}} {a} & {b} \\ {b} & {c} \end{{pmatrix}}",
        integers,
        integers,
        integers,
    ),
)


def verdict(maths: MathVerifier, reference: str, answer: str) -> str:
    spec = {"kind": "math", "answer": reference}
    (found,) = maths.verify([(spec, f"so \\boxed{{{answer}}}")])
    return found.state


@slow
@given(forms)
def test_a_respelling_is_equal(maths: MathVerifier, reference: str) -> None:
    form = read(normalise(reference))
    assert not isinstance(form, str), (reference, form)
    try:
        other = respell(form)
    except NoSpelling:
        assume(False)
    assert verdict(maths, reference, other) == "correct", other
    assert maths.check([{"kind": "math", "answer": reference}]) == [None]


@slow
@given(expressions(), st.sampled_from(["1", "x", r"\frac{1}{7}", r"\sqrt{2}", "0.001"]))
def test_a_near_miss_is_not_equal(maths: MathVerifier, reference: str, more: str) -> None:
    assert verdict(maths, reference, f"({reference}) + {more}") != "correct"


@slow
@given(st.lists(integers, min_size=2, max_size=4, unique=True), st.data())
def test_one_number_changed_is_another_answer(
    maths: MathVerifier, values: list[int], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(values) - 1))
    changed = [*values]
    changed[at] += data.draw(st.integers(1, 3))
    assume(sorted(changed) != sorted(values))
    for template in ("({})", r"\{{{}\}}", "{}"):
        wanted, given_ = (template.format(", ".join(map(str, v))) for v in (values, changed))
        assert verdict(maths, wanted, given_) == "wrong"


@slow
@given(integers, positive, st.sampled_from(["()", "[]", "[)", "(]"]), st.data())
def test_an_interval_is_its_ends_and_whether_they_are_in(
    maths: MathVerifier, low: int, width: int, ends: str, data: st.DataObject
) -> None:
    other = data.draw(st.sampled_from(["()", "[]", "[)", "(]"]))
    wanted = f"{ends[0]}{low},{low + width}{ends[1]}"
    signs = {"(": "<", "[": r"\le"}, {")": "<", "]": r"\le"}
    spelled = f"{low} {signs[0][other[0]]} t {signs[1][other[1]]} {low + width}"
    assert verdict(maths, wanted, spelled) == ("correct" if ends == other else "wrong")


@slow
@given(st.integers(1, 9), st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4))
def test_an_equation_is_its_solutions(
    maths: MathVerifier, a: int, b: int, c: int, factor: int
) -> None:
    assume(factor and b)
    reference = f"{a}x + ({b})y = {c}"
    multiple = f"{c * factor} = ({b * factor})y + ({a * factor})x"
    assert verdict(maths, reference, multiple) == "correct"
    assert verdict(maths, reference, f"{a}x + ({b})y = {c + 1}") == "wrong"
    assert verdict(maths, reference, f"{a}x + ({-b})y = {c}") == "wrong"
    assert verdict(maths, str(c), reference) != "correct"


@slow
@given(st.integers(2, 40), st.integers(1, 40), st.integers(1, 9))
def test_a_chain_is_worth_its_last_side_if_it_is_true(
    maths: MathVerifier, a: int, b: int, off: int
) -> None:
    assert verdict(maths, str(a + b), f"{a} + {b} = {a + b}") == "correct"
    assert verdict(maths, str(a + b + off), f"{a} + {b} = {a + b + off}") == "wrong"
    assert verdict(maths, f"{a} + {b} = {a + b + off}", str(a + b + off)) == "wrong"
    assert verdict(maths, str(a + b), f"{a} + {b}") == "wrong"


ALPHABET = "0123456789+-*/^_(){}[]\\,.=<>xyabni|! "


@slow
@given(forms, st.sampled_from(ALPHABET), st.data())
def test_a_mutation_is_equal_only_if_its_number_is(
    maths: MathVerifier, reference: str, letter: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(reference) - 1))
    kind = data.draw(st.sampled_from(["drop", "change", "insert"]))
    rest = reference[at + (kind != "insert") :]
    mutated = reference[:at] + ("" if kind == "drop" else letter) + rest
    (found,) = maths.verify([({"kind": "math", "answer": reference}, f"\\boxed{{{mutated}}}")])
    if found.state != "correct":
        return
    mutated = found.extracted or ""  # a brace lost ends the box
    sides = [read(normalise(text)) for text in (reference, mutated)]
    for side in sides:
        assert not isinstance(side, str)
    if isinstance(sides[0], Value) and isinstance(sides[1], Value):
        assert sides[0].unit == sides[1].unit or None in (sides[0].unit, sides[1].unit)
        assert numeric.equal(sides[0].node, sides[1].node) is not False
    else:
        # The same thing in another spelling: spaces, brackets, signs that say nothing.
        assert verdict(maths, mutated, reference) == "correct"


@pytest.mark.parametrize(("bits", "shift"), [(40, 1), (200, 3), (800, 7)])
def test_large_numbers_are_compared_exactly(maths: MathVerifier, bits: int, shift: int) -> None:
    value = 3**bits
    assert verdict(maths, str(value), f"{value:,}") == "correct"
    assert verdict(maths, str(value), str(value + shift)) == "wrong"
    near = Fraction(value, value + 1)
    assert verdict(maths, fraction(near.numerator, near.denominator), "1") == "wrong"


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("200!", "200!+1", False),
        ("200!", "200 \\cdot 199!", True),
        ("2^{15000}+1", "2^{15000}", False),
        ("(2^{15000}+1)-2^{15000}", "1", True),
        ("(2^{15000}+1)-2^{15000}", "0", False),
        ("e^{-400}", "0", False),
        ("e^{-400}", "e^{-401}", False),
        ("e^{-400}", r"\frac{1}{e^{400}}", True),
        (r"\sin(\pi)", "0", True),
        (r"\sin(10^{30}\pi)", "0", True),
        (r"e^{\pi\sqrt{163}}", "262537412640768744", False),
        (r"\frac{1}{1+10^{-60}\pi}", "1", False),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}", True),
        (r"\frac{\ln 8}{\ln 2}", "3", True),
    ],
)
def test_rounding_hides_no_difference(
    maths: MathVerifier, reference: str, answer: str, same: bool
) -> None:
    assert (verdict(maths, reference, answer) == "correct") is same


PIECES = (
    *("5", "x", "3.5", "error:", "delimiter", "' '", '"', ",", ";", ":", ".", "(", ")", "[", "]"),
    *(
        "{",
        "}",
        "$",
        "\\",
        "\\forall",
        "\\text{",
        "for all",
        "where",
        "and",
        "or",
        "=",
        "<",
        "\\in",
    ),
    *("-", "+", "^", "_", "|", "\\left(", "\\right)", "\\frac", "\\boxed{", "%", "min", "all"),
)


@slow
@example(["error:", "' '", ",", "delimiter"])
@example(["error: ',' delimiter"])
@given(st.lists(st.sampled_from(PIECES), max_size=9))
def test_every_text_has_a_verdict(maths: MathVerifier, pieces: list[str]) -> None:
    (verdict,) = maths.verify([({"answer": "5"}, " ".join(pieces))])
    assert verdict.state in ("correct", "wrong", "no_answer", "unparseable"), verdict
