"""A reward: short responses earn more."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from factory.recipe.rewards import Batch, Reward, Values


class Brevity(Reward):
    """1 for an empty response, falling to 0 at `characters`; None where there is no response.

    Its fields are its keys in a recipe, next to those of every reward (weight, prompts).
    """

    BEST: ClassVar[float | None] = 1.0  # the most a completion can earn; None: there is no bound

    characters: int = Field(2_000, ge=1, description="Length of a response that earns nothing.")

    def score(self, batch: Batch) -> Values:
        """A number for each completion; None: does not apply; NaN: could not be decided.

        `batch.frame` has a row for each completion (filters.base.INPUT_COLUMNS), `batch.prompts`
        its prompt.
        """
        lengths = batch.frame["response"].str.len_chars()
        return [
            None if length is None else max(0.0, 1 - length / self.characters) for length in lengths
        ]
