"""Rewards computed while the policy is updated: order, staleness, importance weights, results."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.recipe.grpo import Grpo
from factory.train.policy.ahead import Lookahead, Rollout
from factory.train.train import load_training, train
from tests.train.policy import RECIPE, log_of, write_policy

QUIET = Console(file=io.StringIO())
ROLLOUTS = {**RECIPE["rollouts"], "asynchronous": True}


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(0, 6))
def test_looking_ahead_changes_no_order(batches: list[int], step: int, ahead: int) -> None:
    reader, source = Lookahead(ahead), iter(batches)
    read: list[int] = []
    while True:
        taken = [batch for _, batch in zip(range(step), reader.read(source, step), strict=False)]
        following = batches[len(read) + len(taken) : len(read) + len(taken) + ahead]
        assert [reader.peek(place) for place in range(len(following))] == following
        read += taken
        if len(taken) < step:
            break
    assert read == batches


def test_a_new_epoch_starts_afresh() -> None:
    reader = Lookahead(2)
    assert next(reader.read(iter([1, 2, 3]), 1)) == 1
    assert list(reader.read(iter([7]), 1)) == [7]


def test_a_rollout_is_generated_once() -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(len(calls))
        return calls[-1]

    rollout = Rollout([])
    first = [rollout.once(compute), rollout.once(compute)]
    rollout.rewind()
    assert [rollout.once(compute), rollout.once(compute)] == first == [0, 1]
    assert rollout.once(compute) == 2, "beyond what was generated"


def test_a_training_from_before_there_was_the_key_goes_on(tmp_path: Path) -> None:
    recipe = load_training(write_policy(tmp_path))
    assert "rollouts.asynchronous" not in recipe.identity()
    changed = load_training(write_policy(tmp_path, rollouts=ROLLOUTS))
    assert changed.identity()["rollouts.asynchronous"] is True


@pytest.mark.real(group="torch")
def test_each_rollout_is_used_once_and_one_update_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.train.policy.trainer import PolicyTrainer
    from factory.train.scoring import Rewarder

    events: list[tuple[str, Any]] = []
    ratios: list[float] = []
    generate, compute = PolicyTrainer._generate_single_turn, Rewarder.compute
    loss = PolicyTrainer._compute_loss

    def noted_generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        events.append(("generate", self.state.global_step))
        return generate(self, *args, **kwargs)

    def slow_compute(
        self: Any, completions: Any, completion_ids: Any, prompt_id: Sequence[str]
    ) -> Any:
        events.append(("reward", tuple(prompt_id)))
        time.sleep(0.05)
        return compute(self, completions, completion_ids, prompt_id)

    def noted_loss(self: Any, model: Any, inputs: dict[str, Any]) -> Any:
        events.append(("update", self.state.global_step))
        old = inputs["old_per_token_logps"]
        assert old is not None, "importance weights need the sampling policy's probabilities"
        now, _, _ = self._get_per_token_logps_and_entropies(
            model,
            *_joined(inputs),
            inputs["completion_ids"].size(1),
        )
        mask = inputs["completion_mask"].bool()
        ratios.append(float((now - old)[mask].detach().abs().max()))
        return loss(self, model, inputs)

    monkeypatch.setattr(PolicyTrainer, "_generate_single_turn", noted_generate)
    monkeypatch.setattr(Rewarder, "compute", slow_compute)
    monkeypatch.setattr(PolicyTrainer, "_compute_loss", noted_loss)
    recipe = load_training(write_policy(tmp_path, rollouts=ROLLOUTS, steps=4, beta=0.01))
    assert isinstance(recipe, Grpo)
    train(recipe, tmp_path / "run", QUIET)
    turns = [(kind, what) for kind, what in events if kind != "reward"]
    assert turns == [
        ("generate", 0),
        ("generate", 0),  # the second rollout, before the first update
        ("update", 0),
        ("generate", 1),
        ("update", 1),
        ("generate", 2),
        ("update", 2),
        ("update", 3),  # nothing is generated that no step would use
    ]
    assert ratios[0] == pytest.approx(0, abs=1e-4), "the first rollout is of this policy"
    assert min(ratios[1:]) > 1e-3, "the others are of the policy one update before"
    rewarded = [what for kind, what in events if kind == "reward"]
    assert len(rewarded) == 4
    rows = log_of(tmp_path / "run")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert all(row["reward"] is not None for row in rows if "loss" in row)


def _joined(inputs: dict[str, Any]) -> tuple[Any, Any]:
    import torch

    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    return ids, torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)


@pytest.mark.real(group="torch")
def test_a_failing_reward_ends_the_training_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.core.errors import TrainError
    from factory.train.scoring import Rewarder

    def fail(self: Any, *args: Any) -> Any:
        raise TrainError("the reward is broken")

    monkeypatch.setattr(Rewarder, "compute", fail)
    recipe = load_training(write_policy(tmp_path, rollouts=ROLLOUTS, steps=2))
    with pytest.raises(TrainError, match="the reward is broken"):
        train(recipe, tmp_path / "run", QUIET)


@pytest.mark.real(group="torch")
def test_rollouts_of_several_steps_and_resumes(tmp_path: Path) -> None:
    rollouts = {**ROLLOUTS, "batches": 2}
    checkpoint = {"every": 2, "retain": True}
    file = write_policy(tmp_path, rollouts=rollouts, steps=4, checkpoint=checkpoint)
    train(load_training(file), tmp_path / "run", QUIET)
    file = write_policy(tmp_path, rollouts=rollouts, steps=6, checkpoint=checkpoint)
    train(load_training(file), tmp_path / "run", QUIET)
    steps = [row["step"] for row in log_of(tmp_path / "run") if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
