"""A collapse is detected, but no collapse is reported for a single bad step or a solved task."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.recipe.grpo import Stop
from factory.train.policy.collapse import Collapse, CollapseDetector, StepStats

SOUND = StepStats(0, reward=1.0, no_signal=0.2, format=0.9, cut=0.05, length=40.0)
RULES = Stop(no_signal=5, over=3)


def run(steps: list[dict[str, Any]], rules: Stop = RULES, best: float | None = 2.0) -> list[Any]:
    """Return the detector's result after each step."""
    detector = CollapseDetector(rules, best)
    return [
        detector.update(SOUND._replace(step=number, **changes))
        for number, changes in enumerate(steps, 1)
    ]


def detect(steps: list[dict[str, Any]], **given: Any) -> Collapse | None:
    *before, last = run(steps, **given)
    assert not any(before), "detected too early"
    return last


SILENT = {"no_signal": 1.0, "reward": 1.0}
DONE = {"no_signal": 1.0, "reward": 2.0}
UNREWARDED = {"reward": None}
BARE = {"format": 0.0}
CUT = {"cut": 1.0}

COLLAPSED: list[tuple[str, list[dict[str, Any]], str, int]] = [
    ("never a signal", [SILENT] * 5, "every completion earns 1", 1),
    ("signal lost", [{}, {}, *[SILENT] * 5], "every completion earns 1", 3),
    ("no reward at all", [{}, *[UNREWARDED] * 5], "no completion was given any reward", 2),
    ("format lost", [*[{}] * 3, *[BARE] * 3], "format reward fell to 0.000", 4),
    ("runs on", [*[{}] * 3, *[CUT] * 3], "100% of the completions reach", 4),
    ("says nothing", [*[{}] * 4, *[{"length": 1.0}] * 3], "1.0 tokens on average", 5),
]


@pytest.mark.parametrize(("_", "steps", "what", "since"), COLLAPSED)
def test_a_collapse_is_reported_with_its_first_step(
    _: str, steps: list[dict[str, Any]], what: str, since: int
) -> None:
    found = detect(steps)
    assert found is not None
    assert what in found.what
    assert found.since == since


NEAR: list[tuple[str, list[dict[str, Any]]]] = [
    ("one step short of the limit", [SILENT] * 4),
    ("a signal in between", [*[SILENT] * 4, {}, *[SILENT] * 4]),
    ("nothing left to earn", [DONE] * 50),
    ("format never was", [BARE] * 50),
    ("format dips", [*[{}] * 5, BARE, BARE, {"format": 0.1}]),
    ("always cut off", [CUT] * 50),
    ("cut off for a step", [{}, {}, {}, CUT, CUT, {}]),
    ("short but there", [{"length": 2.0}] * 50),
]


@pytest.mark.parametrize(("_", "steps"), NEAR)
def test_near_misses(_: str, steps: list[dict[str, Any]]) -> None:
    assert not any(run(steps))


def test_the_remedy_depends_on_whether_it_ever_learnt() -> None:
    never, lost = detect([SILENT] * 5), detect([{}, *[SILENT] * 5])
    assert never is not None
    assert lost is not None
    assert "cold-start" in never.remedy
    assert "learning_rate" in lost.remedy


def test_without_a_bound_a_constant_reward_is_never_called_done() -> None:
    assert detect([DONE] * 5, best=None) is not None


OFF = Stop(no_signal=None, format_below=None, runaway=None, empty=None, over=1)


@given(st.lists(st.sampled_from([SILENT, DONE, UNREWARDED, BARE, CUT, {"length": 0.0}, {}])))
def test_disabled_rules_never_match(steps: list[dict[str, Any]]) -> None:
    assert not any(run([{}, *steps], rules=OFF))


@given(
    st.lists(
        st.builds(
            StepStats,
            st.just(1),
            st.floats(0, 1.9),
            st.floats(0, 0.99),
            st.floats(0.3, 1),
            st.floats(0, 0.9),
            st.floats(2, 99),
        ),
        max_size=40,
    )
)
def test_a_learning_policy_is_not_stopped(steps: list[StepStats]) -> None:
    detector = CollapseDetector(RULES, 2.0)
    assert not any(detector.update(step) for step in steps)


def test_rarer_logging_counts_all_steps() -> None:
    detector = CollapseDetector(Stop(no_signal=50), 2.0, log_every=10)
    found = [detector.update(SOUND._replace(step=step, **SILENT)) for step in range(10, 70, 10)]
    assert [bool(one) for one in found] == [False] * 4 + [True] * 2


def test_a_logged_line_is_read_by_its_names() -> None:
    line = {
        "step": 3,
        "reward": 1.5,
        "frac_reward_zero_std": 0.25,
        "rewards/form/mean": 0.5,
        "cut": 0.1,
        "completions/mean_length": 31.0,
    }
    assert StepStats.from_log(line, "form") == StepStats(3, 1.5, 0.25, 0.5, 0.1, 31.0)
    assert StepStats.from_log(line, None).format is None
    # A step without a decided completion has NaN means, which log.jsonl stores as text.
    undecided = {**line, "reward": "nan", "rewards/form/mean": math.nan}
    assert StepStats.from_log(undecided, "form") == StepStats(3, None, 0.25, None, 0.1, 31.0)
