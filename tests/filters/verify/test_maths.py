from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.mathematics import MathVerifier
from filters.verify.verifiers import Item, Verifiers

CASES = Path(__file__).parents[2] / "data" / "cases" / "math.jsonl"


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


def test_the_cases_found_outside(maths: MathVerifier) -> None:
    """Each as expected, or as its argument says. Wrong may also be unparseable: never correct."""
    cases: list[dict[str, Any]] = [json.loads(line) for line in CASES.open(encoding="utf-8")]
    items = [Item.of({"kind": "math", "answer": case["reference"]}, case["text"]) for case in cases]
    with Verifiers(workers=1, deadline_s=30) as verifiers:
        verdicts = verifiers.verify(items)
    mistaken = []
    for case, verdict in zip(cases, verdicts, strict=True):
        wanted = case.get("instead", case["expected"])
        allowed = {"wrong", "unparseable", "no_answer"} if wanted == "wrong" else {wanted}
        if verdict.state not in allowed:
            mistaken.append((case["id"], case["reference"], case["text"], verdict))
    assert mistaken == []
    assert all("argument" in case for case in cases if "instead" in case)


def test_every_reference_of_the_table_passes_its_own_check(
    maths: MathVerifier, math_cases: list[tuple[str, bool, str, str]]
) -> None:
    references = sorted({reference for _, _, reference, _ in math_cases})
    problems = maths.check([{"kind": "math", "answer": reference} for reference in references])
    assert [(r, p) for r, p in zip(references, problems, strict=True) if p] == []


@pytest.mark.parametrize(
    "answer",
    [
        *("", " ", None, True, [], {}, "proof", "Not found", "see solution", "$$", "x+"),
        *(r"\frac{1}{2", "9^9^9", r"\phantom{5}", "5...", "(1,", "nan"),
    ],
)
def test_a_bad_reference_is_found(maths: MathVerifier, answer: object) -> None:
    (problem,) = maths.check([{"kind": "math", "answer": answer}])
    assert problem


def test_a_bad_reference_is_no_verdict_on_the_answer(maths: MathVerifier) -> None:
    specs = [{"kind": "math"}, {"kind": "math", "answer": r"\frac{1}{2"}]
    verdicts = maths.verify([(spec, r"\boxed{5}") for spec in specs])
    assert [verdict.state for verdict in verdicts] == ["bad_reference"] * 2


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("7", "9^{9^{9^9}}"),
        ("7", "9^9^9"),
        ("7", "(10^9)!"),
        ("7", "10000000!"),
        ("7", r"\binom{10^7}{5\cdot 10^6}"),
        ("7", r"\sum_{k=1}^{10^9} k"),
        ("7", r"\prod_{k=1}^{19999} k^k"),
        ("7", "7" * 100_000),
        ("7", "{" * 20_000 + "}" * 20_000),
        ("7", "(" * 900 + "x" + ")" * 900),
        ("7", r"\frac{1}{" * 150 + "2" + "}" * 150),
        ("0.5", r"((((\pi^{24})^{24})^{24})^{24})"),
        ("0.5", r"(a+b+c)^{90}(a+b+d)^{90}"),
        (r"\pi", r"e^{e^{e^{e^{9}}}}"),
        ("x", r"\sqrt{" * 60 + "x" + "}" * 60),
        ("7", "\u0301" * 100_000),
        ("7", " " * 200_000),
        ("7", r"\{" * 500 + r"\}" * 500),
        ("7", "|" * 1_999),
        ("7", "1," * 999),
        ("7", "$" * 1_999),
        ("7", r"\begin{cases}" * 100 + r"\end{cases}" * 100),
        ("7", "a-" * 900),
        ("7", "x" * 1_999),
        ("7", "-" * 1_999 + "7"),
        ("7", "\\" * 1_999),
        ("7", r"\text{" * 300 + "7" + "}" * 300),
        (r"\sqrt{2}", r"\sqrt{" + "9" * 390 + "}"),
    ],
)
@pytest.mark.timeout(60)
def test_a_hostile_answer_ends_in_a_verdict_soon(
    maths: MathVerifier, reference: str, answer: str
) -> None:
    (verdict,) = maths.verify([({"kind": "math", "answer": reference}, f"\\boxed{{{answer}}}")])
    assert verdict.state in ("wrong", "unparseable", "no_answer", "timeout")
    (problem,) = maths.check([{"kind": "math", "answer": answer}])
    assert problem is None or isinstance(problem, str)


@pytest.mark.parametrize(
    "text",
    [" " * 200_000, "," * 200_000 + "x", "\u0301\u0327" * 100_000, "#### " * 50_000, "{" * 100_000],
)
@pytest.mark.timeout(30)
def test_a_hostile_reference_ends_in_a_verdict_soon(maths: MathVerifier, text: str) -> None:
    spec = {"kind": "math", "answer": text}
    (verdict,) = maths.verify([(spec, r"\boxed{5}")])
    assert verdict.state == "bad_reference"
    assert maths.check([spec]) != [None]


@given(st.text(max_size=120))
def test_any_text_gets_a_verdict(text: str) -> None:
    verifier = MathVerifier(workers=1)
    try:
        verifier.verify([({"kind": "math", "answer": text}, f"\\boxed{{{text[::-1]}}}")])
    finally:
        verifier.close()


@given(
    st.text(
        alphabet=st.sampled_from(list("0123456789.,;()[]{}\\/+-*^_=<>$%x ∪π√ab'!|&:~\ud800°½")),
        max_size=60,
    )
)
def test_any_notation_gets_a_verdict(text: str) -> None:
    verifier = MathVerifier(workers=1)
    try:
        verifier.verify([({"kind": "math", "answer": text}, f"\\boxed{{{text}}}")])
    finally:
        verifier.close()


def test_an_ordinary_batch_starts_no_process() -> None:
    verifier = MathVerifier()
    verifier.verify([({"kind": "math", "answer": "5"}, r"\boxed{5}")])
    verifier.check([{"kind": "math", "answer": "5"}])
    assert verifier._pool._zygote is None


def test_numbers_decide_what_exact_arithmetic_leaves_open(maths: MathVerifier) -> None:
    spec = {"kind": "math", "answer": r"\sin 1 \cos 1"}
    items = [(spec, rf"\boxed{{\frac{{\sin {two}}}{{2}}}}") for two in ("2", " 2", "2")]
    first, second, third = maths.verify(items)
    assert first.state == second.state == third.state == "correct"
    assert first.method == "numeric"
    (wrong,) = maths.verify([(spec, r"\boxed{\frac{\sin 2}{3}}")])
    assert wrong.state == "wrong"


def test_a_reference_that_is_a_whole_solution_is_read_like_a_response(
    maths: MathVerifier,
) -> None:
    solution = "He has 2+4=<<2+4=6>>6 pens.\n#### 6"
    boxed = r"So $x \in \boxed{[0,5)}$. Done."
    verdicts = maths.verify(
        [
            ({"kind": "math", "answer": solution}, r"\boxed{6}"),
            ({"kind": "math", "answer": boxed}, r"\boxed{0 \le x < 5}"),
        ]
    )
    assert [verdict.state for verdict in verdicts] == ["correct", "correct"]
