"""`kind: sft`: supervised fine-tuning on a corpus's assistant turns, reasoning included."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from factory.recipe.training import Training


class Sft(Training):
    """Fine-tune a model on a corpus: cold start, the 800k mix, distillation."""

    kind: Literal["sft"]
    data: Path = Field(
        description="The corpus: a finished run's or assembly's directory, or a folder of Parquet "
        "files with a column `messages`. Files named validation-* are held out, test-* left alone."
    )
    template: str | None = Field(
        None,
        description="A chat template in place of the tokenizer's own: a Jinja file (begin its path "
        "with ./) or a shipped one (`chatml`, `plain`). The trained model keeps it.",
    )
    eos: str | None = Field(
        None, description="The token that ends an assistant's turn, where not the tokenizer's EOS."
    )
    overlong: Literal["drop", "fail"] = Field(
        "fail",
        description="Rows longer than `max_length`: counted and left out, or refused. Never cut.",
    )
    packing: bool = Field(
        False,
        description="Lay several rows into one sequence of `max_length` tokens; none sees another. "
        "`batch` then counts such sequences.",
    )
    streaming: bool = Field(
        False,
        description="Tokenize while training, for a corpus whose tokens fit neither memory nor "
        "disk. Rows are then shuffled within a buffer only.",
    )
    shuffle_buffer: int = Field(
        10_000, ge=1, description="`streaming` only: rows shuffled together."
    )
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="Steps from one validation loss to the next; it is measured at the end anyway.",
    )
    context: int | None = Field(
        None,
        ge=1,
        description="Raise the model's context (max_position_embeddings) to so many tokens, as "
        "R1's distillations of Qwen2.5-Math did.",
    )
    layers: int | None = Field(
        None,
        ge=2,
        description="Cut the model down to so many of its layers first, evenly spread: a smaller "
        "one to distil into.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.streaming and self.packing and self.steps is None:
            raise ValueError("streaming with packing needs steps: nobody can know its epochs")
        if self.context and self.max_length and self.max_length > self.context:
            raise ValueError("max_length is more than context; raise that too")
        return self

    def inputs(self) -> dict[str, Path]:
        corpus = self.data / "corpus"
        return {"data": corpus if corpus.is_dir() else self.data}
