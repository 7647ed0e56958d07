"""References as data sets write them: what is read, restored, left alone, or no answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.nouns import Prompt
from factory.prompts.files import Files
from factory.prompts.load import describe, load_prompts
from factory.prompts.references import check_references
from factory.prompts.written_answers import read_answer, says_nothing
from filters.verify.verifiers import Verifiers

READ = [
    ("Tom eats 2 + 4 = <<2+4=6>>6 apples.\n#### 6", "6"),
    ("#### 1,200", "1,200"),
    (r"Adding gives $x = 3$, so the answer is $\boxed{\frac{3}{4}}$.", r"\frac{3}{4}"),
    (r"\boxed{12}", "12"),
    ("6 (apples)", "6"),
    ("12 (Power Ranger stickers)", "12"),
    ("1/2 (cups of flour)", "1/2"),
    ("10 (ml)", "10"),
    ("1,250.50 (dollars)", "1,250.50"),
    ("\text{no}", r"\text{no}"),
    ("\frac{1}{2}", r"\frac{1}{2}"),
    ("2 \times 3", r"2 \times 3"),
    ("\tan x", r"\tan x"),
    ("\beta", r"\beta"),
    ("\\left( 1, 2 \right)", r"\left( 1, 2 \right)"),
    ("x \neq 3", r"x \neq 3"),
    (json.loads('"\\frac{\\text{a}}{2}"'), r"\frac{\text{a}}{2}"),
]
UNTOUCHED = [
    "6",
    r"\text{no}",
    "6 (mod 7)",
    "5 (x)",
    "1011 (base 2)",
    "(1, 2)",
    "f(x)",
    "3 or 4",
    r"\boxed{1} or \boxed{2}",
    "yes\tno",
    "one\ttext",
    "1\tand 2",
    "a\nequal b",
    "a\nb",
    "x (double root)",
    "3 (mod 4)",
    "2 (base ten)",
    "4 (a)",
    "7 (approximately)",
]


@pytest.mark.parametrize(("text", "answer"), READ)
def test_what_is_read(text: str, answer: str) -> None:
    read = read_answer(text)
    assert read.answer == answer
    assert read.how is not None


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_left_alone(text: str) -> None:
    assert read_answer(text) == (text, None)


@given(st.text())
def test_reading_twice_changes_nothing(text: str) -> None:
    once = read_answer(text).answer
    assert read_answer(once).answer == once


NOTHING = [
    "see solution", "See the solution.", "See solutions", "proof", "Proof omitted", "Q.E.D.",
    r"\text{see proof}", "answers may vary", "N/A", "not found", "notfound", "see above", "证明略",
]  # fmt: skip
SOMETHING = [
    "6",
    "no solution",
    "none",
    "proof of x",
    "see",
    "\\text{No}",
    "not prime",
    "0",
    "n",
    "nan_1",
]


def test_references_that_point_elsewhere() -> None:
    assert [text for text in NOTHING if not says_nothing(text)] == []
    assert [text for text in SOMETHING if says_nothing(text)] == []


def test_a_build_counts_them(tmp_path: Path) -> None:
    rows = [
        {"question": "How many?", "answer": "He has 2 + 4 = 6. #### 6"},
        {"question": "How many are left?", "answer": "6 (apples)"},
        {"question": "Which fraction?", "answer": "\frac{1}{2}"},
        {"question": "Which number?", "answer": "12"},
        {"question": "Prove it.", "answer": "see solution"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_prompts([Files(path=str(path), verifier={"kind": "math"})])
    answers = [(prompt.verifier or {})["answer"] for prompt in loaded.prompts]
    assert answers == ["6", "6", r"\frac{1}{2}", "12", "see solution"]
    assert loaded.prompts[0].meta["reference_written"].endswith("#### 6")
    line = describe(loaded.counts[0])
    for said in ("1 references: restored escapes", "1 references: read out of a solution"):
        assert said in line
    with Verifiers(workers=1) as verifiers:
        (bad,) = check_references(loaded.prompts, verifiers)
    assert bad.prompt_id == loaded.prompts[4].id
    assert "points elsewhere" in bad.why


def test_the_same_question_read_in_two_ways_is_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"question": "How many?", "answer": text} for text in ("6", "2 + 4 = 6 #### 6")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(Files(path=str(path), verifier={"kind": "math"}).rows())
    assert len({row.id for row in found if isinstance(row, Prompt)}) == 1
