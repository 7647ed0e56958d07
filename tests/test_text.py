"""Splitting completions at their think tags."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.think import join_think, split_think, split_think_exprs

CASES = [
    ("<think>2+2</think>4", ("2+2", "4", "ok")),
    ("  <think>x</think>", ("x", "", "ok")),
    ("plain", (None, "plain", "no_think")),
    ("", (None, "", "no_think")),
    ("<think>x", ("x", None, "unclosed")),
    ("a</think>b", ("a", "b", "no_open")),
    ("hi <think>x</think>y", ("x", "y", "text_before")),
    ("<think>a</think>b</think>c", ("a</think>b", "c", "repeated")),
    ("<think>a<think>b</think>c", ("a<think>b", "c", "repeated")),
    ("</think><think>q", ("", "<think>q", "repeated")),
    ("<THINK>x</THINK>y", (None, "<THINK>x</THINK>y", "no_think")),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_cases(text: str, parts: tuple[str | None, str | None, str]) -> None:
    assert split_think(text) == parts


pieces = st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "é", "\\boxed{1}"]))


@given(st.lists(pieces.map("".join), max_size=5))
def test_columns_agree_with_the_function(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    rows = frame.select(**split_think_exprs()).rows()
    assert rows == [tuple(split_think(text)) for text in texts]


@given(st.text(alphabet="ab \n"), st.text(alphabet="ab \n"))
def test_joining_and_splitting_keep_the_words(thinking: str, response: str) -> None:
    parts = split_think(join_think(thinking, response))
    assert parts.shape == "ok"
    assert (parts.thinking or "").strip() == thinking.strip()
    assert (parts.response or "").strip() == response.strip()
