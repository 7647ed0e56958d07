"""What counts as the same output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.code import checkers

TOKENS = [
    ("1 2 3\n", "1 2 3", True),
    ("1\n2\n3", "1 2 3", True),
    ("1 2", "1 2 3", False),
    ("1 2 3 4", "1 2 3", False),
    ("", "", True),
    ("", "0", False),
    ("100000", "100001", False),
    ("99999999999999999999", "99999999999999999998", False),
    ("3.0", "3", False),  # an integer was asked for
    ("007", "7", False),
    ("0011", "11", False),  # may be binary digits
    ("3", "3.0", True),
    ("0.333333333", "0.333333", True),
    ("0.3333", "0.333333", False),
    ("1e-7", "0.0", True),
    ("1.0000005", "1.0", True),
    ("1.00001", "1.0", False),
    ("1000000.5", "1000000.0", False),
    ("1.5e3", "1500.0", True),
    ("nan", "0.5", False),
    ("inf", "1e400", False),
    ("nan", "nan", True),
    ("0x10", "16.0", False),
    ("1_000.0", "1000.0", False),
    ("Yes", "YES", False),
    ("٣", "3", False),
    ("1" * 100 + ".0", "1" * 99 + "2.0", False),
]


@pytest.mark.parametrize(("output", "expected", "same"), TOKENS)
def test_tokens(output: str, expected: str, same: bool) -> None:
    assert (checkers.tokens(output, expected) is None) is same


NAMED = [
    ("case_insensitive", "yes", "YES", True),
    ("lines", "a b  \nc\n\n", "a b\nc", True),
    ("lines", "a  b\nc", "a b\nc", False),
    ("lines", "a\n\nb", "a\nb", False),
    ("lines", " a", "a", False),
    ("exact", "a\n", "a", True),
    ("exact", "a \n", "a\n", False),
    ("exact", "a\n\n", "a\n", False),
    ("unordered_lines", "b\na", "a\nb", True),
    ("unordered_lines", "b\nb\na", "a\nb", False),
    ("unordered_lines", "b", "a\nb", False),
]


@pytest.mark.parametrize(("name", "output", "expected", "same"), NAMED)
def test_named(name: str, output: str, expected: str, same: bool) -> None:
    assert (checkers.STDIN_CHECKERS[name](output, expected) is None) is same


RESULTS = [
    ("[0, 1]", "[0, 1]", True),
    ("[1, 0]", "[0, 1]", False),
    ("true", "true", True),
    ("1", "true", False),
    ("true", "1", False),
    ("null", "0", False),
    ('"1"', "1", False),
    ("[]", "{}", False),
    ("[]", "null", False),
    ("2.0", "2", True),
    ("2.5", "2", False),
    ("9007199254740993.0", "9007199254740993", False),
    ("2", "2.0", True),
    ("0.30000000000000004", "0.3", True),
    ("0.31", "0.3", False),
    ("NaN", "0.5", False),
    ("1" + "0" * 400, "1e300", False),
    ('{"a": [1, {"b": null}]}', '{"a": [1, {"b": null}]}', True),
    ('{"a": 1, "b": 2}', '{"a": 1}', False),
    ("[[1], [2]]", "[[1], [3]]", False),
    ("", "1", False),
    ("not JSON", "1", False),
    ("9" * 5000, "1", False),
    ("[" * 100_000, "1", False),
]


@pytest.mark.parametrize(("output", "expected", "same"), RESULTS)
def test_result(output: str, expected: str, same: bool) -> None:
    assert (checkers.result(output, expected) is None) is same


def test_unordered_result() -> None:
    assert checkers.unordered_result("[[2], [1]]", "[[1], [2]]") is None
    assert checkers.unordered_result("[[2], [2]]", "[[1], [2]]") is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_result_equals_itself(value: object) -> None:
    assert checkers.result(json.dumps(value), json.dumps(value)) is None


@given(st.integers(), st.integers())
def test_integers_are_exact(one: int, other: int) -> None:
    assert (checkers.tokens(str(one), str(other)) is None) is (one == other)


@given(st.text())
def test_an_output_equals_itself(text: str) -> None:
    for compare in checkers.STDIN_CHECKERS.values():
        assert compare(text, text) is None
