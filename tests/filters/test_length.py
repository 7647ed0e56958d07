from __future__ import annotations

import pytest
from pydantic import ValidationError

from filters.length import Length

TEXT = "<think>" + "r" * 80 + "</think>" + "a" * 20  # 115 characters, ratio 4

CASES = [
    (Length(), {"n_tokens": 32_768}, None),
    (Length(), {"n_tokens": 32_769}, "too_long"),
    (Length(max_tokens=None), {"n_tokens": 1_000_000}, None),
    (Length(max_tokens=100), {"n_tokens": 100}, None),
    (Length(max_tokens=100), {"n_tokens": 101}, "too_long"),
    (Length(max_tokens={"math": 50, "default": 500}), {"domain": "math"}, "too_long"),
    (Length(max_tokens={"math": 50, "default": 500}), {"domain": "code"}, None),
    (Length(max_tokens={"math": 50}), {"domain": "code", "n_tokens": 10**6}, None),
    (Length(max_tokens={"math": 50, "default": 90}), {"domain": None}, "too_long"),
    (Length(min_tokens=100), {}, None),
    (Length(min_tokens=101), {}, "too_short"),
    (Length(min_tokens={"code": 101}), {}, None),
    (Length(), {"finish_reason": "length"}, "truncated"),
    (Length(), {"finish_reason": "early_stop"}, None),
    (Length(truncated=False), {"finish_reason": "length"}, None),
    (Length(), {"finish_reason": "length", "n_tokens": 10**6}, "truncated"),  # the first reason
    (Length(), {"finish_reason": None, "n_tokens": None}, None),  # a data set without them
    (Length(max_characters=115), {}, None),
    (Length(max_characters=114), {}, "too_many_characters"),
    (Length(min_characters=116), {}, "too_few_characters"),
    (Length(min_ratio=4), {}, None),
    (Length(min_ratio=4.1), {}, "too_little_reasoning"),
    (Length(max_ratio=4), {}, None),
    (Length(max_ratio=3.9), {}, "too_much_reasoning"),
    (Length(min_tokens_when_hard={0.25: 101}), {"pass_rate": 0.25}, "too_short_for_question"),
    (Length(min_tokens_when_hard={0.25: 101}), {"pass_rate": 0.26}, None),
    (Length(min_tokens_when_hard={0.25: 101}), {"pass_rate": None}, None),
    (Length(min_tokens_when_hard={0.25: 50, 0.1: 101}), {"pass_rate": 0.2}, None),
    (
        Length(min_tokens_when_hard={0.25: 50, 0.1: 101}),
        {"pass_rate": 0.1},
        "too_short_for_question",
    ),
]


@pytest.mark.parametrize(("judge", "columns", "expected"), CASES)
def test_reasons(reason, judge, columns, expected):
    assert reason(judge, TEXT, **columns) == expected


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        (TEXT, 4.0),
        ("<think>é𝒜</think>ab", 1.0),  # characters, not bytes
        ("<think></think>ab", 0.0),
        ("<think>ab</think>", None),
        ("<think>ab", None),
        ("ab", None),
        (None, None),
    ],
)
def test_ratio(rows, text, ratio):
    assert Length().measure(rows([text]))["length_ratio"].to_list() == [ratio]


def test_pass_rate_is_read_only_when_asked(rows):
    frame = rows([TEXT]).drop("pass_rate")
    metrics = Length().measure(frame)
    assert Length().decide(frame.join(metrics, on="sample_id"))["decision"].to_list() == ["keep"]


def test_bounds_say_which_domain():
    (rule,) = Length(truncated=False, max_tokens={"math": 50, "default": 500}).rules()
    assert rule.bound == "at most 50 (math), 500 (default)"


@pytest.mark.parametrize(
    "fields", [{"max_tokens": -1}, {"max_tokens": {"maths": -5}}, {"min_tokens_when_hard": {2: 5}}]
)
def test_nonsense_is_refused(fields):
    with pytest.raises(ValidationError):
        Length(**fields)


def test_a_threshold_is_not_in_the_cache_key():
    assert Length(max_tokens=5).cache_key() == Length().cache_key()


def test_bad_input(reason, bad_text):
    assert reason(Length(), bad_text) is None
