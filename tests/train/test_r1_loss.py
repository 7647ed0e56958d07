"""The loss of a policy against R1's GRPO objective (v1, eq. 1-3), written out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.train.policy.trainer import PolicyTrainer
from tests.train.policy import batch, policy_trainer

pytestmark = pytest.mark.real(group="torch")

ADVANTAGES = [1.0, -1.0, 0.5, 0.3, -0.5, 2.0, 0.1, -1.5]
BETA = 0.1


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return policy_trainer(tmp_path_factory.mktemp("policy"), beta=BETA)


def objective(
    log_policy: torch.Tensor,
    log_old: torch.Tensor,
    log_reference: torch.Tensor,
    advantage: float,
    epsilon: float,
    corrected: bool,
) -> torch.Tensor:
    """Return R1's objective for one output of a group. All arguments have one value per token."""
    ratio = (log_policy - log_old).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    log_quotient = log_reference - log_policy
    divergence = log_quotient.exp() - log_quotient - 1
    if corrected:
        divergence = ratio * divergence
    return (surrogate - BETA * divergence).mean()


def log_probs(model: Any, inputs: dict[str, Any], row: int) -> torch.Tensor:
    """Return the log probability of each completion token, by a pass over that text alone."""
    prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()]
    completion = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()]
    ids = torch.cat([prompt, completion])
    logits = model(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0]


def reference_loss(
    model: Any, inputs: dict[str, Any], epsilon: float, corrected: bool
) -> torch.Tensor:
    """Return minus the mean of the objective over all outputs; an empty output counts as 0."""
    outputs = []
    for row, advantage in enumerate(inputs["advantages"].tolist()):
        length = int(inputs["completion_mask"][row].sum())
        if not length:
            outputs.append(torch.zeros(()))
            continue
        log_policy = log_probs(model, inputs, row)
        log_old = log_policy.detach()
        if "old_per_token_logps" in inputs:
            log_old = inputs["old_per_token_logps"][row, :length]
        log_reference = inputs["ref_per_token_logps"][row, :length]
        outputs.append(objective(log_policy, log_old, log_reference, advantage, epsilon, corrected))
    return -torch.stack(outputs).mean()


def inputs_near(trainer: Any, off_policy: bool) -> dict[str, Any]:
    """Return a batch whose old and reference policies are near the current one."""
    inputs = batch(ADVANTAGES)
    draw = torch.Generator().manual_seed(7)
    current = torch.zeros(inputs["completion_ids"].shape)
    with torch.no_grad():
        for row in range(len(current)):
            found = log_probs(trainer.model, inputs, row)
            current[row, : len(found)] = found
    mask = inputs["completion_mask"]
    inputs["ref_per_token_logps"] = (
        current + 0.5 * torch.randn(current.shape, generator=draw)
    ) * mask
    if off_policy:  # some ratios outside the clip range, on both sides
        inputs["old_per_token_logps"] = (
            current + 0.4 * torch.randn(current.shape, generator=draw)
        ) * mask
    return inputs


def gradients(trainer: Any, loss: torch.Tensor) -> tuple[float, torch.Tensor]:
    trainer.model.zero_grad()
    loss.backward()
    grads = [parameter.grad.flatten() for parameter in trainer.model.parameters()]
    return loss.item(), torch.cat(grads)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("epsilon", [0.2, 10.0])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_loss_is_r1s(
    trainer: Any,
    packed: bool,
    off_policy: bool,
    epsilon: float,
    corrected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not trainer.args.use_bias_correction_kl
    monkeypatch.setattr(trainer.args, "use_bias_correction_kl", corrected)
    monkeypatch.setattr(trainer, "epsilon_low", epsilon)
    monkeypatch.setattr(trainer, "epsilon_high", epsilon)
    monkeypatch.setattr(trainer, "_is_supported", lambda model: packed)
    inputs = inputs_near(trainer, off_policy)
    loss, grads = gradients(trainer, trainer._compute_loss(trainer.model, inputs))
    wanted, exact = gradients(trainer, reference_loss(trainer.model, inputs, epsilon, corrected))
    assert loss == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(grads, exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("off_policy", [False, True])
def test_the_reference_tells_the_two_estimates_apart(trainer: Any, off_policy: bool) -> None:
    """Without this, the test above could not see which of the two is used."""
    inputs = inputs_near(trainer, off_policy)
    inputs["advantages"] = torch.zeros(8)
    plain, corrected = (
        gradients(trainer, reference_loss(trainer.model, inputs, 0.2, correction))[1]
        for correction in (False, True)
    )
    assert (plain - corrected).norm() > 0.05 * plain.norm()


@pytest.mark.parametrize("correction", [False, True])
def test_the_recipe_chooses_the_estimate(correction: bool, tmp_path: Path) -> None:
    made = policy_trainer(tmp_path, kl_bias_correction=correction)
    assert isinstance(made, PolicyTrainer)
    assert made.args.use_bias_correction_kl is correction


def test_advantages_are_relative_to_the_group(trainer: Any) -> None:
    """(r - mean) / std within the group. R1 does not say which standard deviation: it is the
    sample's, with TRL's 1e-4 against a division by zero."""
    rows = [trainer.train_dataset[place] for place in (0, 1) for _ in range(4)]
    scored = trainer._generate_and_score_completions(rows)
    totals = trainer.rewarder.last.totals(trainer.rewarder.scoring.weights)
    for start in (0, 4):
        group = [float(value) for value in totals[start : start + 4]]
        mean = sum(group) / 4
        spread = math.sqrt(sum((value - mean) ** 2 for value in group) / 3)
        wanted = [(value - mean) / (spread + 1e-4) for value in group]
        assert scored["advantages"][start : start + 4].tolist() == pytest.approx(wanted, abs=1e-5)
