"""A filter: responses that ask a question back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.base import Filter, Rule


class AsksBack(Filter):
    """Keeps responses that hold at most `max_questions` questions.

    Its fields are its keys in a recipe. Measuring is expensive and cached; rules are free.
    """

    VERSION: ClassVar[int] = 1  # raise it whenever what is measured changes
    MEASURED: ClassVar[frozenset[str]] = frozenset()  # the fields that measuring reads

    max_questions: int = Field(0, ge=0, description="Question marks allowed in a response.")

    def expressions(self) -> dict[str, pl.Expr]:
        """Metric name → expression over the columns of a sample (filters.base.INPUT_COLUMNS)."""
        response = pl.col("response").fill_null("")
        return {"asks_back_questions": response.str.count_matches("?", literal=True)}

    def rules(self) -> Sequence[Rule]:
        """The reasons not to keep a sample, in order; the first that holds is the sample's."""
        return [
            Rule(
                reason="asks_back",
                when=pl.col("asks_back_questions") > self.max_questions,
                metric="asks_back_questions",
                bound=f"at most {self.max_questions}",
            )
        ]
