"""Quotas: number and order of rows, shares of bands of difficulty, shortfalls."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.corpus.assembly.inputs import Input
from factory.corpus.assembly.quotas import fill_quota, measure_shortfall
from factory.judging.funnel import Funnel, Group, SampleCount
from factory.recipe.assembly import Balance, Quota, RunSource

EVEN = Balance()


def rows(rates: list[float | None], per_prompt: int = 1) -> pl.DataFrame:
    """`per_prompt` rows of as many prompts as there are rates, 10 tokens each."""
    return pl.DataFrame(
        [
            {
                "sample_id": f"p{number}-{nth}",
                "prompt_id": f"p{number}",
                "run": 0,
                "nth": nth,
                "n_tokens": 10,
                "n_samples": 4,
                "pass_rate": rate,
            }
            for number, rate in enumerate(rates)
            for nth in range(per_prompt)
        ],
        schema={
            "sample_id": pl.String,
            "prompt_id": pl.String,
            "run": pl.UInt16,
            "nth": pl.UInt32,
            "n_tokens": pl.Int32,
            "n_samples": pl.UInt32,
            "pass_rate": pl.Float64,
        },
    )


QUOTAS = [  # quota, rows chosen of ten of 10 tokens
    (Quota(rows=4), 4),
    (Quota(rows=10), 10),
    (Quota(rows=11), 10),
    (Quota(tokens=40), 4),
    (Quota(tokens=41), 5),
    (Quota(tokens=1), 1),
    (Quota(tokens=1000), 10),
]


@pytest.mark.parametrize(("quota", "chosen"), QUOTAS)
def test_so_many_rows_or_tokens(quota: Quota, chosen: int) -> None:
    assert fill_quota(rows([0.5] * 10), quota, EVEN, 0).height == chosen


def test_every_prompt_gives_one_before_any_gives_two() -> None:
    chosen = fill_quota(rows([0.5] * 6, per_prompt=3), Quota(rows=9), EVEN, 0)
    assert chosen["prompt_id"].n_unique() == 6
    assert sorted(chosen["nth"]) == [0] * 6 + [1] * 3


def test_the_seed_chooses_and_the_order_does_not() -> None:
    some = rows([0.5] * 50)
    first = set(fill_quota(some, Quota(rows=10), EVEN, 0)["sample_id"])
    assert first == set(fill_quota(some.reverse(), Quota(rows=10), EVEN, 0)["sample_id"])
    assert first != set(fill_quota(some, Quota(rows=10), EVEN, 1)["sample_id"])


HARD, EASY = 0.1, 0.9
BALANCES = [  # hard, easy and unknown rows; shares; quota; hard and easy chosen
    (50, 50, 0, (), 20, (10, 10)),
    (90, 10, 0, (), 20, (10, 10)),
    (95, 5, 0, (), 20, (15, 5)),  # a band runs out, the other fills in
    (0, 50, 0, (), 20, (0, 20)),
    (60, 60, 0, (3.0, 1.0), 20, (15, 5)),
    (50, 50, 100, (), 40, (10, 10)),  # the unknown keep their half
    (0, 0, 30, (), 20, (0, 0)),
]


@pytest.mark.parametrize(("hard", "easy", "unknown", "shares", "quota", "expected"), BALANCES)
def test_bands_of_difficulty(
    hard: int,
    easy: int,
    unknown: int,
    shares: tuple[float, ...],
    quota: int,
    expected: tuple[int, int],
) -> None:
    some = rows([HARD] * hard + [EASY] * easy + [None] * unknown)
    balance = Balance(edges=(0.5,), shares=shares)
    chosen = fill_quota(some, Quota(rows=quota), balance, 0)
    assert chosen.height == quota
    assert ((chosen["pass_rate"] == HARD).sum(), (chosen["pass_rate"] == EASY).sum()) == expected


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=40),
    st.integers(1, 50),
    st.lists(st.floats(0.01, 0.99), max_size=3, unique=True).map(sorted),
)
def test_a_quota_is_filled_whenever_it_can_be(
    rates: list[float | None], quota: int, edges: list[float]
) -> None:
    chosen = fill_quota(rows(rates), Quota(rows=quota), Balance(edges=tuple(edges)), 0)
    assert chosen.height == min(quota, len(rates))
    assert chosen["sample_id"].is_unique().all()


def asked(prompts: int) -> Input:
    groups = {"math": Group(prompts, prompts, SampleCount(), SampleCount())}
    funnel = Funnel(prompts, SampleCount(), [], SampleCount(), {"a": groups["math"]}, groups)
    return Input(RunSource(path=Path("run")), [], {}, funnel)


def test_no_shortfall_where_the_quota_is_filled() -> None:
    some = rows([0.5] * 10)
    assert measure_shortfall("math", Quota(rows=10), some, some, None, [asked(20)]) is None
    assert measure_shortfall("math", Quota(tokens=100), some, some, None, [asked(20)]) is None


def test_a_shortfall_says_what_it_would_take() -> None:
    # Ten rows of twenty prompts asked; a quarter of the samples of the ten prompts was kept.
    some = rows([0.5] * 10)
    short = measure_shortfall("math", Quota(rows=15), some, some, None, [asked(20)])
    assert short is not None
    assert (short.found, short.wanted, short.rows_a_prompt) == (10, 15, 0.5)
    assert (short.extra_prompts, short.samples_a_prompt, short.extra_samples) == (10, 2, 20)
    assert "10 of 15 rows, 5 short; about 10 more prompts would fill it" in str(short)


def test_a_shortfall_in_tokens() -> None:
    some = rows([0.5] * 10)
    short = measure_shortfall("math", Quota(tokens=150), some, some, None, [asked(20)])
    assert short is not None
    assert (short.found, short.extra_prompts, short.extra_samples) == (100, 10, 20)


def test_more_samples_do_not_help_where_every_prompt_is_full() -> None:
    some = rows([0.5] * 10)
    short = measure_shortfall("math", Quota(rows=15), some, some, 1, [asked(20)])
    assert short is not None
    assert short.extra_samples is None
    assert "more samples of the same prompts would not" in str(short)


def test_nothing_to_go_by() -> None:
    none = rows([])
    short = measure_shortfall("math", Quota(rows=15), none.clear(), none.clear(), None, [asked(20)])
    assert short is not None
    assert short.extra_prompts is None
    assert str(short).endswith("no run has rows of this domain: add one to runs")


def test_a_domain_that_a_run_is_not_asked_for_does_not_count() -> None:
    other = Input(RunSource(path=Path("x"), domains=("code",)), [], {}, asked(1000).funnel)
    some = rows([0.5] * 10)
    short = measure_shortfall("math", Quota(rows=15), some, some, None, [asked(20), other])
    assert short is not None
    assert short.extra_prompts == 10
