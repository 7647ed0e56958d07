"""pass@k, cons@k and intervals, checked by enumeration, known cases and simulated coverage."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.evaluation.estimators import (
    MeanEstimate,
    Resampling,
    Vote,
    cons_at_k,
    majority,
    pass_at_k,
    resampled_means,
)

NAN = float("nan")


@st.composite
def drawn(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 9))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(drawn())
def test_pass_at_k_is_the_share_of_all_choices_of_k(case: tuple[int, int, int]) -> None:
    n, correct, k = case
    samples = [True] * correct + [False] * (n - correct)
    chosen = list(combinations(samples, k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_pass_at_k_of_many_and_of_too_few() -> None:
    assert pass_at_k(4096, 1, 64) == pytest.approx(64 / 4096)
    assert pass_at_k(4096, 4000, 4096) == 1.0
    assert math.isnan(pass_at_k(3, 3, 4))
    assert math.isnan(pass_at_k(0, 0, 1))


def right(answer: str) -> Vote:
    return Vote(answer, True)


def wrong(answer: str | None) -> Vote:
    return Vote(answer, False)


def open_(answer: str | None) -> Vote:
    return Vote(answer, None)


MAJORITIES = [
    ([right("4")], 1.0),
    ([wrong("4")], 0.0),
    ([right("4"), right("4"), wrong("5")], 1.0),
    ([right("4"), wrong("5"), wrong("5")], 0.0),
    # Spellings of the same value vote together; all right answers do.
    ([right("1/2"), right("0.5"), right("\\frac{1}{2}"), wrong("2"), wrong("2")], 1.0),
    ([right("3"), right("3"), wrong("1/2"), wrong("0.5"), wrong("\\frac{2}{4}")], 0.0),
    ([right("3"), right("3"), wrong("1/2"), wrong("0.6"), wrong("0.7")], 1.0),
    ([right("B"), right("B"), wrong("A"), wrong("C"), wrong("D")], 1.0),
    # A tie is broken by a fair draw.
    ([right("4"), wrong("5")], 0.5),
    ([right("4"), wrong("5"), wrong("6")], 1 / 3),
    ([wrong("5"), wrong("6")], 0.0),
    # A sample without an answer does not vote.
    ([right("4"), wrong(None), wrong(None), wrong("")], 1.0),
    ([wrong(None), wrong(None)], 0.0),
    ([open_(None)], 0.0),
    # An undecided winner gives NaN.
    ([right("4"), open_("5"), open_("5")], NAN),
    ([right("4"), open_("5")], NAN),
    ([right("4"), right("4"), open_("5")], 1.0),
    ([right("4"), wrong("5"), open_("5.0")], 0.0),
]


@pytest.mark.parametrize(("votes", "expected"), MAJORITIES)
def test_majority(votes: list[Vote], expected: float) -> None:
    assert majority(votes) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.sampled_from([right("4"), wrong("5"), wrong("6"), wrong(None)]), max_size=9))
def test_the_order_of_votes_does_not_matter(votes: list[Vote]) -> None:
    assert majority(votes) == majority(votes[::-1]) == majority(sorted(votes, key=repr))


def test_cons_at_k_is_the_mean_over_disjoint_groups() -> None:
    votes = [right("4"), right("4"), wrong("5"), wrong("5"), wrong("5")]
    assert cons_at_k(votes, 2) == 0.5  # the fifth is in no complete group
    assert cons_at_k(votes, 4) == 0.5  # a tie
    assert cons_at_k(votes, 5) == 0.0
    assert math.isnan(cons_at_k(votes, 6))
    assert math.isnan(cons_at_k([], 1))


def test_the_intervals_coverage_is_about_its_confidence() -> None:
    """Draws pass rates of 40 prompts 300 times; their true mean is 0.4."""
    draw = np.random.default_rng(5)
    resampling = Resampling(resamples=800, seed=1)
    held = 0
    for _ in range(300):
        rates = draw.beta(0.8, 1.2, size=40)
        values = draw.binomial(8, rates)[:, None] / 8
        (estimate,) = resampling.estimate(values, [(0.0, 1.0)])
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 0.4 <= estimate.high
    assert 0.90 <= held / 300 <= 0.985


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random((30, 2))
    once, again = (Resampling(500, seed=3).estimate(values, [None, None]) for _ in range(2))
    assert once == again
    assert once != Resampling(500, seed=4).estimate(values, [None, None])


def test_nan_is_left_out_and_not_zero() -> None:
    values = np.array([[1.0], [NAN], [1.0], [NAN]])
    (estimate,) = Resampling(200).estimate(values, [None])
    assert (estimate.value, estimate.prompts) == (1.0, 2)
    assert np.nanmin(resampled_means(values, 200, 0)) == 1.0


NO_WIDTH = [  # values, their bounds, and the interval
    ([0.0] * 20, (0.0, 1.0), (0.0, 0.161)),
    ([1.0] * 20, (0.0, 1.0), (0.839, 1.0)),
    ([0.0] * 20, (-1.0, 1.0), (-0.161, 0.161)),
    ([7.0] * 20, None, (7.0, 7.0)),
    ([0.5], (0.0, 1.0), None),
    ([NAN, NAN], (0.0, 1.0), None),
]


@pytest.mark.parametrize(("values", "span", "interval"), NO_WIDTH)
def test_equal_values_still_give_an_interval(
    values: list[float], span: tuple[float, float] | None, interval: tuple[float, float] | None
) -> None:
    (estimate,) = Resampling(200).estimate(np.array([values]).T, [span])
    if interval is None:
        assert (estimate.low, estimate.high) == (None, None)
    else:
        assert (estimate.low, estimate.high) == pytest.approx(interval, abs=1e-3)


def test_no_values_give_no_estimate() -> None:
    assert Resampling(200).estimate(np.empty((0, 1)), [None]) == [MeanEstimate(None, None, None, 0)]
