"""SFT's loss where there is no GPU: only the tokens under the loss meet the vocabulary.

TRL's own does so by a Triton kernel; without one it projects every position, prompts included, and
folds the tiles in many passes. On half-masked rows of a 135M model that took a third longer a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

CHUNK = 1024
"""Tokens whose logits are held at once; longer batches compute them again on the way back."""

_SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)
"""What some architectures do to the output of their head, by the names in their configs."""


class CpuTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with the same loss, for one process without a GPU."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if not self._fits():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # Accelerate wraps the model's forward in it, which is not what is called here.
        with self.accelerator.autocast():
            losses = token_losses(model, inputs)
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / max(int(count), 1)
        return (loss, None) if return_outputs else loss

    def _fits(self) -> bool:
        """Whether the loss is the plain one, of the head's own output; another is left to TRL."""
        config = self.model.config.get_text_config()
        return (
            self.args.loss_type == "nll"
            and self.label_smoother is None
            and not self.aux_loss_enabled
            and all(getattr(config, scale, None) in (None, 1) for scale in _SCALES)
        )


def token_losses(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The loss of every token that is learnt, the batch's one after the other."""
    given = {key: value for key, value in inputs.items() if key != "labels"}
    causal = causal_lm(model)
    labels = inputs["labels"][:, 1:]
    learnt = labels != -100
    hidden = causal.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
    losses, _ = next_tokens(causal.get_output_embeddings(), hidden[learnt], labels[learnt])
    return losses


def causal_lm(model: Any) -> Any:
    """The model inside its adapters, where it has some."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def next_tokens(
    head: Any,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Each target's negative log probability and, without a gradient, the entropy it is drawn of.

    `hidden` are the states that predict `targets`.
    """
    parts = list(zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True))
    if len(parts) == 1:
        found = [_next_tokens(head, *parts[0], temperature, entropy)]
    else:
        found = [
            checkpoint(_next_tokens, head, *part, temperature, entropy, use_reentrant=False)
            for part in parts
        ]
    nll, entropies = zip(*found, strict=True)
    return torch.cat(nll), torch.cat(entropies) if entropy else None


def _next_tokens(
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
        # log Z is the chosen logit and its negative log probability together.
        mean = torch.linalg.vecdot(logits.softmax(-1), logits)
        return nll, nll + chosen - mean
