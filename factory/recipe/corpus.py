"""The recipe's `select` and `corpus` sections: which kept samples become rows, and how they lie."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from factory.core.think import THINK_CLOSE, THINK_OPEN

Pick = Literal["first", "shortest", "longest", "random", "diverse", "best"]


THINK_TAGS = {
    "think": (f"{THINK_OPEN}\n", f"\n{THINK_CLOSE}\n\n"),  # `factory.core.think.join_think`
    "special_token": ("|special_token|", "|special_token|"),
}
"""The two forms that R1's reports show (v1 §2.3.1 for the second)."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Select(_Options):
    """Which kept samples become rows: decided a prompt at a time, never by arrival."""

    per_prompt: int | None = Field(None, ge=1, description="Rows a prompt, at most.")
    pick: Pick = Field(
        "first",
        description="Which of a prompt's kept samples come first. `shortest` and `longest` go by "
        "tokens; `diverse` takes the first and then always the one least like those taken "
        "(word 5-grams); `best` goes by `score`.",
    )
    score: str | None = Field(
        None,
        description="The metric that becomes the corpus's `score` and that `pick: best` goes by, "
        "highest first: any numeric metric of a filter, such as `repetition_tail_ratio`. An "
        "assembly goes by the column `score` of its runs.",
    )
    pass_rate: tuple[float, float] = Field(
        (0.0, 1.0), description="Prompts whose pass rate lies in this closed band."
    )
    drop_exact_duplicates: bool = Field(
        True, description="Of samples of one prompt with the same text, keep the first."
    )

    @field_validator("pass_rate")
    @classmethod
    def _band(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] <= band[1] <= 1:
            raise ValueError("must be [low, high] with 0 <= low <= high <= 1")
        return band


class Corpus(_Options):
    """How the rows are written."""

    shard_rows: int = Field(50_000, ge=1, description="Rows a Parquet shard.")
    shard_bytes: int | None = Field(
        None,
        ge=1 << 16,
        description="A shard also ends where its rows reach so many bytes, before compression.",
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="Share of prompts (not rows) in the validation split."
    )
    seed: int = Field(0, ge=0, description="Of the shuffle, the split and every random choice.")
    think: Literal["think", "special_token"] | tuple[str, str] = Field(
        "think",
        description="What stands around the reasoning in `messages`: `think`, the released models' "
        "`<think>` and `</think>`; `special_token`, the form of R1's cold start, "
        "`|special_token|reasoning|special_token|summary`; or [before, after], as they are. "
        "An assembly that sets it writes its runs' rows anew.",
    )

    @property
    def tags(self) -> tuple[str, str]:
        """The texts before and after the reasoning."""
        return THINK_TAGS[self.think] if isinstance(self.think, str) else self.think


class ReviewOptions(BaseModel):
    """What reviewers said of the run's samples (`factory review`), and how far the corpus goes by
    it. A rejected sample leaves; an accepted one stays whatever a filter says of its form; an edit
    that was accepted takes the place of what the model wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: bool = Field(True, description="Go by the run's reviews, where it has any.")
    overrule_correctness: bool = Field(
        False,
        description="Keep what a reviewer accepted even where the verifier calls its answer wrong. "
        "Otherwise such samples, and edits that break the answer, are left out and counted.",
    )
