from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.readability import Readability, measure_layout, states_answer

SENTENCE = "We add the two sides and see that they are equal. "  # 50 bytes


def think(reasoning: str, response: str = "The answer is \\boxed{4}.") -> str:
    return f"<think>{reasoning}</think>{response}"


CASES = [
    ("plain", think("Two and two.\n\nSo four."), "math", None),
    ("one long line", think(SENTENCE * 70), "math", "long_line"),
    ("a bearable line", think(SENTENCE * 60), "math", None),
    ("long paragraph", think((SENTENCE + "\n") * 140), "math", "long_paragraph"),
    ("the same, spaced", think((SENTENCE + "\n\n") * 140), "math", None),
    ("spaced by blanks", think((SENTENCE + "\n \t\r\n") * 140), "math", None),
    ("long answer only", think("Short.", SENTENCE * 70), "math", None),
    ("no think section", SENTENCE * 70, "math", "long_line"),
    ("code in maths", think("Run it:\n```python\nx = 1\n```\nSo 1."), "math", "code_in_reasoning"),
    ("tilde fence", think("Run it:\n~~~\nx = 1\n~~~\nSo 1."), "math", "code_in_reasoning"),
    ("code in code", think("Run it:\n```python\nx = 1\n```\nSo 1."), "code", None),
    ("code in the answer", think("Write it.", "```python\nx = 1\n```"), "math", None),
    ("inline code", think("The value `x` is ``1``."), "math", None),
    ("inline ticks of three", think("```x = 1``` is set."), "math", None),
    ("ticks within a line", think("Markdown's ``` opens a block."), "math", None),
    ("open fence", think("So:\n```\nx = 1"), "code", "unbalanced_fence"),
    ("open fence in the answer", think("So.", "```\nx = 1"), "code", "unbalanced_fence"),
    ("closed by more", think("So:\n```\nx = 1\n`````\nDone."), "code", None),
    ("not closed by fewer", think("So:\n````\nx\n```\nDone."), "code", "unbalanced_fence"),
    ("not closed by another", think("So:\n```\nx\n~~~\nDone."), "code", "unbalanced_fence"),
    ("not closed by an info string", think("```\nx\n```py\nDone."), "code", "unbalanced_fence"),
    ("indented under a list", think("1. So:\n      ```\n      x\n      ```\n"), "code", None),
    ("long code is no paragraph", think("```\n" + "x = 1\n" * 2000 + "```\n"), "code", None),
    ("symbols", think("So " + "#=" * 101 + " then."), "math", "symbol_run"),
    ("a ruled line", think("So\n" + "-" * 120 + "\nthen."), "math", None),
    ("symbols in code", think("```\n" + "=" * 300 + "\n```"), "code", None),
    ("digits only", think("12 34 56 78 90 " * 100), "math", "few_letters"),
    ("a few digits only", think("12 34 56"), "math", None),
    ("mostly formulas", think("so a^2 + 2*a*b + b^2 = (a + b)^2\n\n" * 40), "math", None),
    ("Chinese", think("我们把两边相加，" * 20 + "\n\n"), "math", None),
    ("answer left out", think(r"It is \boxed{42}.", "We are done."), "math", "no_summary"),
    ("answer stated", think(r"It is \boxed{42}.", "The answer is 42."), "math", None),
    ("another number", think(r"It is \boxed{42}.", "The answer is 421."), "math", "no_summary"),
    ("a box of its own", think(r"It is \boxed{42}.", r"So \boxed{43}."), "math", None),
    ("nothing boxed", think("It is 42.", "We are done."), "math", None),
]


@pytest.mark.parametrize(
    ("text", "domain", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_reasons(reason, text, domain, expected):
    assert reason(Readability(), text, domain=domain) == expected


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        ({"max_line": 49}, think(SENTENCE), "long_line"),
        ({"max_line": 50}, think(SENTENCE), None),
        ({"max_line": {"code": 5}}, think(SENTENCE), None),
        ({"max_line": None, "max_paragraph": None}, think(SENTENCE * 500), None),
        ({"code_forbidden_in": ()}, think("```\nx\n```"), None),
        ({"balanced_fences": False, "code_forbidden_in": ()}, think("```\nx"), None),
        ({"summary": "optional"}, think(r"\boxed{42}", "Done."), None),
        ({"min_letter_share": None}, think("12 34 " * 200), None),
        ({"max_symbol_run": 2}, think("a --- b"), "symbol_run"),
    ],
)
def test_the_recipe_s_bounds(reason, fields, text, expected):
    assert reason(Readability(**fields), text) == expected


@pytest.mark.parametrize(
    ("thinking", "response", "stated"),
    [
        (r"\boxed{\dfrac{1}{2}}", "It is 1/2.", True),
        (r"\boxed{\frac{1}{2}}", r"It is $\tfrac{1}{2}$.", True),
        (r"\boxed{1{,}000}", "It is 1000.", True),
        (r"\boxed{\sqrt{2}}", "It is √2.", True),
        (r"\boxed{3 \text{ cm}}", "It is 3 cm.", True),
        (r"\boxed{x = 5}", "Thus $x=5$.", True),
        (r"\boxed{5} or \boxed{7}, so \boxed{7}", "It is 5.", False),
        (r"\boxed{(1, 2]}", "The set is (1,2].", True),
        (r"\boxed{5", "Cut off.", None),
        (r"no box", "Done.", None),
        (r"\boxed{.5}", "It is 1.5", False),
        (None, "Done.", None),
        (r"\boxed{5}", None, None),
    ],
)
def test_states_answer(thinking, response, stated):
    assert states_answer(thinking, response) is stated


def test_bad_input(reason, bad_text):
    assert reason(Readability(), bad_text, domain="general") in {
        None, "long_line", "long_paragraph", "few_letters", "unbalanced_fence"
    }  # fmt: skip


@given(st.lists(st.text(st.sampled_from("ab1+é字😀 \t\n\r")), max_size=8))
def test_layout_is_what_plain_python_counts(texts):
    found = measure_layout(pl.Series(texts, dtype=pl.String))
    for text, row in zip(texts, found.iter_rows(named=True), strict=True):
        lines = text.split("\n")
        assert row["line"] == max((len(line.encode()) for line in lines if line), default=0)
        visible = [c for c in text if not c.isspace()]
        assert row["visible"] == len(visible)
        assert row["letters"] == sum(c.isalpha() for c in visible)
        assert not row["open"]
        assert row["fences"] == 0


@given(st.lists(st.sampled_from(["```", "```py", "````", "~~~", "x", "", "  ```", "```a`"])))
def test_a_closed_fence_leaves_none_open(lines):
    found = measure_layout(pl.Series(["\n".join([*lines, "`````", ""]), "\n".join(lines)]))
    opened = [bool(value) for value in found["open"]]
    # One more long fence line closes an open one of ticks, opens one if none was open.
    last_mark = _open_mark(lines)
    assert opened[1] == (last_mark is not None)
    assert opened[0] == (last_mark is None or last_mark.startswith("~"))


def _open_mark(lines: list[str]) -> str | None:
    """CommonMark's rule, in the plain words of its specification."""
    mark = None
    for line in map(str.strip, lines):
        length = len(line) - len(line.lstrip(line[:1])) if line[:1] in ("`", "~") else 0
        rest = line[length:]
        if mark is None and length >= 3 and not (line[0] == "`" and "`" in rest):
            mark = line[:length]
        elif mark and length >= len(mark) and line[0] == mark[0] and not rest:
            mark = None
    return mark
