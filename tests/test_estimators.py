"""pass@k, cons@k and intervals, checked by enumeration, known cases and simulated coverage."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.evaluation.choices import Drawn, choose, majority, measure_lead, split_groups
from factory.evaluation.estimators import MeanEstimate, Resampling, pass_at_k, resampled_means
from factory.recipe.evaluation import parse_choice
from filters.votes import Vote

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


def drawn_from(votes: list[Vote], *, scores: str = "", tokens: str = "") -> list[Drawn]:
    """Return samples with these answers; a score of `-` is none."""
    own = [None if score == "-" else float(score) for score in scores.split()]
    lengths = [int(n) for n in tokens.split()] or [1] * len(votes)
    own = own or [None] * len(votes)
    return [
        Drawn(vote.answer, vote.right, n, score)
        for vote, n, score in zip(votes, lengths, own, strict=True)
    ]


def measure(name: str, samples: list[Drawn]) -> float:
    choice = parse_choice(name)
    assert choice is not None
    return choose(choice, samples)


def test_cons_at_k_is_the_mean_over_disjoint_groups() -> None:
    votes = drawn_from([right("4"), right("4"), wrong("5"), wrong("5"), wrong("5")])
    assert measure("cons@2", votes) == 0.5  # the fifth is in no complete group
    assert measure("cons@4", votes) == 0.5  # a tie
    assert measure("cons@5", votes) == 0.0
    assert math.isnan(measure("cons@6", votes))
    assert math.isnan(measure("cons@1", []))


FOUR = [right("4"), wrong("5"), wrong("5"), wrong("6")]
CHOICES = [  # metric, answers, their scores, how often the choice is right
    ("best@4:s", FOUR, "0.9 0.8 0.7 0.1", 1.0),
    ("best@4:s", FOUR, "0.1 0.8 0.7 0.1", 0.0),
    ("best@4:s", FOUR, "0.9 0.9 0.7 0.1", 0.5),  # a tie
    ("best@2:s", FOUR, "0.9 0.8 0.7 0.1", 0.5),  # two groups
    ("best@4:s", FOUR, "-0.1 -0.8 -2 -3", 1.0),  # of a scale of its own
    ("best@4:s", FOUR, "- 0.8 0.7 0.1", 0.0),  # without a score it is not chosen
    ("best@4:s", FOUR, "- - - -", 0.0),
    ("best@1:s", [open_("7")], "0.5", NAN),
    ("best@2:s", [right("4"), wrong(None)], "0.1 0.9", 0.0),  # no answer is wrong
    ("vote@4:s", FOUR, "0.9 0.4 0.4 0.1", 1.0),
    ("vote@4:s", FOUR, "0.7 0.4 0.4 0.1", 0.0),
    ("vote@4:s", FOUR, "0.7 0.4 - 0.1", 1.0),  # without a score it has no weight
    ("vote@4:s", FOUR, "0 0 0 0", 0.0),
    ("vote@4:s", FOUR, "1 1 1 1", 0.0),  # as cons@4
    ("vote@2:s", [wrong(None), right("4")], "0.9 0.1", 1.0),  # no answer, no vote
]


@pytest.mark.parametrize(("metric", "votes", "scores", "expected"), CHOICES)
def test_choices_by_score(metric: str, votes: list[Vote], scores: str, expected: float) -> None:
    found = measure(metric, drawn_from(votes, scores=scores))
    assert found == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.sampled_from([right("4"), wrong("5"), wrong("6"), wrong(None)]), max_size=9))
def test_equal_weights_are_a_plain_vote_and_the_oracle_bounds_all(votes: list[Vote]) -> None:
    same = drawn_from(votes, scores="0.25 " * len(votes))
    for k in range(1, len(votes) + 1):
        plain = measure(f"cons@{k}", same)
        assert measure(f"vote@{k}:s", same) == plain
        assert plain <= measure(f"pass@{9999}t", [*same, Drawn(None, False, 10_000)]) + 1e-12


BUDGETS = [  # tokens of the samples, a budget, the sizes of the complete groups
    ("2 2 2 2 2", 4, [2]),  # the third used up the first budget; the last two fill none
    ("2 2 2 2 2 2", 4, [2, 2]),
    ("3 3 3 3", 4, [1, 1]),
    ("9 1 1 1 9", 4, [0, 3]),  # too long for any budget: spent, and no answer
    ("1 1", 4, []),
    ("", 4, []),
]


@pytest.mark.parametrize(("tokens", "budget", "sizes"), BUDGETS)
def test_a_budget_of_tokens_is_spent_before_a_group_counts(
    tokens: str, budget: int, sizes: list[int]
) -> None:
    choice = parse_choice(f"cons@{budget}t")
    assert choice is not None
    samples = drawn_from([right("4")] * len(tokens.split()), tokens=tokens)
    assert [len(group) for group in split_groups(choice, samples)] == sizes


def test_groups_of_a_budget_do_not_begin_with_longer_samples_than_chance() -> None:
    draw = np.random.default_rng(2)
    choice = parse_choice("pass@100t")
    assert choice is not None
    firsts = []
    for _ in range(400):
        lengths = " ".join(map(str, draw.integers(10, 60, size=40)))
        samples = drawn_from([right("4")] * 40, tokens=lengths)
        firsts += [group[0].tokens for group in split_groups(choice, samples)]
    assert np.mean(firsts) == pytest.approx(34.5, abs=1.0)


NAMES = {
    "pass@4": "4", "cons@k": "k", "best@8:steps_min": "8", "vote@200t:quality_score": "200t",
    "pass@90t": "90t", "best@k:s": "k",
    "best@8": None, "cons@8:s": None, "vote@0:s": None, "pass@": None, "best@8:": None,
    "pass@t": None, "vote@4:9s": None, "mean@4": None, "pass@4.5": None, "pass@-1": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "at"), NAMES.items())
def test_names_of_metrics(name: str, at: str | None) -> None:
    found = parse_choice(name)
    assert (found and found.at) == at
    assert found is None or found.name == name


LEADS = [
    ([right("4"), right("4.0"), wrong("5"), wrong(None)], 0.25, 1.0),
    ([right("4"), wrong("5"), wrong("5")], 1 / 3, 0.0),
    ([right("4")] * 3, 1.0, 1.0),
    ([open_("4")] * 3, 1.0, NAN),
    ([right("4"), wrong("5")], 0.0, 1.0),  # a tie has no lead
    ([wrong(None)], 0.0, NAN),
    ([], 0.0, NAN),
]


@pytest.mark.parametrize(("votes", "margin", "is_right"), LEADS)
def test_the_lead_of_a_vote(votes: list[Vote], margin: float, is_right: float) -> None:
    found = measure_lead(drawn_from(votes))
    assert found == pytest.approx((margin, is_right), nan_ok=True)


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
