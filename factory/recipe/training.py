"""The keys common to all training recipes.

There are three groups of keys. `identity` has the keys that change the weights: a directory trained
with other values is refused. `epochs` and `steps` may grow to continue a training. The others
(`CARRYING`) don't change the result and may change between two starts.
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
from factory.recipe.engines.options import Model
from factory.recipe.parsing import NAME_PATTERN, Strict, explain_validation
from factory.recipe.watching import WATCHING, MetricsPort, NotifyEnv, NotifyUrl, Trackers

Precision = Literal["bf16", "fp32"]
Computing = Literal["auto", "bf16", "fp32"]

CARRYING = frozenset(
    {
        *("name", "micro_batch", "gradient_checkpointing", "checkpoint"),
        *("log_every", "evaluate_every", "min_auc"),
    }
)
"""Keys that don't change the result, except for rounding."""

AMOUNT = ("epochs", "steps")
"""Keys that may grow: the training continues where it ended."""


class Optimizer(Strict):
    """AdamW and its learning rate. The defaults are those of R1's SFT on 800k rows (v2)."""

    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="`cosine` falls to `floor` at the last step."
    )
    floor: float = Field(
        0.1, ge=0, lt=1, description="Final value of the cosine, as a share of `learning_rate`."
    )
    warmup: float = Field(
        0.0, ge=0, description="Steps of linear warm-up; below 1: share of all steps."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")


class Lora(Strict):
    """Train low-rank adapters, which are merged into the resulting model."""

    rank: int = Field(32, ge=1, description="Rank of every adapter.")
    alpha: int = Field(64, ge=1, description="The adapters' scale is alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before every adapter.")
    targets: str | tuple[str, ...] = Field(
        "all-linear", description="Names of the modules with an adapter."
    )


class Checkpoint(Strict):
    """Checkpoints from which a killed training continues."""

    every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="Number of checkpoints to keep, the newest ones.")
    retain: bool = Field(
        False,
        description="Keep checkpoints when the training is done, which is needed to continue it "
        "with more steps.",
    )


class Training(Strict):
    """The keys of every training recipe."""

    kind: str
    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the directory: runs/<name>, unless --run is given.",
    )
    model: Model = Field(
        description="Initial model: `demo`, a Hub id, a folder, or the directory of a finished "
        "training."
    )
    seed: int = Field(
        0, ge=0, description="Random seed for the order of the data and everything else."
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the data.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps, instead of `epochs`.")
    batch: int = Field(128, ge=1, description="Sequences per optimizer step, over all processes.")
    micro_batch: int = Field(1, ge=1, description="Sequences per device and forward pass.")
    max_length: int | None = Field(
        None,
        ge=1,
        description="Maximum tokens per sequence. Default: the model's context, at most 32768.",
    )
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer())
    precision: Computing = Field(
        "auto",
        description="Precision of the computation. `auto`: bf16 if the hardware supports it, which "
        "not every CPU does. Weights and optimizer are always in fp32.",
    )
    output_precision: Precision = Field("bf16", description="Precision of the saved model.")
    gradient_checkpointing: bool = Field(
        True, description="Recompute activations: less memory, 25% slower."
    )
    lora: Lora | None = Field(None, description="Train adapters instead of all weights.")
    checkpoint: Checkpoint = Field(default_factory=lambda: Checkpoint())
    log_every: int = Field(1, ge=1, description="Steps between lines of log.jsonl.")
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="TRL's own keys, checked against the installed TRL and passed on.",
    )
    track: Trackers = ()
    metrics_port: MetricsPort = None
    notify: NotifyUrl = None
    notify_env: NotifyEnv = None

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
        """Validate a document. Raises RecipeError that lists all problems."""
        try:
            recipe = cls.model_validate(document.data)
        except ValidationError as error:
            raise RecipeError(explain_validation(error, (), cls, document)) from None
        recipe._written = document.data
        return recipe

    def to_yaml(self) -> str:
        """Return the recipe as YAML with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    def inputs(self) -> dict[str, Path]:
        """Return the files and folders that a training reads, by the recipe's keys."""
        return {}

    def amount(self) -> dict[str, float]:
        """Return the length of the training: `steps`, or else `epochs`."""
        return {"epochs": self.epochs} if self.steps is None else {"steps": self.steps}

    def identity(self) -> dict[str, Any]:
        """Return everything that changes the weights, except the amount, as flat readable keys.

        Data and local models count by content, not by path.
        """
        inputs = self.inputs()
        dump = self.model_dump(mode="json", exclude={*CARRYING, *WATCHING, *AMOUNT, *inputs})
        flat = dict(_flatten(dump))
        flat |= {key: content_hash(path) for key, path in inputs.items()}
        if Path(self.model.id).expanduser().is_dir():
            flat["model.id"] = content_hash(Path(model_path(self.model.id)))
        return flat

    def fingerprint(self) -> str:
        """Return a hash that changes whenever the resulting model may change."""
        return fingerprint([self.identity(), self.amount()])


def _flatten(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        if isinstance(item, dict):
            found += _flatten(item, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", item))
    return found
