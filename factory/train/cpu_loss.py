"""The SFT loss without a GPU: only tokens under the loss are projected onto the vocabulary.

TRL has a Triton kernel for this. Without Triton, TRL projects every position, prompts included, in
many small tiles; on half-masked rows of a 135M model a step took a third longer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

CHUNK = 1024
"""Tokens whose logits are held at once; the backward pass of longer batches recomputes them."""

_SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)
"""Config keys of architectures that scale or cap the logits of their head."""


class CpuTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's SFT trainer with the same loss, computed faster in one process without a GPU."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if not self._is_supported():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # Accelerate wraps only the model's own `forward` in autocast, which is not called here.
        with self.accelerator.autocast():
            losses = token_losses(model, inputs)
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / max(int(count), 1)
        return (loss, None) if return_outputs else loss

    def _is_supported(self) -> bool:
        """Return True for the plain loss over unscaled logits; TRL computes any other loss."""
        config = self.model.config.get_text_config()
        return (
            self.args.loss_type == "nll"
            and self.label_smoother is None
            and not self.aux_loss_enabled
            and all(getattr(config, scale, None) in (None, 1) for scale in _SCALES)
        )


def token_losses(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the losses of all tokens under the loss, over the whole batch, shape [tokens]."""
    given = {key: value for key, value in inputs.items() if key != "labels"}
    causal = unwrap_adapters(model)
    labels = inputs["labels"][:, 1:]
    trained = labels != -100
    hidden = causal.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
    losses, _ = score_tokens(causal.get_output_embeddings(), hidden[trained], labels[trained])
    return losses


def unwrap_adapters(model: Any) -> Any:
    """Return the model inside its adapters, or the model itself without adapters."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def score_tokens(
    head: Any,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return each target's negative log probability, and the entropy of its distribution.

    `hidden` [tokens, width] are the states that predict `targets` [tokens]. The entropy has no
    gradient; it is None unless `entropy`.
    """
    parts = list(zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True))
    if len(parts) == 1:
        found = [_score_chunk(head, *parts[0], temperature, entropy)]
    else:
        found = [
            checkpoint(_score_chunk, head, *part, temperature, entropy, use_reentrant=False)
            for part in parts
        ]
    nll, entropies = zip(*found, strict=True)
    return torch.cat(nll), torch.cat(entropies) if entropy else None


def _score_chunk(
    head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float, entropy: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    logits = head(hidden).float()
    if temperature != 1.0:
        logits = logits / temperature
    nll = functional.cross_entropy(logits, targets, reduction="none")
    if not entropy:
        return nll, None
    with torch.no_grad():
        chosen = logits.gather(1, targets[:, None]).squeeze(1)
        # log Z is the sum of the chosen logit and its negative log probability.
        mean = torch.linalg.vecdot(logits.softmax(-1), logits)
        return nll, nll + chosen - mean
