"""The keys every training recipe has, whatever trainer carries it out.

What a recipe says falls in three parts. `identity` is what changes the weights: a directory that
was trained with another is refused. `epochs` and `steps` may grow, to go on. The rest (`CARRYING`)
says only how the work is carried out, and may change from one start to the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PrivateAttr, ValidationError, field_validator

from factory.core.content_hash import content_hash
from factory.core.errors import RecipeError
from factory.core.models import model_path
from factory.core.nouns import fingerprint
from factory.recipe.document import Document
from factory.recipe.engine import Model
from factory.recipe.parsing import Strict, explain_validation

Precision = Literal["bf16", "fp32"]
Computing = Literal["auto", "bf16", "fp32"]

CARRYING = frozenset(
    {"name", "micro_batch", "gradient_checkpointing", "checkpoint", "log_every", "evaluate_every"}
)
"""Keys that leave the result the same, but for rounding."""

AMOUNT = ("epochs", "steps")
"""Keys that may grow: the training goes on where it was."""


class Optimizer(Strict):
    """AdamW and its learning rate. The defaults are those of R1's SFT on 800k rows (v2)."""

    learning_rate: float = Field(5e-5, gt=0, description="At its highest.")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="`cosine` falls to `floor` by the last step."
    )
    floor: float = Field(
        0.1, ge=0, lt=1, description="Where the cosine ends, as a share of `learning_rate`."
    )
    warmup: float = Field(
        0.0, ge=0, description="Steps of linear warm-up; below 1 a share of all steps."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")


class Lora(Strict):
    """Train low-rank adapters; they are merged into the model that results."""

    rank: int = Field(32, ge=1, description="Rank of every adapter.")
    alpha: int = Field(64, ge=1, description="Their scale is alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before every adapter.")
    targets: str | tuple[str, ...] = Field(
        "all-linear", description="Names of the modules that get one."
    )


class Checkpoint(Strict):
    """What a killed training goes on from."""

    every: int = Field(100, ge=1, description="Steps from one checkpoint to the next.")
    keep: int = Field(2, ge=1, description="How many are kept: the newest.")
    retain: bool = Field(
        False,
        description="Keep them when the training is done; only then can it go on with more steps.",
    )


class Training(Strict):
    """What every training recipe can say."""

    kind: str
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the directory: runs/<name> unless --run says otherwise.",
    )
    model: Model = Field(
        description="Where training starts: `demo`, a Hub id, a folder, or a finished training's "
        "directory."
    )
    seed: int = Field(0, ge=0, description="Of the order of the data, and everything random.")
    epochs: float = Field(1.0, gt=0, description="Passes over the data.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps, in place of `epochs`.")
    batch: int = Field(128, ge=1, description="Sequences an optimizer step, all processes.")
    micro_batch: int = Field(1, ge=1, description="Sequences a device takes at once.")
    max_length: int | None = Field(
        None, ge=1, description="Tokens of a sequence. Default: the model's context, at most 32768."
    )
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer())
    precision: Computing = Field(
        "auto",
        description="What is computed in; `auto` is bf16 wherever the hardware has it, which is "
        "not on every CPU. Weights and optimizer are always held in fp32.",
    )
    output_precision: Precision = Field(
        "bf16", description="What the resulting model is written in."
    )
    gradient_checkpointing: bool = Field(
        True, description="Recompute activations: less memory, a quarter slower."
    )
    lora: Lora | None = Field(None, description="Adapters in place of all weights.")
    checkpoint: Checkpoint = Field(default_factory=lambda: Checkpoint())
    log_every: int = Field(1, ge=1, description="Steps from one line of log.jsonl to the next.")
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="TRL's own keys, passed on and checked against the installed TRL.",
    )

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @field_validator("lora", mode="before")
    @classmethod
    def _lora_by_default(cls, value: Any) -> Any:
        return {} if value is True else None if value is False else value

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Check a document against the schema. Raises RecipeError with every problem."""
        try:
            recipe = cls.model_validate(document.data)
        except ValidationError as error:
            raise RecipeError(explain_validation(error, (), cls, document)) from None
        recipe._written = document.data
        return recipe

    def to_yaml(self) -> str:
        """What was written, with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    def inputs(self) -> dict[str, Path]:
        """The files and folders a training reads, by the recipe's keys."""
        return {}

    def amount(self) -> dict[str, float]:
        """How long it trains: `steps`, or else `epochs`."""
        return {"epochs": self.epochs} if self.steps is None else {"steps": self.steps}

    def identity(self) -> dict[str, Any]:
        """Everything that changes the weights but the amount, as flat readable keys.

        Data and local models count by content, not by where they lie.
        """
        inputs = self.inputs()
        dump = self.model_dump(mode="json", exclude={*CARRYING, *AMOUNT, *inputs})
        flat = dict(_flat(dump))
        flat |= {key: content_hash(path) for key, path in inputs.items()}
        if Path(self.model.id).expanduser().is_dir():
            flat["model.id"] = content_hash(Path(model_path(self.model.id)))
        return flat

    def fingerprint(self) -> str:
        """Changes whenever the resulting model could."""
        return fingerprint([self.identity(), self.amount()])


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        if isinstance(item, dict):
            found += _flat(item, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", item))
    return found
