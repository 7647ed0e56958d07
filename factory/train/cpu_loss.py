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


class CpuTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with the same loss, for one process without a GPU."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        given = {key: value for key, value in inputs.items() if key != "labels"}
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        hidden = causal.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
        labels = inputs["labels"][:, 1:]
        learnt = labels != -100
        hidden, labels = hidden[learnt], labels[learnt]
        pairs = list(zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True))
        head = causal.get_output_embeddings()
        if len(pairs) == 1:
            total = _nll(head, *pairs[0])
        else:
            losses = [checkpoint(_nll, head, *pair, use_reentrant=False) for pair in pairs]
            total = torch.stack(losses).sum()
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        loss = total / max(int(count), 1)
        return (loss, None) if return_outputs else loss


def _nll(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(head(hidden).float(), labels, reduction="sum")
