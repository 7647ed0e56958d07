"""A filter of your own: drops responses that take their answer back.

The contract is in filters/base.py. Expensive computations go into `expressions` (or `measure`, if
they are not Polars expressions) and are cached; cheap decisions go into `rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.base import Filter, Rule


class Unsure(Filter):
    """Keeps responses that hedge at most `max_hedges` times."""

    VERSION: ClassVar[int] = 1  # raise it whenever the expressions change

    max_hedges: int = Field(0, ge=0, description="Hedging phrases allowed in a response.")

    def expressions(self) -> dict[str, pl.Expr]:
        hedges = ["I am not sure", "I'm not sure", "might be wrong", "just a guess"]
        counted = pl.sum_horizontal(
            pl.col("response").fill_null("").str.count_matches(hedge, literal=True)
            for hedge in hedges
        )
        return {"unsure_hedges": counted}

    def rules(self) -> Sequence[Rule]:
        return [
            Rule(
                "unsure",
                pl.col("unsure_hedges") > self.max_hedges,
                "unsure_hedges",
                f"at most {self.max_hedges}",
            )
        ]
