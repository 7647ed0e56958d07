"""GRPO recipes: refused combinations, identity, TRL's arguments and R1's numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.core.resources import recipe_path
from factory.recipe.document import Document
from factory.recipe.grpo import Grpo
from factory.recipe.model_rewards import ServerScore
from factory.train.policy import rollouts
from factory.train.policy.grpo import order_in_stages
from factory.train.policy.rollouts import build_rollout_arguments, check_rollouts
from factory.train.scoring import Scoring
from factory.train.train import load_training
from tests.train.policy import RECIPE

MODEL = {"model": "demo"}


def parsed(**changes: Any) -> Grpo:
    return Grpo.parse(Document({**RECIPE, **MODEL, **changes}))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"batch": 10}, "multiple of samples"),
    ({"samples": 1}, "at least 2"),
    ({"beta": 0, "reference_every": 400}, "beta above 0"),
    ({"lora": True, "reference_every": 400}, "no lora"),
    ({"rollouts": {"kind": "server"}}, "url go together"),
    ({"rollouts": {"kind": "none"}, "prompting": {"template": "r1_zero"}}, "stop strings"),
    ({"steps": None, "unverified_from": 3}, "needs steps"),
    (
        {"steps": 40, "unverified_from": 18, "rollouts": {"kind": "none", "batches": 16}},
        "step 17 or 33",
    ),
    (
        {"steps": 40, "unverified_from": 17, "rollouts": {"batches": 8}, "iterations": 3},
        "step 1 or 25",
    ),
    ({"prompting": {"cot": {"rule": "judge", "judge": "engine"}}}, "a judge can't ensure"),
    ({"loss": "ppo"}, "'grpo', 'dr_grpo' or 'dapo'"),
    ({"sources": [{"kind": "gmy"}]}, "did you mean gym"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_impossible_combinations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parsed(**changes)


SAME: list[dict[str, Any]] = [
    {"log_samples": 9},
    {"rollouts": {"kind": "none", "max_tokens": 16}},  # R1-Zero's limit was raised during training
    {"max_length": 400},
    {"stop": {"no_signal": 3}},
    {"micro_batch": 4},
]
OTHER: list[dict[str, Any]] = [
    {"rollouts": {"kind": "none", "max_tokens": 8, "temperature": 0.7}},
    {"rewards": {"accuracy": {"weight": 2}}},
    {"prompting": {"template": "chat", "instruction": "boxed"}},
    {"sources": [{**RECIPE["sources"][0], "seed": 7}]},
    {"epsilon": 10},
    {"samples": 2},
]


@pytest.mark.parametrize("changes", SAME)
def test_settings_that_keep_the_identity(changes: dict[str, Any]) -> None:
    assert parsed(**changes).identity() == parsed().identity()


@pytest.mark.parametrize("changes", OTHER)
def test_settings_that_change_the_identity(changes: dict[str, Any]) -> None:
    assert parsed(**changes).identity() != parsed().identity()


def test_r1s_recipes_have_the_published_numbers() -> None:
    """FACTS: arXiv 2501.12948v2, supplement."""
    zero, reasoning, everything = (
        load_training(recipe_path(f"r1/{name}.yaml"))
        for name in ("zero", "reasoning_rl", "all_scenario_rl")
    )
    for recipe in (zero, reasoning, everything):
        assert isinstance(recipe, Grpo)
        assert recipe.optimizer.learning_rate == 3e-6
        assert (recipe.beta, recipe.reference_every, recipe.iterations) == (0.001, 400, 1)
        assert (recipe.samples, recipe.batch) == (16, 512)
        assert recipe.batch * recipe.rollouts.batches == 8192
        assert recipe.rollouts.max_tokens == 32768
    assert isinstance(zero, Grpo)
    assert isinstance(reasoning, Grpo)
    assert isinstance(everything, Grpo)
    assert zero.steps == 10_400
    assert set(zero.rewards) == {"accuracy", "format"}
    assert len({part.weight for part in zero.rewards.values()}) == 1
    assert set(reasoning.rewards) == {"accuracy", "format", "language"}
    assert (reasoning.epsilon, everything.epsilon) == (10, 10)
    assert (zero.rollouts.temperature, everything.rollouts.temperature) == (1, 0.7)
    assert (everything.steps, everything.unverified_from) == (1700, 1297)
    helpful, harmless = everything.rewards["helpful"], everything.rewards["harmless"]
    assert isinstance(helpful, ServerScore)
    assert isinstance(harmless, ServerScore)
    assert (helpful.reads, harmless.reads) == ("response", "text")


def test_qwen_32b_zero_differs_as_published() -> None:
    """FACTS: learning rate 2e-6, more than 10,000 steps, the rest as R1-Zero."""
    small, zero = (
        load_training(recipe_path(f"r1/{name}.yaml")) for name in ("zero_qwen_32b", "zero")
    )
    assert small.model.id == "Qwen/Qwen2.5-32B"
    assert small.steps == 10_000
    ours, theirs = small.identity(), zero.identity()
    differ = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differ == {"model.id", "optimizer.learning_rate"}
    assert small.optimizer.learning_rate == 2e-6


@pytest.mark.parametrize("name", ["zero", "reasoning_rl", "all_scenario_rl"])
def test_r1s_questions_are_chinese_or_english(name: str) -> None:
    recipe = load_training(recipe_path(f"r1/{name}.yaml"))
    assert isinstance(recipe, Grpo)
    assert {source.language for source in recipe.sources} >= {"en", "zh"}


INDEPENDENT: list[tuple[str, float, float]] = [
    ("<think>Three and four.</think> <answer>\\boxed{7}</answer>", 1, 1),
    ("<think>Three and four.</think> <answer>\\boxed{8}</answer>", 0, 1),
    ("Three and four make \\boxed{7}.", 1, 0),
    ("Three and four make \\boxed{8}.", 0, 0),
    ("<think>Three and four make \\boxed{7}", 0, 0),  # it never ended its reasoning
    ("<think>Or \\boxed{7}.</think> <answer>\\boxed{8}</answer>", 0, 1),
]


@pytest.mark.parametrize(("text", "accuracy", "form"), INDEPENDENT)
def test_accuracy_and_format_are_independent(text: str, accuracy: float, form: float) -> None:
    recipe = load_training(recipe_path("r1/zero.yaml"))
    assert isinstance(recipe, Grpo)
    question = Message(role="user", content="What is 3 + 4?")
    prompt = Prompt("t", "math", (question,), {"kind": "math", "answer": "7"}, language="en")
    scores = Scoring(recipe.rewards, [prompt]).score([prompt.id], [text], [9], [False])
    assert scores.parts == {"accuracy": [accuracy], "format": [form]}


@pytest.mark.parametrize(
    ("correction", "corrects", "mode"),
    [
        ("token", True, "token_truncate"),
        ("sequence", True, "sequence_mask"),
        ("none", False, "token_truncate"),
    ],
)
def test_a_correction_by_trl_s_names(correction: str, corrects: bool, mode: str) -> None:
    found = build_rollout_arguments(parsed(rollouts={"correction": correction}))
    assert found["vllm_importance_sampling_correction"] is corrects
    assert found["vllm_importance_sampling_mode"] == mode


def test_stop_strings_reach_the_engine() -> None:
    recipe = parsed(rollouts={}, prompting={"template": "r1_zero"})
    assert build_rollout_arguments(recipe)["generation_kwargs"] == {
        "stop": ["\nUser:", "</answer>"]
    }
    assert build_rollout_arguments(parsed(rollouts={}))["generation_kwargs"] is None


def test_a_server_without_gpus_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "has_gpu", lambda: False)
    recipe = parsed(rollouts={"kind": "server", "url": "http://127.0.0.1:8000"})
    with pytest.raises(RecipeError, match="NCCL"):
        check_rollouts(recipe)


@given(
    st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda rows: len(set(rows)) == 2),
    st.integers(1, 40),
    st.integers(0, 12),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_stages_take_every_question_in_turn(
    verified: list[bool], steps: int, reasoning_rollouts: int, batches: int, iterations: int
) -> None:
    span = batches * iterations  # steps that a rollout serves
    recipe = parsed(
        steps=steps,
        unverified_from=reasoning_rollouts * span + 1,
        rollouts={"kind": "none", "batches": batches},
        iterations=iterations,
    )
    rows = list(range(len(verified)))
    ordered = order_in_stages(recipe, rows, verified)
    each = recipe.batch // recipe.samples * batches  # questions of a rollout
    assert len(ordered) == each * -(-steps // span)
    first = ordered[: reasoning_rollouts * each]
    assert all(verified[row] for row in first)
    counts = Counter(first)
    if len(first) >= sum(verified):
        assert max(counts.values()) - min(counts.values()) <= 1
    rest = ordered[len(first) :]
    if len(rest) >= len(rows):
        assert set(rest) == set(rows)
    assert ordered == order_in_stages(recipe, rows, verified)


@pytest.mark.parametrize("name", ["zero", "reasoning_rl", "all_scenario_rl"])
def test_toy_recipes_fit_a_small_machine(name: str) -> None:
    recipe = load_training(recipe_path(f"r1/mini/{name}.yaml"))
    assert isinstance(recipe, Grpo)
    assert recipe.steps is not None
    assert recipe.batch * recipe.rollouts.max_tokens * recipe.steps < 50_000, "generated tokens"
    assert Path(recipe.model.id).name.startswith(("demo", "r1-mini"))


def test_newer_keys_are_not_part_of_the_identity_until_they_are_used() -> None:
    """So that trainings from before there were these keys go on."""
    keys = parsed().identity().keys()
    assert not [key for key in keys if "consensus" in key or "episode" in key or "async" in key]
    assert parsed(episode={"step_s": 9, "concurrency": 8}).identity() == parsed().identity()
    assert parsed(episode={"max_turns": 3}).identity()["episode"] == {"max_turns": 3}
    voted = parsed(rewards={"accuracy": {"consensus": True}}).identity()
    assert voted["rewards.accuracy.consensus"] is True
