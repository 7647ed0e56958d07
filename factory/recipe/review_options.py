"""The recipe's `reviews` section: what a build makes of what people said of its samples."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
