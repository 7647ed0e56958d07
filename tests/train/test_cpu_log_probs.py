"""The policy loss computed here without a GPU equals TRL's, including its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.train.policy import batch, policy_trainer

pytestmark = pytest.mark.real(group="torch")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return policy_trainer(tmp_path_factory.mktemp("policy"))


LossAndGradients = tuple[float, float, list[torch.Tensor]]


def loss_of(trainer: Any, inputs: dict[str, Any]) -> LossAndGradients:
    """Return the loss, the logged entropy and every gradient."""
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    grads = [parameter.grad.clone() for parameter in trainer.model.parameters()]
    return loss.item(), trainer._metrics["train"]["entropy"][-1], grads


def assert_same(ours: LossAndGradients, theirs: LossAndGradients, entropy: float = 1e-5) -> None:
    """`entropy` is the relative tolerance of the logged entropy: one completion may represent
    several."""
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5, abs=1e-7)
    assert ours[1] == pytest.approx(theirs[1], rel=entropy)
    for mine, its in zip(ours[2], theirs[2], strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


CASES = {
    "all learn": [1.0, -1.0, 0.5, 0.3, -0.5, 2.0, 0.1, -1.5],
    "a group without signal": [0.0, -1.0, 0.0, 0.3, 0.0, 2.0, 0.0, -1.5],
    "nothing to learn": [0.0] * 8,
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("case", "changes"),
    [
        *((case, {"beta": beta}) for case in CASES for beta in (0.0, 0.1)),
        ("a group without signal", {"loss_type": "dr_grpo"}),
        ("a group without signal", {"loss_type": "dapo"}),
    ],
)
def test_the_loss_is_trl_s(
    trainer: Any, case: str, changes: dict[str, Any], old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(trainer, name, value)
    inputs = batch(CASES[case])
    if old:
        inputs["old_per_token_logps"] = inputs["ref_per_token_logps"] - 4.0
    ours = loss_of(trainer, inputs)
    monkeypatch.setattr(trainer, "_is_supported", lambda model: False)
    assert_same(ours, loss_of(trainer, inputs), entropy=1e-5 if trainer.beta else 0.02)


def test_long_completions_do_not_share_a_row(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.train.policy import cpu_log_probs

    shared = loss_of(trainer, batch(CASES["all learn"]))
    monkeypatch.setattr(cpu_log_probs, "MAX_ROW_TOKENS", 1)
    assert_same(loss_of(trainer, batch(CASES["all learn"])), shared)


def test_an_untested_architecture_is_left_to_trl(trainer: Any) -> None:
    assert trainer._is_supported(trainer.model)
    trainer.model.config.model_type = "mamba"
    try:
        assert not trainer._is_supported(trainer.model)
    finally:
        trainer.model.config.model_type = "llama"


def test_tokens_in_chunks_at_a_temperature(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.train import cpu_loss

    monkeypatch.setattr(cpu_loss, "CHUNK", 3)
    head = trainer.model.get_output_embeddings()
    hidden, targets = torch.randn(7, head.in_features), torch.arange(7)
    nll, entropy = cpu_loss.score_tokens(head, hidden, targets, temperature=0.5, entropy=True)
    drawn_of = torch.distributions.Categorical(logits=head(hidden) / 0.5)
    torch.testing.assert_close(nll, -drawn_of.log_prob(targets))
    torch.testing.assert_close(entropy, drawn_of.entropy())
