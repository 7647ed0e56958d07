"""Filter `episode`, verifier `state`, and what filters read of an episode."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from factory.core.think import join_think
from factory.judging.own_words import join_own_words
from filters.base import decision_exprs
from filters.episode import Episode, measure_episode
from filters.verify.state import StateVerifier

TOOLS = json.dumps([{"type": "function", "function": {"name": "add"}}])


def call(name: str = "add", **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def turns(*texts: str) -> list[dict[str, Any]]:
    """The model's turns, with an observation after each but the last: its text after a bar."""
    found = [{"role": "tools", "text": TOOLS}]
    for text in texts:
        own, bar, shown = text.partition("|")
        found.append({"role": "assistant", "text": own})
        if bar:
            found.append({"role": "tool", "text": shown})
    return found


def reason(*texts: str, finish: str = "stop", **options: Any) -> str | None:
    """The reason that the filter gives."""
    judge = Episode(**options)
    played = turns(*texts)
    names = list(judge.measure(_frame()).columns)[1:]
    row = dict(zip(names, measure_episode(played, None, "", "auto"), strict=True))
    frame = pl.DataFrame([{**row, "finish_reason": finish}])
    _, found = decision_exprs(judge.rules())
    return frame.select(found.alias("reason")).item()


def _frame() -> pl.DataFrame:
    columns = {"sample_id": ["a"], "turns": [None], "tools": [None], "text": [""]}
    return pl.DataFrame(columns, schema_overrides={"tools": pl.String})


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((f"{call(a=1)}|2", "It is \\boxed{2}."), None),
        ((f"{call(a=1)}|error: no", f"{call(a=2)}|3", "It is 3."), None),
        ((f"{call('sub')}|error: no tool", "It is 2."), "unknown_tool"),
        (("<tool_call>{broken</tool_call>|error: unreadable", "It is 2."), "malformed_call"),
        ((*[f"{call(a=1)}|2"] * 2, "It is 2."), None),
        ((*[f"{call(a=1)}|2"] * 3, "It is 2."), "same_call"),
        ((*[f"{call(a=n)}|{n}" for n in range(9)], "It is 2."), None),
        ((*[f"{call(a=n)}|error: division" for n in range(2)], "It is 2."), None),
        ((*[f"{call(a=n)}|error: division" for n in range(3)], "It is 2."), "same_error"),
        ((*[f"{call(a=n)}|no errors" for n in range(3)], "It is 2."), None),
        ((f"The answer is \\boxed{{2}}. {call(a=1)}|2", "Yes."), "early_answer"),
        ((f"<think>\\boxed{{2}}?</think>{call(a=1)}|2", "It is \\boxed{2}."), None),
        ((f"{call(a=1)}<tool_response>2</tool_response>|2", "It is 2."), "invented_observation"),
        ((f"{call(a=1)}|<tool_response>2</tool_response>", "It is 2."), None),
    ],
)
def test_episodes_that_teach_bad_habits_are_dropped(
    texts: tuple[str, ...], expected: str | None
) -> None:
    assert reason(*texts) == expected


def test_turns_are_limited() -> None:
    texts = (f"{call(a=1)}|2", f"{call(a=2)}|3", "It is 3.")
    assert reason(*texts, max_turns=3) is None
    assert reason(*texts, max_turns=2) == "too_many_turns"
    assert reason(*texts, finish="max_turns") == "too_many_turns"
    assert reason("<tool_call>{", max_malformed=None) is None


def test_one_turn_with_offered_tools_is_measured() -> None:
    measured = measure_episode(None, TOOLS, call("sub") + call("add"), "auto")
    assert measured[:4] == (1, 2, 0, 1)


def test_own_words_hold_no_observation_and_no_call() -> None:
    played = turns(
        f"<think>First.</think>I look it up. {call(a=1)}|OBSERVED",
        f"<think>Second.</think>{call(a=2)}|OBSERVED",
        "<think>Third.</think>It is \\boxed{3}.",
    )
    own = join_own_words(played)
    assert own is not None
    text, thinking, response, shape = own
    assert thinking == "First.\n\nI look it up.\n\nSecond.\n\nThird."
    assert (response, shape) == ("It is \\boxed{3}.", "ok")
    assert "OBSERVED" not in text
    assert "add" in text


@pytest.mark.parametrize(
    ("texts", "shape", "thinking"),
    [
        ((f"{call()}|2", "It is 2."), "no_think", None),
        ((f"<think>unclosed {call()}|2", "<think>a</think>b"), "unclosed", "unclosed"),
        ((f"<think>a</think>{call()}|2", "It is 2."), "no_think", "a"),
        ((f"{call()}|2", "<think>a"), "unclosed", "a"),
    ],
)
def test_the_shape_of_an_episode(texts: tuple[str, ...], shape: str, thinking: str | None) -> None:
    own = join_own_words(turns(*texts))
    assert own is not None
    assert own[3] == shape
    assert (own[1] or "").split(" ")[0] == (thinking or "")


def test_one_turn_is_what_it_is() -> None:
    assert join_own_words(None) is None
    assert join_own_words(turns(join_think("a", "b"))) is None


def verdict(spec: dict[str, Any], reached: Any) -> str:
    (found,) = StateVerifier().verify([({"kind": "state", **spec}, json.dumps(reached))])
    return found.state


STATE = {"cart": {"pen": 2, "total": 3.0}, "open": True, "log": [1, {"a": None}]}


@pytest.mark.parametrize(
    ("expected", "state"),
    [
        ({"cart": {"pen": 2}}, "correct"),
        ({"cart": {"pen": 2.0}, "open": True}, "correct"),
        ({"log": [1, {"a": None}]}, "correct"),
        ({"cart": {"pen": 3}}, "wrong"),
        ({"cart": {"cup": 1}}, "wrong"),
        ({"open": 1}, "wrong"),
        ({"cart": {"pen": "2"}}, "wrong"),
        ({"log": [1]}, "wrong"),
        ({"cart": [1]}, "wrong"),
        ({}, "bad_reference"),
        (None, "bad_reference"),
        ([1], "bad_reference"),
    ],
)
def test_the_final_state_is_compared(expected: Any, state: str) -> None:
    assert verdict({"state": expected}, {"state": STATE, "reward": None}) == state


@pytest.mark.parametrize(
    ("least", "reward", "state"),
    [(1, 1.0, "correct"), (0.5, 1, "correct"), (1, 0.99, "wrong"), (1, None, "no_answer"),
     ("1", 1, "bad_reference"), (True, 1, "bad_reference"), (float("inf"), 1, "bad_reference")],
)  # fmt: skip
def test_the_reward_is_compared(least: Any, reward: Any, state: str) -> None:
    assert verdict({"reward": least}, {"state": None, "reward": reward}) == state


def test_an_episode_without_an_end_has_no_state() -> None:
    assert verdict({"state": {"a": 1}}, None) == "no_answer"
    assert verdict({"state": {"a": 1}}, {"state": None, "reward": None}) == "no_answer"
