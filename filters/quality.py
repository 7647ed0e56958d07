"""How good is an answer that nothing can verify? A score by a judge or by a reward model.

R1's general prompts have no reference: reward models scored them, for helpfulness the summary alone
(R1 v2 §2.2.2: the reasoning is not to be disturbed), for harmlessness the whole. The score makes
`select: {pick: best, score: quality_score}` a best-of-n; a bound on it is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from factory.core.errors import EngineError
from factory.core.nouns import Message
from filters.base import Ask, Filter, LocalJudge, Rule
from filters.judges.client import Endpoint, Judge, JudgeClient
from filters.judges.equivalence import as_data, filled_in, said_last
from filters.judges.reward_model import RewardModel, RewardServer

MAX_QUESTION = 6_000
MAX_ANSWER = 24_000


class Quality(Filter):
    """A score, higher is better, by a judge (1 to 10) or a reward model (its own scale).

    Exactly one of `judge`, `reward_model` and `reward_server` gives it.
    """

    judge: Judge | None = Field(
        None,
        description="An OpenAI-compatible endpoint; `{start: MODEL, args: {…}}` for another model, "
        "started here once sampling has ended; or `engine` for the run's own.",
    )
    reward_model: RewardModel | None = Field(
        None, description="A sequence classifier with one output, loaded in this process."
    )
    reward_server: RewardServer | None = Field(
        None, description="Such a model behind a server that speaks vLLM's `/classify`."
    )
    part: Literal["response", "whole"] = Field(
        "response", description="What is scored: what follows the think section, or all of it."
    )
    min_score: float | None = Field(None, description="The score, at least. Off by default.")

    PARALLEL = False  # it asks models

    MEASURED: ClassVar[frozenset[str]] = frozenset(
        ("judge", "reward_model", "reward_server", "part")
    )

    @model_validator(mode="after")
    def _one_scorer(self) -> Self:
        given = [self.judge, self.reward_model, self.reward_server]
        if sum(scorer is not None for scorer in given) != 1:
            raise ValueError("needs just one of judge, reward_model and reward_server")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether another server scores, so that it can while the engine samples."""
        return isinstance(self.judge, Endpoint) or self.reward_server is not None

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        return None if isinstance(self.judge, Endpoint) else self.judge

    def without_local_judge(self) -> Quality | None:
        """Only another server can score while the engine samples: a reward model takes memory."""
        return self if self.is_remote else None

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The scores, where no judge on this machine is asked."""
        return self.measure_with(samples, None)

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """The scores; null where there is nothing to score or no clear reply. `ask` reaches a
        judge that is no endpoint."""
        text = pl.col("response" if self.part == "response" else "text")
        scored = samples.select("sample_id", "question", answer=text.str.strip_chars()).filter(
            pl.col("answer") != ""
        )
        pairs = list(scored.select("question", "answer").iter_rows())
        scores = pl.Series("quality_score", self._scores(pairs, ask), dtype=pl.Float64)
        found = scored.select("sample_id").with_columns(scores)
        return samples.select("sample_id").join(
            found, on="sample_id", how="left", maintain_order="left"
        )

    def rules(self) -> Sequence[Rule]:
        score = pl.col("quality_score")
        rules = [Rule("unscored", score.is_null(), "quality_score", "a score", "undecided")]
        if self.min_score is not None:
            bound = f"at least {self.min_score:g}"
            rules.append(Rule("low_quality", score < self.min_score, "quality_score", bound))
        return rules

    def _scores(self, pairs: Sequence[tuple[str, str]], ask: Ask | None) -> list[float | None]:
        if not pairs:
            return []
        if self.reward_model is not None:
            return list(self.reward_model.scores(pairs))
        if self.reward_server is not None:
            return self.reward_server.scores(pairs)
        if isinstance(self.judge, Endpoint):
            with JudgeClient(self.judge) as client:
                return grades(pairs, client)
        if ask is None:
            raise EngineError("quality.judge is a model on this machine, and none is running")
        return grades(pairs, ask)


def grades(pairs: Sequence[tuple[str, str]], ask: Ask) -> list[float | None]:
    """A judge's grades of (question, answer) pairs, in order."""
    replies = ask([conversation(*pair) for pair in pairs])
    return [read_grade(reply) for reply in replies]


def conversation(question: str, answer: str) -> list[Message]:
    """The messages that ask for a grade; a long answer is shown without its middle."""
    if len(answer) > MAX_ANSWER:
        answer = f"{answer[: MAX_ANSWER // 2]}\n[…]\n{answer[-MAX_ANSWER // 2 :]}"
    return filled_in(
        "judge/quality.txt",
        question=as_data(question, MAX_QUESTION),
        response=as_data(answer, 2 * MAX_ANSWER),
    )


def read_grade(reply: str) -> float | None:
    """The grade on a reply's last line; None where it is not the exact form.

    >>> read_grade('Clear, but thin.\\n{"score": 6}')
    6.0
    """
    score = said_last(reply, "score")
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return float(score) if is_number and 1 <= score <= 10 else None
