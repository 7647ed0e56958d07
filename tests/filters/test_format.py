from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.format import Format, format_reward

CASES = [
    ("<think>2+2 is 4</think>4", None),
    ("\n <think>\n2+2 is 4\n</think>\n\n4", None),
    ("<think>a < b and b > c, so <b>a</b></think>yes", None),  # tags, but not ours
    ("<think>the tag is called think</think>done", None),
    ("<think>call `<answer>`</think>done", None),
    ("4", "no_think"),
    ("<thinking>2+2</thinking>4", "no_think"),
    ("2+2 is 4</think>4", "unopened_think"),
    ("<think>2+2 is 4", "unclosed_think"),
    ("<think>2+2 is 4</think >4", "unclosed_think"),
    ("<think>2</think>4<think>3</think>5", "repeated_think"),
    ("<think>a<think>b</think>4", "repeated_think"),
    ("<think>a</think>b</think>4", "repeated_think"),
    ("</think>a<think>", "repeated_think"),
    ("Sure! <think>2+2</think>4", "text_before_think"),
    ("<think>\n \t</think>4", "empty_reasoning"),
    ("<think></think>4", "empty_reasoning"),
    ("<think>2+2</think>", "empty_answer"),
    ("<think>2+2</think>\n\n", "empty_answer"),
    ("<think>2+2</think>4<|im_end|>", "special_token"),
    ("<think>2<|endoftext|>+2</think>4", "special_token"),
    ("<think>2+2</think>4<｜end▁of▁sentence｜>", "special_token"),
    ("<think>2+2</think><|start_header_id|>user", "special_token"),
    ("<think>2+2</think>4<|end_of_a_template_to_come|>", "special_token"),
    ("<think>2+2</think>4<end_of_turn>", "special_token"),
    ("<think>[INST] 2+2</think>4", "special_token"),
    ("<think>a <| b |> c</think>4", None),  # pipes of a programming language
    ("<think>the mean <|x|> of a magnitude</think>4", None),
    ("<think>if |a|<|b|+|c|>0</think>4", None),  # absolute values
    ("<think>2+2</think>4 <|im end|>", None),  # a space makes it two other tokens
    ("<think>|im_end|</think>4", None),
    ("<think>use <s>this</s> in HTML</think>4", None),
    ("", "empty_text"),
    (" \n", "empty_text"),
    (None, "empty_text"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_reasons(reason, text, expected):
    assert reason(Format(), text) == expected


@pytest.mark.parametrize(
    ("thinking", "cot", "text", "expected"),
    [
        ("as_asked", True, "<think>2+2</think>4", None),
        ("as_asked", True, "4", "no_think"),
        ("as_asked", None, "4", "no_think"),
        ("as_asked", False, "Hello!", None),
        ("as_asked", False, "<think>2+2</think>4", "unexpected_think"),
        ("as_asked", False, "<think></think>4", "unexpected_think"),
        ("as_asked", False, "2+2", None),
        ("as_asked", False, "", "empty_text"),
        ("required", False, "Hello!", "no_think"),
        ("optional", True, "4", None),
        ({"math": "required", "default": "as_asked"}, False, "Hello!", None),
    ],
)
def test_thinking_goes_by_the_prompts_mark(reason, thinking, cot, text, expected):
    assert reason(Format(thinking=thinking), text, domain="general", cot=cot) == expected


@pytest.mark.parametrize(
    ("thinking", "text", "expected"),
    [
        ("optional", "4", None),
        ("optional", "<think>2+2</think>4", None),
        ("optional", "<think>\n\n</think>\n\nHello!", None),
        ("optional", "<think>2+2", "unclosed_think"),
        ("optional", "<think>2+2</think>", "empty_answer"),
        ("forbidden", "4", None),
        ("forbidden", "<think>2+2</think>4", "unexpected_think"),
        ("forbidden", "2+2</think>4", "unexpected_think"),
        ("forbidden", "4<|im_end|>", "special_token"),
        ({"general": "optional"}, "4", None),
        ({"math": "optional"}, "4", None),
        ({"math": "required", "default": "optional"}, "4", None),
        ({"default": "required"}, "4", "no_think"),
    ],
)
def test_thinking_may_differ_by_domain(reason, thinking, text, expected):
    assert reason(Format(thinking=thinking), text, domain="general") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>2+2</think> <answer>4</answer>", None),
        ("<think>2+2</think>\n<answer>\n4\n</answer>\n", None),
        ("<think>is it <answer>?</think><answer>4</answer>", None),
        ("<think>2+2</think>4", "no_answer_tags"),
        ("<think>2+2</think><answer>4", "no_answer_tags"),
        ("<think>2+2</think>4</answer>", "no_answer_tags"),
        ("<think>2+2</think><answer>4</answer><answer>5</answer>", "repeated_answer_tags"),
        ("<think>2+2</think>So <answer>4</answer>", "text_outside_answer"),
        ("<think>2+2</think><answer>4</answer> I hope.", "text_outside_answer"),
        ("<think>2+2</think></answer>4<answer>", "text_outside_answer"),
        ("<think>2+2</think><answer> </answer>", "empty_answer"),
    ],
)
def test_answer_tags(reason, text, expected):
    assert reason(Format(answer_tags=True), text) == expected


def test_special_tokens_are_the_recipe_s(reason):
    assert reason(Format(special_tokens=("</s>",)), "<think>a</think>b</s>") == "special_token"
    assert (
        reason(Format(special_tokens=("</s>",)), "<think>a</think>b<|eot_id|>") == "special_token"
    )
    assert reason(Format(special_tokens=()), "<think>a</think>b<|im_end|>") is None


def test_the_token_is_shown(rows):
    metrics = Format().measure(rows(["<think>a</think>b<|eot_id|><|im_end|>"]))
    assert metrics["format_special_token"].to_list() == ["<|eot_id|>"]


def test_bad_input(reason, bad_text):
    assert reason(Format(), bad_text) in {
        "empty_text", "no_think", "repeated_think", "empty_reasoning", None
    }  # fmt: skip


pieces = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "a", "4", "<|im_end|>", "é"]
)


@given(texts=st.lists(st.lists(pieces, max_size=9).map("".join), min_size=1, max_size=20))
@pytest.mark.parametrize("answer_tags", [False, True])
def test_the_reward_is_the_filter(rows, reasons, texts, answer_tags):
    found = reasons(Format(answer_tags=answer_tags), rows(texts))
    rewards = [format_reward(text, answer_tags=answer_tags) for text in texts]
    assert rewards == [float(reason is None) for reason in found]
