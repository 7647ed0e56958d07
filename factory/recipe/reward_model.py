"""The recipe of a reward model.

The defaults are R1's (v2): batch 256, learning rate 6e-6, one epoch, 8,192 tokens. R1's schedule
is not published; the learning rate is constant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from factory.prompts.steps.labels import FOLDER
from factory.recipe.grpo import PolicyOptimizer
from factory.recipe.model_rewards import Reads
from factory.recipe.training import Training
from filters.reasoning_steps import StepRule

STEPWISE = ("labels", "good_above", "step_rule")
"""Keys that only `shape: stepwise` reads."""

STEP_LABELS = Path(FOLDER, "soft.parquet")
"""The labels of steps in a run over prefixes. Soft ones: `good_above` makes hard ones of them."""


class RewardOptimizer(PolicyOptimizer):
    """AdamW with the learning rate of R1's reward models (v2)."""

    learning_rate: float = Field(6e-6, gt=0, description="Peak learning rate.")


class RewardModel(Training):
    """A model that scores answers, for all-scenario RL (R1 §3.2.2, v2).

    `pairwise` learns helpfulness from preference pairs, which `factory.train.preferences` makes
    with a judge. `pointwise` learns safety from answers with labels. `stepwise` learns a process
    reward model, which scores every step of an answer.
    """

    kind: Literal["reward_model"]
    shape: Literal["pairwise", "pointwise", "stepwise"] = Field(
        "pairwise",
        description="`pairwise`: rows of prompt, chosen, rejected. `pointwise`: rows of prompt, "
        "text and label (true: good). `stepwise`: rows of question, steps and labels, a process "
        "reward model.",
    )
    data: Path = Field(
        description="JSON Lines or Parquet: a file, or a folder of files. Or the directory of a "
        "run: `pointwise` learns its verdicts, `stepwise` its labels of steps."
    )
    reads: Reads = Field(
        "text",
        description="The text to score: the whole `text` of an answer, or the `response` after its "
        "reasoning. RL must use the same setting.",
    )
    validation: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Share of questions held out to measure the accuracy, or the AUC of steps.",
    )
    labels: Literal["hard", "soft"] = Field(
        "hard",
        description="`stepwise` only. `hard`: a step is good (1) if its label is above "
        "`good_above`, otherwise bad (0). `soft`: it learns the label itself.",
    )
    good_above: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="`stepwise` only. A step is good if its label is above this. 0: if any "
        "continuation from it is right (Math-Shepherd). Raise it where answers are often guessed.",
    )
    step_rule: StepRule = Field(
        "auto",
        description="`stepwise` only. Rule by which the rows were cut into steps. It is saved with "
        "the model, and answers are cut by it when they are scored.",
    )
    min_auc: float | None = Field(
        0.6,
        gt=0.5,
        lt=1,
        description="`stepwise` only. Least AUC on held-out steps, pooled and within questions: "
        "below it no model is written, and the exit code is 13. null: write it anyway.",
    )
    optimizer: RewardOptimizer = Field(default_factory=lambda: RewardOptimizer())
    batch: int = Field(256, ge=1, description="Pairs (or answers) per optimizer step.")
    max_length: int | None = Field(
        8192,
        ge=16,
        description="Maximum tokens per conversation. Longer rows are left out and counted.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.shape == "stepwise":
            if self.reads != "text":
                raise ValueError("shape: stepwise reads the whole text; leave out reads")
            if not self.validation and self.min_auc is not None:
                raise ValueError(
                    "validation is 0, so no AUC can be measured; hold some questions out, or set "
                    "min_auc: null"
                )
            return self
        own = sorted({*STEPWISE, "min_auc"} & self.model_fields_set)
        if own:
            raise ValueError(f"{', '.join(own)}: only for shape: stepwise, not {self.shape}")
        return self

    def identity(self) -> dict[str, Any]:
        flat = super().identity()
        if self.shape != "stepwise":  # trainings from before there was such a shape stay the same
            flat = {key: value for key, value in flat.items() if key not in STEPWISE}
        return flat

    @property
    def is_run(self) -> bool:
        """Whether `data` is the directory of a run."""
        return (self.data / "run.json").is_file()

    @property
    def rows_path(self) -> Path:
        """The file or folder with the rows: of a run over prefixes, its labels of steps."""
        labels = self.data / STEP_LABELS
        return labels if self.shape == "stepwise" and labels.is_file() else self.data

    def inputs(self) -> dict[str, Path]:
        # Of a run only what is learnt: the rest of its directory may change.
        judged = self.is_run and self.shape == "pointwise" and (self.data / "verdicts").is_dir()
        return {"data": self.data / "verdicts" if judged else self.rows_path}
