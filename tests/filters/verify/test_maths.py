from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.verify import answer_forms, early_verdicts, exact
from filters.verify.latex import normalise
from filters.verify.mathematics import MathVerifier


def test_the_table(maths: MathVerifier, math_cases: list[tuple[str, bool, str, str]]) -> None:
    items = [
        ({"kind": "math", "answer": reference}, response)
        for _, _, reference, response in math_cases
    ]
    verdicts = maths.verify(items)
    mistaken = [
        (category, reference, response, verdict)
        for (category, right, reference, response), verdict in zip(
            math_cases, verdicts, strict=True
        )
        if (verdict.state == "correct") is not right or verdict.state in ("error", "bad_reference")
    ]
    assert mistaken == []


def test_every_reference_of_the_table_passes_its_own_check(
    maths: MathVerifier, math_cases: list[tuple[str, bool, str, str]]
) -> None:
    references = sorted({reference for _, _, reference, _ in math_cases})
    problems = maths.check([{"kind": "math", "answer": reference} for reference in references])
    assert [(r, p) for r, p in zip(references, problems, strict=True) if p] == []


@pytest.mark.parametrize(
    "answer",
    ["", " ", None, True, [], {}, "proof", "Not found", "$$", "x+", r"\frac{1}{2", "9^{9^9}"],
)
def test_a_bad_reference_is_found(maths: MathVerifier, answer: object) -> None:
    (problem,) = maths.check([{"kind": "math", "answer": answer}])
    assert problem


def test_a_bad_reference_is_no_verdict_on_the_answer(maths: MathVerifier) -> None:
    specs = [{"kind": "math"}, {"kind": "math", "answer": r"\frac{1}{2"}]
    verdicts = maths.verify([(spec, r"\boxed{5}") for spec in specs])
    assert [verdict.state for verdict in verdicts] == ["bad_reference"] * 2


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("9^{9^{9^9}}", "unparseable"),
        ("9^9^9", "unparseable"),
        ("(10^9)!", "unparseable"),
        ("10000000!", "unparseable"),
        (r"\binom{10^7}{5\cdot 10^6}", "unparseable"),
        (r"\sum_{k=1}^{10^9} k", "wrong"),
        ("7" * 100_000, "unparseable"),
        ("{" * 20_000 + "}" * 20_000, "unparseable"),
        ("(" * 100 + "x" + ")" * 100, "unparseable"),
    ],
)
def test_bombs_never_reach_algebra(maths: MathVerifier, answer: str, state: str) -> None:
    (verdict,) = maths.verify([({"kind": "math", "answer": "7"}, f"\\boxed{{{answer}}}")])
    assert verdict.state == state
    assert verdict.method in ("screen", "form")


def test_what_passes_the_screen_meets_the_deadline_and_the_pool_lives_on() -> None:
    maths = MathVerifier(workers=1, deadline_s=1.5)
    endless = r"\boxed{(a+b+c)^{90}(a+b+d)^{90}}"
    honest = r"\boxed{\cos(\pi/3)}"
    spec = {"kind": "math", "answer": r"\frac12"}
    verdicts = maths.verify([(spec, endless), (spec, honest)])
    maths.close()
    assert [verdict.state for verdict in verdicts] == ["timeout", "correct"]
    assert verdicts[1].method == "symbolic"


def test_an_ordinary_batch_starts_no_process() -> None:
    verifier = MathVerifier()
    verifier.verify([({"kind": "math", "answer": "5"}, r"\boxed{5}")])
    verifier.check([{"kind": "math", "answer": "5"}])
    assert verifier._pool._zygote is None


def test_the_same_answer_is_judged_once(maths: MathVerifier) -> None:
    spec = {"kind": "math", "answer": r"\sin 1 \cos 1"}
    items = [(spec, rf"\boxed{{\frac{{\sin {two}}}{{2}}}}") for two in ("2", " 2", "2")]
    first, second, third = maths.verify(items)
    assert first.state == second.state == third.state == "correct"
    (again,) = maths.verify(items[:1])
    assert again.ms < 5


numbers = st.one_of(
    st.integers(-50, 50).map(str),
    st.fractions(-5, 5, max_denominator=12).map(
        lambda f: rf"\frac{{{f.numerator}}}{{{f.denominator}}}" if f.denominator > 1 else str(f)
    ),
    st.decimals(-9, 9, places=2).map(lambda d: f"{d:f}"),
    st.integers(1, 99).map(lambda n: rf"{n}\%"),
)
closed = st.builds(
    lambda a, r, b: rf"{a}\sqrt{{{r}}}+{b}",
    st.integers(1, 5),
    st.integers(2, 20),
    st.integers(1, 9),
)
polynomials = st.builds(
    lambda a, b: st.sampled_from([f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b}", f"x^2+{a}x+{b}"]),
    st.integers(1, 4),
    st.integers(1, 4),
).flatmap(lambda spelled: spelled)
values = st.one_of(numbers, closed, polynomials)
collections = st.one_of(
    st.lists(numbers, min_size=2, max_size=3).map(lambda v: f"({', '.join(v)})"),
    st.lists(numbers, min_size=2, max_size=3).map(lambda v: rf"\{{{', '.join(v)}\}}"),
    st.tuples(st.integers(0, 3), st.integers(4, 6)).map(lambda v: f"[{v[0]}, {v[1]})"),
)
answers = st.one_of(values, collections)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answers, answers, st.booleans())
def test_the_fast_path_never_contradicts_the_symbolic_path(
    maths: MathVerifier, reference: str, other: str, same: bool
) -> None:
    left = normalise(reference)
    right = normalise(rf"\left. {reference} \right." if same else other)
    fast = exact.same(answer_forms.parse(left), answer_forms.parse(right))
    slow = maths.by_algebra(left, right)
    if (
        fast is not None
        and slow.state in ("correct", "wrong")
        and early_verdicts.mismatch(left, right) is None
        # Signs on one side of a group mean one thing in it; the symbolic path takes each alone.
        and not ("," in left and ("%" in left) != ("%" in right))
    ):
        assert fast is (slow.state == "correct"), (left, right)
