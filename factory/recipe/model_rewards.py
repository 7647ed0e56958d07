"""Rewards that are not filters: a trained reward model, a server, a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from factory.core.errors import EngineError, TrainError
from factory.core.models import model_path
from factory.core.plugins import find_function
from factory.recipe.rewards import Batch, Reward, Values
from filters.judges.classifier import Pair
from filters.judges.classifier import sigmoid as to_probability
from filters.judges.process_model import Aggregate, ProcessModel, aggregate
from filters.judges.reward_model import RewardModel, RewardServer

Reads = Literal["response", "text"]

_READS = (
    "The text to score: the `response` after the reasoning (as for R1's helpfulness) or the whole "
    "`text` (as for its harmlessness)."
)
_SIGMOID = "Map the score to 0..1 with a sigmoid, as for a point-wise model."


class RewardModelScore(RewardModel, Reward):
    """The score of a reward model, or with `sigmoid` a probability (for a point-wise model).

    A completion with unclosed reasoning has no response. It gets the lowest score of its batch, so
    that giving no answer is never rewarded. All of a text is read, however long: see `max_tokens`.
    """

    kind: Literal["model"] = "model"
    BEST: ClassVar[float | None] = None

    reads: Reads = Field("response", description=_READS)
    sigmoid: bool = Field(False, description=_SIGMOID)

    def score(self, batch: Batch) -> Values:
        resolved = self.model_copy(update={"model": model_path(self.model)})
        pairs, places = _select_answers(batch, self.reads)
        found = list(RewardModel.scores(resolved, pairs))
        return _fill_rows(found, places, len(batch.prompts), self.sigmoid)


class StepScores(ProcessModel, Reward):
    """The score of a process reward model, which a policy soon learns to please (R1 v1 §4.2).

    The whole text is scored, step by step. With `clip` no step earns more than that, so that
    wording a good step still more to the model's liking is worth nothing. Add `accuracy` with
    `weight: 0` to log the true accuracy next to this reward: where the two part, it is being
    hacked. A text without a score gets the lowest of its batch.
    """

    kind: Literal["steps"] = "steps"
    BEST: ClassVar[float | None] = None

    by: Aggregate = Field(
        "min", description="Score of an answer from those of its steps: min, product, last, mean."
    )
    clip: float | None = Field(
        0.9, gt=0, le=1, description="Largest score that a step can have. null: no clip."
    )

    def score(self, batch: Batch) -> Values:
        resolved = self.model_copy(update={"model": model_path(self.model)})
        texts = batch.frame["text"].fill_null("").to_list()
        questions = [prompt.question for prompt in batch.prompts]
        found = ProcessModel.scores(resolved, list(zip(questions, texts, strict=True)))
        scores = [None if steps is None else self._reduce(steps) for steps in found]
        known = [(place, score) for place, score in enumerate(scores) if score is not None]
        return _fill_rows([s for _, s in known], [p for p, _ in known], len(texts), sigmoid=False)

    def _reduce(self, steps: Sequence[float]) -> float:
        most = 1.0 if self.clip is None else self.clip
        return aggregate([min(score, most) for score in steps], self.by)


class ServerScore(RewardServer, Reward):
    """The score of a reward model on a server (vLLM's `/classify`); otherwise like kind `model`.

    A completion without a reply does not get this part of the reward. If the server answers
    nothing at all, training ends and can continue from its last checkpoint.
    """

    kind: Literal["server"] = "server"
    BEST: ClassVar[float | None] = None

    reads: Reads = Field("response", description=_READS)
    sigmoid: bool = Field(False, description=_SIGMOID)

    def score(self, batch: Batch) -> Values:
        pairs, places = _select_answers(batch, self.reads)
        found = self.scores(pairs)
        if pairs and all(value is None for value in found):
            raise EngineError(
                f"the reward server at {self.base_url} does not answer; start it again and run the "
                "same command to continue from the last checkpoint"
            )
        return _fill_rows(found, places, len(batch.prompts), self.sigmoid)


def _select_answers(batch: Batch, reads: Reads) -> tuple[list[Pair], list[int]]:
    """Return (question, answer) pairs of the rows with an answer, and their row numbers."""
    answers = batch.frame[reads].str.strip_chars().to_list()
    places = [place for place, answer in enumerate(answers) if answer is not None]
    return [(batch.prompts[place].question, answers[place]) for place in places], places


def _fill_rows(
    found: Sequence[float | None], places: Sequence[int], rows: int, sigmoid: bool
) -> Values:
    scores = [to_probability(value) if sigmoid and value is not None else value for value in found]
    lowest = min((value for value in scores if value is not None), default=None)
    values: Values = [lowest] * rows
    for place, value in zip(places, scores, strict=True):
        values[place] = value
    return values


OwnFunction = Callable[[Sequence[dict[str, Any]]], Sequence[float | None]]


class OwnScore(Reward):
    """A user's own function, `class: path/to/file.py:function`.

    It gets one mapping per completion (`INPUT_COLUMNS` of filters, and `messages`) and returns one
    number or None per completion.
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
                f"the reward {self.reference} fails: {type(error).__name__}: {error}. Fix it and "
                "run the same command; training continues from the last checkpoint"
            ) from error
        if len(values) != len(rows):
            raise TrainError(
                f"the reward {self.reference} returned {len(values)} numbers for {len(rows)} "
                "completions; it must return one each"
            )
        return [None if value is None else float(value) for value in values]
