"""Builds input rows of filters and returns their reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from factory.core.think import split_think_exprs
from filters.base import Filter, turns_type

DEFAULTS: dict[str, tuple[pl.DataType | type[pl.DataType], Any]] = {
    "prompt_id": (pl.String, "p"),
    "index": (pl.Int32, 0),
    "finish_reason": (pl.String, "stop"),
    "n_tokens": (pl.Int32, 100),
    "question": (pl.String, "What is it?"),
    "domain": (pl.String, "math"),
    "source": (pl.String, "tests"),
    "language": (pl.String, "en"),
    "verifier": (pl.String, None),
    "cot": (pl.Boolean, None),
    "turns": (turns_type(), None),
    "tools": (pl.String, None),
    "pass_rate": (pl.Float64, None),
}


def make_rows(texts: Sequence[str | None], **columns: Any) -> pl.DataFrame:
    """Build one row per text. A column given as a list has one value per row."""
    frame = pl.DataFrame(
        {
            "sample_id": [f"p-{i}" for i in range(len(texts))],
            "text": pl.Series(texts, dtype=pl.String),
        }
    ).with_columns(**split_think_exprs())
    for name, (dtype, default) in DEFAULTS.items():
        value = columns.get(name, default)
        values = value if isinstance(value, list) else [value] * len(texts)
        frame = frame.with_columns(pl.Series(name, values, dtype=dtype))
    return frame


def find_reasons(judge: Filter, rows: pl.DataFrame) -> list[str | None]:
    """The reason a filter gives each row, in order."""
    metrics = judge.measure(rows)
    assert metrics["sample_id"].to_list() == rows["sample_id"].to_list()
    texts = (
        "text",
        "thinking",
        "response",
        "question",
        "verifier",
        "shape",
        "cot",
        "turns",
        "tools",
    )
    measured = rows.drop(texts)
    return judge.decide(measured.join(metrics, on="sample_id"))["reason"].to_list()


@pytest.fixture(scope="session")
def rows() -> Callable[..., pl.DataFrame]:
    return make_rows


@pytest.fixture(scope="session")
def reasons() -> Callable[[Filter, pl.DataFrame], list[str | None]]:
    return find_reasons


@pytest.fixture(scope="session")
def reason() -> Callable[..., str | None]:
    """The reason a filter gives one text."""

    def of(judge: Filter, text: str | None, **columns: Any) -> str | None:
        return find_reasons(judge, make_rows([text], **columns))[0]

    return of


BAD_INPUT = {
    "null": None,
    "empty": "",
    "blank": " \n\t\n ",
    "one_letter": "x" * 10_000_000,
    "one_word": "word " * 200_000,
    "lines": "a\n" * 100_000,
    "direction_marks": "\u200f\u202e\u2067שלום\u2069\u200e" * 100,
    "formulas": "<think>" + r"\[x^2+y^2=z^2\] " * 500 + r"</think>\(5\)",
    "tags": "<think>" * 5_000 + "</think>" * 5_000,
    "fences": "```\n" * 20_001,
    "braces": r"<think>\boxed{" + "{" * 50_000 + "</think>x",
    "controls": "".join(map(chr, range(32))) * 50,
    "astral": "𝒜😀𠮷" * 1_000,
}


@pytest.fixture(params=BAD_INPUT, ids=list(BAD_INPUT))
def bad_text(request: pytest.FixtureRequest) -> str | None:
    """A text that breaks careless code."""
    return BAD_INPUT[request.param]
