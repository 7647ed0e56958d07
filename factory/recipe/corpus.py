"""The recipe's `judging`, `select` and `corpus` sections: where samples are measured, which of them
become rows, and in what format."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.core.think import THINK_CLOSE, THINK_OPEN

Pick = Literal["first", "shortest", "longest", "random", "diverse", "best"]


THINK_TAGS = {
    "think": (f"{THINK_OPEN}\n", f"\n{THINK_CLOSE}\n\n"),  # `factory.core.think.join_think`
    "special_token": ("|special_token|", "|special_token|"),
}
"""The two formats in R1's reports (v1 §2.3.1 for the second)."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Select(_Options):
    """Selection of the kept samples that become rows, per prompt and in a fixed order."""

    per_prompt: int | None = Field(None, ge=1, description="Maximum number of rows per prompt.")
    pick: Pick = Field(
        "first",
        description="Which of a prompt's kept samples come first. `shortest` and `longest` sort by "
        "tokens. `diverse` selects the first, then always the one least similar to those selected "
        "(word 5-grams). `best` sorts by `score`.",
    )
    score: str | None = Field(
        None,
        description="Metric for the corpus column `score` and for `pick: best`, highest first: any "
        "numeric metric of a filter, such as `repetition_tail_ratio`. An assembly uses the column "
        "`score` of its runs.",
    )
    pass_rate: tuple[float, float] = Field(
        (0.0, 1.0), description="Use only prompts with a pass rate in this closed interval."
    )
    drop_exact_duplicates: bool = Field(
        True, description="Keep only the first of a prompt's samples with the same text."
    )

    @field_validator("pass_rate")
    @classmethod
    def _band(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] <= band[1] <= 1:
            raise ValueError("must be [low, high] with 0 <= low <= high <= 1")
        return band


class Corpus(_Options):
    """Format of the written rows."""

    min_rows: int = Field(
        1,
        ge=0,
        description="Fewest rows of a usable corpus. A build that writes fewer fails with exit "
        "code 9 and says why; its samples stay. 0: a corpus may be empty.",
    )
    shard_rows: int = Field(50_000, ge=1, description="Maximum number of rows per Parquet shard.")
    shard_bytes: int | None = Field(
        None,
        ge=1 << 16,
        description="Maximum size of a shard's rows in bytes, before compression.",
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="Share of prompts (not rows) in the validation split."
    )
    seed: int = Field(
        0, ge=0, description="Random seed for the shuffle, the split and all random choices."
    )
    think: Literal["think", "special_token"] | tuple[str, str] = Field(
        "think",
        description="Tags around the reasoning in `messages`. `think`: `<think>` and `</think>`, "
        "as in the released models. `special_token`: the format of R1's cold start, "
        "`|special_token|reasoning|special_token|summary`. [before, after]: these two texts. An "
        "assembly that sets it replaces the tags of its runs' rows.",
    )

    @property
    def tags(self) -> tuple[str, str]:
        """The texts before and after the reasoning."""
        return THINK_TAGS[self.think] if isinstance(self.think, str) else self.think


class ReviewOptions(BaseModel):
    """How the corpus uses reviews of the run's samples (`factory review`).

    A rejected sample is dropped. An accepted sample is kept, whatever filters of form decide. An
    accepted edit replaces the model's text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: bool = Field(True, description="Apply the run's reviews, if there are any.")
    overrule_correctness: bool = Field(
        False,
        description="Keep an accepted sample even if the verifier judges its answer wrong. "
        "Otherwise such samples, and edits that break the answer, are dropped and counted.",
    )


class Judging(_Options):
    """Where the filters measure the samples. It never changes a verdict or a row."""

    on: Literal["here", "ray"] = Field(
        "here",
        description="`here`: on the cores of this machine. `ray`: as tasks of a Ray cluster, one "
        "sealed part of the samples each. Filters that ask a model still run here.",
    )
    address: str | None = Field(
        None,
        description="`ray` only: `auto`, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, or "
        "else a new cluster on this machine.",
    )
    cpus: int = Field(
        1, ge=1, description="`ray` only: CPUs per task. Programs run on as many at once."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        unread = self.model_fields_set & {"address", "cpus"}
        if self.on == "here" and unread:
            raise ValueError(f"{', '.join(sorted(unread))}: these keys need on: ray")
        return self
