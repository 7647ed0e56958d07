"""`kind: sft`: supervised fine-tuning on a corpus's assistant turns, reasoning included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from factory.recipe.training import Training

LENGTH = "max_position_embeddings"
"""The key of a model's config that is its context in tokens."""


class Sft(Training):
    """Fine-tune a model on a corpus: cold start, the 800k mix, distillation."""

    kind: Literal["sft"]
    data: Path = Field(
        description="The corpus: directory of a finished run or assembly, or folder of Parquet "
        "files with a column `messages`. Files named validation-* are held out, test-* ignored."
    )
    from_config: dict[str, Any] | None = Field(
        None,
        description="Pre-train a fresh model: of `model` only the architecture (config.json) and "
        "the tokenizer are read, and the weights are drawn at random with `seed`. The keys given "
        "here replace those of its config, such as `{num_hidden_layers: 4}`; `{}` keeps them all.",
    )
    template: str | None = Field(
        None,
        description="Chat template to use instead of the tokenizer's: a Jinja file (with a path "
        "that starts with ./) or a shipped one (`chatml`, `chatml_tools`, `plain`). The trained "
        "model keeps it.",
    )
    eos: str | None = Field(
        None, description="Token that ends an assistant's turn. Default: the tokenizer's EOS."
    )
    overlong: Literal["drop", "fail"] = Field(
        "fail",
        description="Rows longer than `max_length`: left out and counted, or refused. Never cut.",
    )
    packing: bool = Field(
        False,
        description="Pack several rows into one sequence of `max_length` tokens, without attention "
        "between rows. `batch` then counts such sequences.",
    )
    streaming: bool = Field(
        False,
        description="Tokenize during training, for a corpus whose tokens don't fit in memory or on "
        "disk. Rows are shuffled within a buffer only.",
    )
    shuffle_buffer: int = Field(
        10_000, ge=1, description="`streaming` only: number of rows in the shuffle buffer."
    )
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between validation losses. The loss at the end is always measured.",
    )
    context: int | None = Field(
        None,
        ge=1,
        description="Raise the model's context (max_position_embeddings) to this number of tokens, "
        "as in R1's distillation of Qwen2.5-Math.",
    )
    layers: int | None = Field(
        None,
        ge=2,
        description="Reduce the model to this number of evenly spaced layers first, as a smaller "
        "student for distillation.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.streaming and self.packing and self.steps is None:
            raise ValueError(
                "streaming with packing needs steps: the length of an epoch is unknown"
            )
        if self.context and self.max_length and self.max_length > self.context:
            raise ValueError("max_length is larger than context; raise context too")
        if self.from_config is not None:
            self._check_fresh(self.from_config)
        return self

    def _check_fresh(self, config: dict[str, Any]) -> None:
        """Refuse what makes no sense for random weights, or has two keys."""
        if self.lora is not None:
            raise ValueError("from_config draws all weights at random: lora has nothing to adapt")
        for key, instead in (("layers", "num_hidden_layers"), ("context", LENGTH)):
            if getattr(self, key) is not None:
                raise ValueError(f"from_config and {key}: set from_config.{instead} instead")
        length = config.get(LENGTH)
        if self.max_length and isinstance(length, int) and self.max_length > length:
            raise ValueError(f"max_length is larger than from_config.{LENGTH}; raise that too")

    def inputs(self) -> dict[str, Path]:
        corpus = self.data / "corpus"
        return {"data": corpus if corpus.is_dir() else self.data}

    def identity(self) -> dict[str, Any]:
        flat = {
            key: value
            for key, value in super().identity().items()
            if not key.startswith("from_config")
        }
        # As a whole: an empty mapping counts. Absent, it is left out: older trainings lack it.
        return flat if self.from_config is None else flat | {"from_config": self.from_config}
