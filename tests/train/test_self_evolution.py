"""Reflection words and accuracy by difficulty: what is logged over the steps of a policy."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.recipe.rewards import AccuracyReward
from factory.train.curves import build_curves
from factory.train.scoring import Rewarder, Scoring
from factory.train.self_evolution import label_difficulty, reflection_shares

REFLECTING: list[tuple[list[str], float]] = [
    ([], 0),
    ([""], 0),
    (["7 + 3 = 10"], 0),
    (["Wait, that is wrong."], 2 / 4),
    (["waiter wrongly checked butter errors"], 0),
    (["WAIT", "a b c"], 1 / 4),  # of all words, not per text
    (["However: verify, evaluate, retry; a mistake? An error! But check."], 8 / 10),
]


@pytest.mark.parametrize(("texts", "share"), REFLECTING)
def test_reflection_words_are_counted(texts: list[str], share: float) -> None:
    found = reflection_shares(pl.Series(texts, dtype=pl.String))
    assert found["reflection"] == pytest.approx(share)
    words = [value for name, value in found.items() if name.startswith("reflection/")]
    assert sum(words) == pytest.approx(share)
    assert len(words) == 10


def prompt(number: int, **meta: Any) -> Prompt:
    asked = (Message(role="user", content=f"What is {number} + 4?"),)
    verifier = {"kind": "math", "answer": str(number + 4)}
    return Prompt("t", "math", asked, verifier, language="en", meta=meta)


def labels(*values: Any) -> list[str]:
    prompts = [prompt(number, level=value) for number, value in enumerate(values)]
    found = label_difficulty(prompts, "level")
    return [found[one.id] for one in prompts]


LABELLED: list[tuple[list[Any], list[str]]] = [
    ([1, 2, 5], ["1", "2", "5"]),
    ([1.0, 2.5], ["1", "2.5"]),
    (["Level 1", " level 1 ", "HARD"], ["level 1", "level 1", "hard"]),
    ([3, "easy", None, {"terms": 2}, True], ["3", "easy", "unknown", "unknown", "unknown"]),
    ([float("nan"), 1], ["unknown", "1"]),
]


@pytest.mark.parametrize(("values", "expected"), LABELLED)
def test_a_difficulty_is_labelled(values: list[Any], expected: list[str]) -> None:
    assert labels(*values) == expected


def test_many_numbers_become_quarters_of_the_questions() -> None:
    found = labels(*(number / 10 for number in range(100)))
    assert [found.count(label) for label in dict.fromkeys(found)] == [25, 25, 25, 25]
    assert found[0] == "quarter 1, up to 2.4"
    assert found[-1] == "quarter 4, up to 9.9"


def test_rare_texts_are_put_together() -> None:
    found = labels(*[f"kind {number % 9}" for number in range(90)], "once", "kind 1")
    assert found[-2] == "other"
    assert len(set(found)) == 9


def test_a_field_that_no_question_has_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"difficulty.*level"):
        label_difficulty([prompt(1, level=3)], "hardness")


def test_accuracy_is_logged_by_difficulty_and_drawn() -> None:
    easy, hard, broken = prompt(1, level=1), prompt(2, level=5), prompt(3, level=5)
    prompts = [easy, hard, broken]
    difficulty = label_difficulty(prompts, "level")
    rewards = {"right": AccuracyReward(think="optional")}
    rewarder = Rewarder(Scoring(rewards, prompts), 9, difficulty)
    logged: dict[str, float] = {}
    texts = ["\\boxed{5}", "\\boxed{5}", "\\boxed{6}", "\\boxed{1}"]
    ids = [easy.id, hard.id, hard.id, broken.id]
    rewarder.score(texts, [[1]] * 4, ids, logged.__setitem__)
    assert logged["accuracy_at/1"] == 1.0
    assert logged["accuracy_at/5"] == pytest.approx(1 / 3)
    line = {"step": 1, "loss": 0.1, **logged}
    (figure,) = (one for one in build_curves([line]) if one.name == "difficulty")
    assert {row["line"] for row in figure.rows} == {"1", "5"}
    words = next(one for one in build_curves([line]) if one.name == "words")
    assert len(words.rows) == 10
