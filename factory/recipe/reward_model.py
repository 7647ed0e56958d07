"""The recipe of a reward model.

The defaults are R1's (v2): batch 256, learning rate 6e-6, one epoch, 8,192 tokens. R1's schedule
is not published; the learning rate is constant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from factory.recipe.grpo import PolicyOptimizer
from factory.recipe.model_rewards import Reads
from factory.recipe.training import Training


class RewardOptimizer(PolicyOptimizer):
    """AdamW with the learning rate of R1's reward models (v2)."""

    learning_rate: float = Field(6e-6, gt=0, description="Peak learning rate.")


class RewardModel(Training):
    """A model that scores answers, for all-scenario RL (R1 §3.2.2, v2).

    `pairwise` learns helpfulness from preference pairs, which `factory.train.preferences` makes
    with a judge. `pointwise` learns safety from answers with labels.
    """

    kind: Literal["reward_model"]
    shape: Literal["pairwise", "pointwise"] = Field(
        "pairwise",
        description="`pairwise`: rows of prompt, chosen, rejected. `pointwise`: rows of prompt, "
        "text and label (true: good).",
    )
    data: Path = Field(description="JSON Lines or Parquet: a file, or a folder of files.")
    reads: Reads = Field(
        "text",
        description="The text to score: the whole `text` of an answer, or the `response` after its "
        "reasoning. RL must use the same setting.",
    )
    validation: float = Field(
        0.05, ge=0, lt=1, description="Share of questions held out to measure the accuracy."
    )
    optimizer: RewardOptimizer = Field(default_factory=lambda: RewardOptimizer())
    batch: int = Field(256, ge=1, description="Pairs (or answers) per optimizer step.")
    max_length: int | None = Field(
        8192,
        ge=16,
        description="Maximum tokens per conversation. Longer rows are left out and counted.",
    )

    def inputs(self) -> dict[str, Path]:
        return {"data": self.data}
