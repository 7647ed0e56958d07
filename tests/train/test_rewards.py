"""Tables of completions and the reward that each part gives them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import EngineError, RecipeError, TrainError
from factory.core.nouns import Message, Prompt
from factory.core.resources import recipe_path
from factory.recipe.document import Document
from factory.recipe.grpo import Grpo
from factory.recipe.model_rewards import OwnScore, ServerScore
from factory.recipe.rewards import (
    AccuracyReward,
    FormatReward,
    LanguageReward,
    OverlongReward,
    Reward,
)
from factory.train.policy.grpo import refuse_inapplicable_parts
from factory.train.scoring import (
    Rewarder,
    Scores,
    Scoring,
    find_inapplicable_parts,
)
from factory.train.train import load_training

SUM = Prompt(
    "t", "math", (Message(role="user", content="What is 3 + 4?"),), {"kind": "math", "answer": "7"},
    language="en",
)  # fmt: skip
TALK = Prompt("t", "general", (Message(role="user", content="Write a line."),), language="en")
BROKEN = Prompt(
    "t", "math", (Message(role="user", content="Why?"),), {"kind": "math", "answer": ""}
)

RIGHT = "<think>\nThree and four make seven.\n</think>\n\n\\boxed{7}"
WRONG = "<think>\nThree and four make eight.\n</think>\n\n\\boxed{8}"
MIXED = (
    "<think>\nThree and four make seven. Das ist nun eigentlich ganz einfach, weil die beiden "
    "Zahlen klein sind. We can check it by counting up from three, one step at a time.\n</think>"
    "\n\n\\boxed{7}"
)
NO_THINK = "\\boxed{7}"
UNCLOSED = "<think>\nThree and four make seven. \\boxed{7}"
TAGGED = "<think>\nSeven.\n</think>\n<answer>7</answer>"


def score(reward: Reward, text: str, prompt: Prompt = SUM, n_tokens: int = 9) -> float | None:
    scoring = Scoring({"part": reward}, [prompt])
    return scoring.score([prompt.id], [text], [n_tokens], [False]).parts["part"][0]


TABLE: list[tuple[Reward, str, Prompt, float | None]] = [
    (AccuracyReward(), RIGHT, SUM, 1.0),
    (AccuracyReward(), WRONG, SUM, 0.0),
    (AccuracyReward(), NO_THINK, SUM, 0.0),
    (AccuracyReward(think="optional"), NO_THINK, SUM, 1.0),
    (AccuracyReward(), UNCLOSED, SUM, 0.0),
    (AccuracyReward(), TAGGED, SUM, 1.0),
    (AccuracyReward(), RIGHT, TALK, None),  # without a verifier: no reward, and not wrong
    (AccuracyReward(), RIGHT, BROKEN, None),  # a bad reference leaves it undecided
    (FormatReward(), RIGHT, SUM, 1.0),
    (FormatReward(), WRONG, TALK, 1.0),
    (FormatReward(), NO_THINK, SUM, 0.0),
    (FormatReward(), UNCLOSED, SUM, 0.0),
    (FormatReward(), f"So: {RIGHT}", SUM, 0.0),
    (FormatReward(answer_tags=True), RIGHT, SUM, 0.0),
    (FormatReward(answer_tags=True), TAGGED, SUM, 1.0),
    (FormatReward(answer_tags=True), f"{TAGGED} Right?", SUM, 0.0),
    (LanguageReward(), RIGHT, SUM, 1.0),
    (LanguageReward(), NO_THINK, SUM, None),
]


@pytest.mark.parametrize(("reward", "text", "prompt", "expected"), TABLE)
def test_the_reward_of_a_part(
    reward: Reward, text: str, prompt: Prompt, expected: float | None
) -> None:
    assert score(reward, text, prompt) == expected


def test_mixing_languages_costs_its_share_and_no_more() -> None:
    found = score(LanguageReward(), MIXED)
    assert found is not None
    assert 0.2 < found < 0.9


OWN = "Three and four make seven, that is plain."  # 8 words
OTHER = "Das ist eine sehr einfache Rechnung heute"  # 7 words
THAI = "สามบวกสี่เท่ากับเจ็ด"  # 5 words: three, plus, four, equals, seven


@pytest.mark.parametrize(
    ("thinking", "language", "expected"),
    [
        (OWN, "en", 1),
        (f"{OWN} {OTHER}.", "en", 8 / 15),
        (f"{OWN}\n```\n{OTHER}.\n```", "en", 8 / 15),
        (f"{OWN} $\\text{{{OTHER}}}$", "en", 8 / 15),
        (f"{OWN}\n```python\nx = 3 + 4\nprint(x)\n```", "en", 1),
        ("$3 + 4 = 7$", "en", 1),
        (f"{THAI} {THAI}", "th", 1),
        (OWN, "th", 0),
        (f"{THAI} {OWN}", "th", 5 / 13),  # Thai is written without spaces: an estimate
    ],
)
def test_the_language_reward_is_the_share_of_words_counted_by_hand(
    thinking: str, language: str, expected: float
) -> None:
    prompt = dataclasses.replace(SUM, language=language)
    found = score(LanguageReward(), f"<think>\n{thinking}\n</think>\n\n\\boxed{{7}}", prompt)
    assert found == pytest.approx(expected, abs=0.05 if language == "th" else 1e-9)


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, 0), (80, 0), (90, -0.5), (100, -1), (999, -1)]
)
def test_overlong_completions_get_a_gradual_penalty(tokens: int, expected: float) -> None:
    assert score(OverlongReward(max_tokens=100, buffer=20), RIGHT, n_tokens=tokens) == expected


def parts_of(**rewards: Any) -> dict[str, Reward]:
    """Return a recipe's parts, parsed as from YAML."""
    source = {"kind": "gym", "task": "chain_sum", "size": 3}
    data = {"kind": "grpo", "name": "t", "model": "demo", "sources": [source], "rewards": rewards}
    return dict(Grpo.parse(Document(data)).rewards)


FILTERED: list[tuple[dict[str, Any], str, float]] = [
    ({"filter": {"length": {"max_characters": 60}}}, RIGHT, 1.0),
    ({"filter": {"length": {"max_characters": 50}}}, RIGHT, 0.0),
    ({"filter": {"readability": {"max_line": 9}}}, RIGHT, 0.0),
    ({"filter": {"length": None}, "metric": "length_answer", "one_at": 22}, RIGHT, 0.5),
    ({"filter": {"length": {}}, "metric": "length_answer", "zero_at": 22, "one_at": 0}, RIGHT, 0.5),
    ({"filter": {"length": {}}, "metric": "length_answer"}, RIGHT, 1.0),  # capped at 1
    ({"filter": {"repetition": {}}}, "<think>\n" + "and so on " * 900 + "\n</think>\n\nx", 0.0),
]


@pytest.mark.parametrize(("keys", "text", "expected"), FILTERED)
def test_any_filter_is_a_reward(keys: dict[str, Any], text: str, expected: float) -> None:
    part = parts_of(part={"kind": "filter", **keys})["part"]
    assert score(part, text) == pytest.approx(expected)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"acuracy": {}}, "rewards.acuracy is not a kind of reward"),
    ({"accuracy": {"wieght": 2}}, "rewards.accuracy.wieght is not a key here .*weight"),
    ({"part": {"kind": "filter", "filter": {"lenght": {}}}}, "rewards.part.filter .*length"),
    ({"part": {"kind": "filter", "filter": {"length": {"max_token": 3}}}}, ".*max_token"),
    ({"overlong": {"max_tokens": 10, "buffer": 10}}, "rewards.overlong .*buffer"),
    ({"overlong": {"max_tokens": 10}}, "rewards.overlong.buffer is missing"),
    ({"mine": {"class": "nowhere.py:f"}}, "rewards.mine.class .*path/to/file.py:function"),
    ({}, "rewards is"),
]


@pytest.mark.parametrize(("rewards", "message"), REFUSED)
def test_a_wrong_part_is_refused_by_name(
    rewards: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.yaml"
    source = {"kind": "gym", "task": "chain_sum", "size": 3}
    data = {"kind": "grpo", "name": "t", "model": "demo", "sources": [source], "rewards": rewards}
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(RecipeError, match=f"wrong.yaml:[0-9]+: {message}"):
        load_training(file)


def test_a_metric_that_no_filter_measures_is_refused_before_training() -> None:
    parts = parts_of(part={"kind": "filter", "filter": {"length": {}}, "metric": "lenght"})
    with pytest.raises(RecipeError, match="length_answer"):
        find_inapplicable_parts(Scoring(parts, [SUM]), [SUM])


OWN = """
def halves(rows):
    return [None if row["thinking"] is None else len(row["messages"]) / 2 for row in rows]

def too_few(rows):
    return []

def breaks(rows):
    return [1 / 0]
"""


@pytest.fixture
def own(tmp_path: Path, trusted_code: None) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    return file


def test_a_custom_reward_function(own: Path) -> None:
    part = parts_of(mine={"class": f"{own}:halves", "weight": 2})["mine"]
    assert isinstance(part, OwnScore)
    assert (part.weight, score(part, RIGHT), score(part, NO_THINK)) == (2, 0.5, None)


@pytest.mark.parametrize(
    ("name", "message"), [("too_few", "0 numbers for 1"), ("breaks", "division")]
)
def test_an_own_function_that_fails_is_named(own: Path, name: str, message: str) -> None:
    part = parts_of(mine={"class": f"{own}:{name}"})["mine"]
    with pytest.raises(TrainError, match=message):
        score(part, RIGHT)


def test_parts_apply_to_the_prompts_they_are_for() -> None:
    parts = parts_of(
        accuracy={"prompts": "verified"},
        tidy={"kind": "format", "prompts": "unverified"},
    )
    scoring = Scoring(parts, [SUM, TALK])
    scores = scoring.score([SUM.id, TALK.id, SUM.id], [RIGHT, RIGHT, WRONG], [9] * 3, [False] * 3)
    assert scores.parts == {"accuracy": [1.0, None, 0.0], "tidy": [None, 1.0, None]}


def asked(source: str, domain: str = "general", **meta: Any) -> Prompt:
    """Return a prompt without a verifier; the text makes its id unique."""
    content = f"{source}, {domain}, {meta}?"
    return Prompt(source, domain, (Message(role="user", content=content),), meta=meta)


SELECTED: list[tuple[dict[str, Any], Prompt, bool]] = [
    ({}, asked("chat"), True),
    ({"sources": ["chat"]}, asked("chat"), True),
    ({"sources": ["chat"]}, asked("chats"), False),
    ({"sources": ["chat", "harm"]}, asked("harm"), True),
    ({"domains": ["general"]}, asked("chat", "general"), True),
    ({"domains": ["general"]}, asked("chat", "math"), False),
    ({"sources": ["chat"], "domains": ["math"]}, asked("chat", "general"), False),
    ({"meta": {"topic": "safety"}}, asked("chat", topic="safety"), True),
    ({"meta": {"topic": "safety"}}, asked("chat", topic="Safety"), False),
    ({"meta": {"topic": "safety"}}, asked("chat"), False),
    ({"meta": {"topic": None}}, asked("chat"), False),  # a value that is not there is not null
    ({"prompts": "unverified", "sources": ["chat"]}, asked("chat"), True),
    ({"prompts": "verified", "sources": ["chat"]}, asked("chat"), False),
    ({"prompts": "unverified", "sources": ["t"]}, SUM, False),
]


@pytest.mark.parametrize(("keys", "prompt", "applies"), SELECTED)
def test_a_part_selects_prompts(keys: dict[str, Any], prompt: Prompt, applies: bool) -> None:
    part = parts_of(format=keys)["format"]
    assert part.applies_to(prompt) is applies
    assert score(part, RIGHT, prompt) == (1.0 if applies else None)


def test_a_general_prompt_earns_one_reward_or_the_other() -> None:
    """R1 (v2, 3.1): helpfulness or harmlessness, by the data set."""
    recipe = load_training(recipe_path("r1/all_scenario_rl.yaml"))
    assert isinstance(recipe, Grpo)
    labels = [source.label for source in recipe.sources if source.domain == "general"]
    for label in labels:
        parts = {name for name, part in recipe.rewards.items() if part.applies_to(asked(label))}
        assert len(parts & {"helpful", "harmless"}) == 1
        assert "accuracy" not in parts
    assert not {"helpful", "harmless"} & {
        name for name, part in recipe.rewards.items() if part.applies_to(SUM)
    }
    limits = [source.limit for source in recipe.sources if source.domain == "general"]
    assert limits == [66_000, 12_000]


def test_undecided_completions_get_no_reward() -> None:
    scoring = Scoring(parts_of(accuracy={}, format={}), [SUM, BROKEN])
    scores = scoring.score([BROKEN.id, SUM.id], [RIGHT, RIGHT], [9, 9], [False, False])
    assert scores.parts == {"accuracy": [None, 1.0], "format": [None, 1.0]}
    assert scores.undecided == 1


def test_prefill_counts_and_the_next_turn_does_not() -> None:
    scoring = Scoring(
        parts_of(accuracy={}, format={}), [SUM], prefills={SUM.id: "<think>\n"}, stop=["\n***"]
    )
    text = RIGHT.removeprefix("<think>\n") + "\n***\n\\boxed{9}"
    scores = scoring.score([SUM.id], [text], [9], [False])
    assert scores.parts == {"accuracy": [1.0], "format": [1.0]}
    assert scores.frame["text"][0] == RIGHT


def test_parts_that_apply_to_no_question_are_found() -> None:
    scoring = Scoring(parts_of(accuracy={}, format={}, language={}), [TALK])
    assert find_inapplicable_parts(scoring, [TALK]) == ["accuracy"]
    assert find_inapplicable_parts(Scoring(scoring.rewards, [TALK, SUM]), [TALK, SUM]) == []


def test_a_part_for_few_questions_is_tried_on_these() -> None:
    prompts = [asked("chat", n=n) for n in range(500)]
    prompts.insert(77, SUM)
    scoring = Scoring(parts_of(accuracy={"prompts": "verified"}), prompts)
    assert find_inapplicable_parts(scoring, prompts) == []


def test_a_model_for_no_question_is_found_without_the_model() -> None:
    parts = parts_of(format={}, harmless={"kind": "model", "model": "none", "sources": ["ham"]})
    assert find_inapplicable_parts(Scoring(parts, [TALK]), [TALK]) == ["harmless"]


def test_questions_that_no_part_is_for_are_refused() -> None:
    parts = parts_of(accuracy={"prompts": "verified"}, format={"sources": ["chat"]})
    prompts = [SUM, asked("chat"), asked("harm")]
    with pytest.raises(RecipeError, match=r"no part applies to 1 of 3 questions.* source harm"):
        refuse_inapplicable_parts(Scoring(parts, prompts), prompts)


def test_the_most_a_completion_can_earn() -> None:
    assert Scoring(parts_of(accuracy={"weight": 2}, format={}), [SUM]).best == 3
    assert Scoring(parts_of(format={}, help={"kind": "model", "model": "m"}), [SUM]).best is None


@given(
    st.lists(st.tuples(*[st.none() | st.floats(-9, 9)] * 2), min_size=1, max_size=9),
    st.floats(-3, 3),
)
def test_totals_are_weighted_sums_of_what_applies(
    rows: list[tuple[float | None, float | None]], weight: float
) -> None:
    parts = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}
    frame = Scoring({"format": FormatReward()}, [SUM]).score([], [], [], []).frame
    for row, total in zip(rows, Scores(parts, 0, frame).totals({"a": weight, "b": 1}), strict=True):
        if row == (None, None):
            assert total is None
        else:
            assert total == pytest.approx((row[0] or 0) * weight + (row[1] or 0))


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_text_makes_a_reward_raise(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    scoring = Scoring(parts_of(accuracy={}, format={}, language={}), [SUM])
    n = len(texts)
    scores = scoring.score([SUM.id] * n, texts, [1] * n, [True] * n)
    assert all(len(values) == n for values in scores.parts.values())


def test_one_pass_per_batch_serves_every_part() -> None:
    rewarder = Rewarder(Scoring(parts_of(accuracy={}, format={}), [SUM]), max_tokens=3)
    logged: dict[str, float] = {}
    batch = {
        "completions": [RIGHT, WRONG],
        "completion_ids": [[1, 2], [1, 2, 3]],
        "prompt_id": [SUM.id, SUM.id],
        "log_metric": logged.__setitem__,
        "prompts": ["", ""],
        "trainer_state": None,
    }
    accuracy, form = rewarder.functions()
    assert (accuracy.__name__, form.__name__) == ("accuracy", "format")
    assert accuracy(**batch) == [1.0, 0.0]
    first = rewarder.last
    assert form(**batch) == [1.0, 1.0]
    assert rewarder.last is first
    assert (logged["cut"], logged["undecided"], logged["reflection"]) == (0.5, 0, 0)
    accuracy(**{**batch, "completions": [WRONG, WRONG]})
    assert rewarder.last is not first


def test_a_reward_server_that_is_gone_ends_the_training() -> None:
    part = ServerScore(base_url="http://127.0.0.1:9", model="m", attempts=1)
    with pytest.raises(EngineError, match="does not answer"):
        score(part, RIGHT)
