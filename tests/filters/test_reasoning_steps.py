"""The cutter of reasoning: its table, near misses, and properties of any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.reasoning_steps import (
    STEP_RULES,
    STOPS,
    StepRule,
    cut_response,
    cut_steps,
    is_complete_step,
    name_rule,
    split_steps,
)

TABLE: list[tuple[StepRule, str, list[str]]] = [
    ("lines", "a\nb\nc", ["a\n", "b\n", "c"]),
    ("lines", "a\n\n\nb\n", ["a\n\n\n", "b\n"]),
    ("lines", "\n\na\n  b", ["\n\na\n", "  b"]),
    ("lines", "one line", ["one line"]),
    ("paragraphs", "a\nb\n\nc", ["a\nb\n\n", "c"]),
    ("paragraphs", "a\n \t\n\n  c", ["a\n \t\n\n", "  c"]),
    ("paragraphs", "a\nb", ["a\nb"]),
    ("sentences", "It is 3. So 4! Why? Yes", ["It is 3. ", "So 4! ", "Why? ", "Yes"]),
    ("sentences", "It is 3.5 or v1.2, e.g. 4.", ["It is 3.5 or v1.2, e.g. 4."]),
    ("sentences", "See Eq. 3 (cf. Fig. 2). Then", ["See Eq. 3 (cf. Fig. 2). ", "Then"]),
    ("sentences", "1. Add them.\n2. Done.", ["1. Add them.\n", "2. Done."]),
    ("sentences", "The answer is no. So we stop.", ["The answer is no. ", "So we stop."]),
    ("sentences", "Take point B. It is on c.", ["Take point B. ", "It is on c."]),
    ("sentences", "“He said (so.)” Then... no", ["“He said (so.)” ", "Then... ", "no"]),
    ("sentences", "先算三。再算四！对吗？对", ["先算三。", "再算四！", "对吗？", "对"]),
    ("numbered", "Plan\nStep 1: a\nb\nStep 2: c", ["Plan\n", "Step 1: a\nb\n", "Step 2: c"]),
    ("numbered", "1. a\n2) b\n(3) c", ["1. a\n", "2) b\n", "(3) c"]),
    ("numbered", "**Step 1** a\n### step 2\nb", ["**Step 1** a\n", "### step 2\nb"]),
    ("numbered", "a\n3.5 is b\n2024. c\nstepwise", ["a\n3.5 is b\n2024. c\nstepwise"]),
    ("equations", "11;10;5;", ["11;", "10;", "5;"]),
    ("equations", "We add\n1+1=2; then 2*2=4", ["We add\n1+1=2; ", "then 2*2=4"]),
    ("equations", "no digits; here\nat all", ["no digits; here\nat all"]),
    ("lines", "a\n```py\nx = 1\n\ny\n```\nb", ["a\n", "```py\nx = 1\n\ny\n```\n", "b"]),
    ("lines", "a\n```py\nx\ny", ["a\n", "```py\nx\ny"]),
    ("lines", "so\n\\[\nx\n\\]\nb", ["so\n", "\\[\nx\n\\]\n", "b"]),
    ("lines", "$$\nx\n$$\nb\n$$ c\nd", ["$$\nx\n$$\n", "b\n", "$$ c\n", "d"]),
    ("lines", "x \\\\[2pt]\ny \\]\nz", ["x \\\\[2pt]\n", "y \\]\n", "z"]),
    ("sentences", "Let \\(a. b\\) be. So", ["Let \\(a. b\\) be. ", "So"]),
    ("auto", "", []),
    ("auto", " \n ", [" \n "]),
    ("auto", "Step 1. a\n\nb\nStep 2. c", ["Step 1. a\n\nb\n", "Step 2. c"]),
    ("auto", "a\nb\n\nc", ["a\nb\n\n", "c"]),
    ("auto", "a. b\nc", ["a. b\n", "c"]),
    ("auto", "a. b", ["a. ", "b"]),
    ("auto", "1;2", ["1;", "2"]),
]


@pytest.mark.parametrize(("rule", "text", "steps"), TABLE)
def test_the_table(rule: StepRule, text: str, steps: list[str]) -> None:
    assert split_steps(text, rule) == steps


@pytest.mark.parametrize(
    ("rule", "text", "complete"),
    [
        ("lines", "a\n", True),
        ("lines", "a", False),
        ("lines", "\n", False),
        ("lines", "```\nx\n", False),
        ("lines", "```\nx\n```\n", True),
        ("paragraphs", "a\n", False),
        ("paragraphs", "a\n\n", True),
        ("sentences", "It is 3. ", True),
        ("sentences", "It is 3.", False),
        ("sentences", "See Eq. ", False),
        ("equations", "11;", True),
        ("equations", "so;", False),
        ("equations", "11;10", False),
    ],
)
def test_a_step_is_complete_whatever_follows(rule: StepRule, text: str, complete: bool) -> None:
    assert is_complete_step(text, rule) is complete


def test_every_rule_that_can_stop_a_model_has_its_strings() -> None:
    assert set(STEP_RULES) - set(STOPS) == {"auto", "numbered"}


pieces = st.sampled_from(
    [
        "a",
        "3",
        ". ",
        "! ",
        "?",
        "。",
        ";",
        "\n",
        "\n\n",
        " ",
        "\t",
        "```",
        "\n```\n",
        "$$",
        "\\[",
        "\\]",
        "\\(",
        "\\)",
        "\\\\",
        "Step 2",
        "\n2. ",
        "e.g.",
        "=",
        ")",
        "“",
        "<think>",
        "</think>",
    ]
)
texts = st.one_of(st.lists(pieces, max_size=30).map("".join), st.text(max_size=60))


@given(texts, st.sampled_from(STEP_RULES))
def test_joined_steps_are_the_text(text: str, rule: StepRule) -> None:
    ends = cut_steps(text, rule)
    assert ends == sorted(set(ends))
    assert "".join(split_steps(text, rule)) == text
    assert ends[-1:] == [len(text)] * bool(text)
    if text.strip():
        assert all(step.strip() for step in split_steps(text, rule))


@given(texts, st.sampled_from([rule for rule in STEP_RULES if rule != "auto"]))
def test_a_text_cut_after_a_step_has_the_same_first_steps(text: str, rule: StepRule) -> None:
    ends = cut_steps(text, rule)
    for number, end in enumerate(ends, 1):
        assert cut_steps(text[:end], rule) == ends[:number]


@given(texts, st.sampled_from(list(STOPS)))
def test_a_complete_step_ends_there_in_any_text(text: str, rule: StepRule) -> None:
    if is_complete_step(text, rule):
        assert text[-1:].isspace() or text.endswith(
            ("。", "！", "？", ";", ")", "”", "」", "）", "』")
        )
        assert len(text) in cut_steps(text + "y", rule)


@given(texts)
def test_auto_is_the_rule_it_names(text: str) -> None:
    assert cut_steps(text, "auto") == cut_steps(text, name_rule(text))


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("<think>11;5;</think>5", ["<think>11;", "5;", "</think>5"]),
        ("<think>\n1;\n2\n</think>\n\n3", ["<think>\n1;\n", "2\n", "</think>\n\n3"]),
        ("<think>1;2", ["<think>1;", "2"]),
        ("1;2</think>3", ["1;", "2", "</think>3"]),
        ("1;2", ["1;", "2"]),
        ("<think></think>3;4", ["<think></think>3;4"]),
        ("<think>\n", ["<think>\n"]),
        ("", []),
    ],
)
def test_the_steps_of_a_response(text: str, steps: list[str]) -> None:
    ends = cut_response(text, "equations")
    assert [text[a:b] for a, b in zip([0, *ends], ends, strict=False)] == steps


@given(texts, st.sampled_from([rule for rule in STEP_RULES if rule != "auto"]))
def test_a_response_cut_within_its_reasoning_has_the_same_first_steps(
    text: str, rule: StepRule
) -> None:
    ends = cut_response(text, rule)
    assert ends == sorted(set(ends))
    assert ends[-1:] == [len(text)] * bool(text)
    for number, end in enumerate(ends, 1):
        if "</think>" not in text and text[:end].count("<think>") == text.count("<think>"):
            assert cut_response(text[:end], rule) == ends[:number]
