"""Rewards that are no filter: a trained reward model, a server, a function of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from factory.core.errors import EngineError, TrainError
from factory.core.models import model_path
from factory.core.plugins import find_function
from factory.recipe.rewards import Batch, Reward, Values
from filters.judges.reward_model import Pair, RewardModel, RewardServer

Reads = Literal["response", "text"]

_READS = (
    "What is judged: the `response` after the reasoning (R1's helpfulness sees the summary only) "
    "or the whole `text` (its harmlessness sees everything)."
)
_SIGMOID = "Press the score into 0 to 1: what a point-wise model was trained to say."


class RewardModelScore(RewardModel, Reward):
    """What a reward model says: its score, or with `sigmoid` a probability (for a point-wise one).

    A completion whose reasoning never closes has no response and gets the lowest score of its
    batch, so that it never pays not to answer.
    """

    kind: Literal["model"] = "model"
    BEST: ClassVar[float | None] = None

    reads: Reads = Field("response", description=_READS)
    sigmoid: bool = Field(False, description=_SIGMOID)

    def score(self, batch: Batch) -> Values:
        resolved = self.model_copy(update={"model": model_path(self.model)})
        pairs, places = _answers(batch, self.reads)
        found = list(RewardModel.scores(resolved, pairs))
        return _in_place(found, places, len(batch.prompts), self.sigmoid)


class ServerScore(RewardServer, Reward):
    """What a reward model behind a server says (vLLM's `/classify`); else as kind `model`.

    A reply that never comes leaves its completion without this part; a server that answers nothing
    at all ends the training at its last checkpoint.
    """

    kind: Literal["server"] = "server"
    BEST: ClassVar[float | None] = None

    reads: Reads = Field("response", description=_READS)
    sigmoid: bool = Field(False, description=_SIGMOID)

    def score(self, batch: Batch) -> Values:
        pairs, places = _answers(batch, self.reads)
        found = self.scores(pairs)
        if pairs and all(value is None for value in found):
            raise EngineError(
                f"the reward server at {self.base_url} answers nothing; start it again, and the "
                "same command goes on from the last checkpoint"
            )
        return _in_place(found, places, len(batch.prompts), self.sigmoid)


def _answers(batch: Batch, reads: Reads) -> tuple[list[Pair], list[int]]:
    """Questions and the answers that are there, and which rows they are."""
    answers = batch.frame[reads].str.strip_chars().to_list()
    places = [place for place, answer in enumerate(answers) if answer is not None]
    return [(batch.prompts[place].question, answers[place]) for place in places], places


def _in_place(
    found: Sequence[float | None], places: Sequence[int], rows: int, sigmoid: bool
) -> Values:
    said = [_sigmoid(value) if sigmoid and value is not None else value for value in found]
    lowest = min((value for value in said if value is not None), default=None)
    values: Values = [lowest] * rows
    for place, value in zip(places, said, strict=True):
        values[place] = value
    return values


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score)) if score >= 0 else 1 - 1 / (1 + math.exp(score))


OwnFunction = Callable[[Sequence[dict[str, Any]]], Sequence[float | None]]


class OwnScore(Reward):
    """A function of the user's own, `class: path/to/file.py:function`. It is given one mapping a
    completion (`INPUT_COLUMNS` of filters, and `messages`) and returns one number, or None, each.
    """

    kind: Literal["own"] = "own"
    BEST: ClassVar[float | None] = None

    reference: str = Field(alias="class", description="`path/to/file.py:function`, run as code.")

    _function: OwnFunction = PrivateAttr()

    @field_validator("reference")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        find_function(value)
        return value

    @model_validator(mode="after")
    def _loads(self) -> Self:
        self._function = find_function(self.reference)
        return self

    def score(self, batch: Batch) -> Values:
        rows = [
            {**row, "messages": list(prompt.messages)}
            for prompt, row in zip(batch.prompts, batch.frame.iter_rows(named=True), strict=True)
        ]
        try:
            values = list(self._function(rows))
        except Exception as error:  # the user's function may raise anything
            raise TrainError(
                f"the reward {self.reference} fails: {type(error).__name__}: {error}. Mend it and "
                "run the same command; training goes on from the last checkpoint"
            ) from error
        if len(values) != len(rows):
            raise TrainError(
                f"the reward {self.reference} returned {len(values)} numbers for {len(rows)} "
                "completions; it must return one each"
            )
        return [None if value is None else float(value) for value in values]
