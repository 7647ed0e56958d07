"""Scores answers that can't be verified, by a judge or a reward model.

R1's general prompts have no reference. Reward models scored them: for helpfulness only the summary,
so as not to affect the reasoning (R1 v2 §2.2.2), for harmlessness the whole text. With the score
`select: {pick: best, score: quality_score}` is a best-of-n selection. A minimum score is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from factory.core.errors import EngineError
from factory.core.nouns import Message, fingerprint
from filters.base import Ask, Filter, LocalJudge, Rule
from filters.judges.classifier import sigmoid
from filters.judges.client import Endpoint, Judge, JudgeClient
from filters.judges.equivalence import as_data, fill_template, read_last_line
from filters.judges.reward_model import RewardModel, RewardServer

MAX_QUESTION = 6_000
MAX_ANSWER = 24_000


class Quality(Filter):
    """Scores samples by a judge (1 to 10) or a reward model (its own scale). Higher is better.

    Exactly one of `judge`, `reward_model` and `reward_server` must be set.
    """

    judge: Judge | None = Field(
        None,
        description="Judge: an OpenAI-compatible endpoint; `{start: MODEL, args: {…}}` for another "
        "local model, started after sampling; or `engine` for the run's own model.",
    )
    reward_model: RewardModel | None = Field(
        None, description="Sequence classifier with one output, loaded in this process."
    )
    reward_server: RewardServer | None = Field(
        None, description="Reward model on a server with vLLM's `/classify` API."
    )
    part: Literal["response", "whole"] = Field(
        "response",
        description="Text to score: the text after the think section, or the whole text.",
    )
    sigmoid: bool = Field(
        False,
        description="Map the score of a reward model to 0..1 with a sigmoid, as for a point-wise "
        "model: weights of votes must not be negative.",
    )
    min_score: float | None = Field(None, description="Minimum score. Off by default.")

    PARALLEL = False  # it waits for models

    MEASURED: ClassVar[frozenset[str]] = frozenset(
        ("judge", "reward_model", "reward_server", "part")
    )

    @model_validator(mode="after")
    def _one_scorer(self) -> Self:
        given = [self.judge, self.reward_model, self.reward_server]
        if sum(scorer is not None for scorer in given) != 1:
            raise ValueError("needs exactly one of judge, reward_model and reward_server")
        if self.sigmoid and self.judge is not None:
            raise ValueError("sigmoid is for a reward model; a judge's score is from 1 to 10")
        return self

    def cache_key(self) -> str:
        key = super().cache_key()
        # Without `sigmoid` the same as before there was one: nothing is measured again.
        return fingerprint([key, "sigmoid"], 12) if self.sigmoid else key

    @property
    def is_remote(self) -> bool:
        """Whether a server computes the score, so that it can run during sampling."""
        return isinstance(self.judge, Endpoint) or self.reward_server is not None

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        return None if isinstance(self.judge, Endpoint) else self.judge

    def without_local_judge(self) -> Quality | None:
        """Only a server can score during sampling: a local reward model needs memory."""
        return self if self.is_remote else None

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """Measure without a local judge."""
        return self.measure_with(samples, None)

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """Measure. `ask` queries a judge that is not an endpoint.

        The score is null if there is no text to score or no clear reply.
        """
        text = pl.col("response" if self.part == "response" else "text")
        scored = samples.select("sample_id", "question", answer=text.str.strip_chars()).filter(
            pl.col("answer") != ""
        )
        pairs = list(scored.select("question", "answer").iter_rows())
        raw = self._scores(pairs, ask)
        if self.sigmoid:
            raw = [None if score is None else sigmoid(score) for score in raw]
        scores = pl.Series("quality_score", raw, dtype=pl.Float64)
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
                return grade_answers(pairs, client)
        if ask is None:
            raise EngineError("quality.judge is a local model, and it is not running")
        return grade_answers(pairs, ask)


def grade_answers(pairs: Sequence[tuple[str, str]], ask: Ask) -> list[float | None]:
    """Return a judge's grades of (question, answer) pairs, in order."""
    replies = ask([conversation(*pair) for pair in pairs])
    return [read_grade(reply) for reply in replies]


def conversation(question: str, answer: str) -> list[Message]:
    """Return the messages that ask for a grade. The middle of a long answer is left out."""
    if len(answer) > MAX_ANSWER:
        answer = f"{answer[: MAX_ANSWER // 2]}\n[…]\n{answer[-MAX_ANSWER // 2 :]}"
    return fill_template(
        "judge/quality.txt",
        question=as_data(question, MAX_QUESTION),
        response=as_data(answer, 2 * MAX_ANSWER),
    )


def read_grade(reply: str) -> float | None:
    """Return the grade on a reply's last line, or None if it is not in the exact format.

    >>> read_grade('Clear, but thin.\\n{"score": 6}')
    6.0
    """
    score = read_last_line(reply, "score")
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return float(score) if is_number and 1 <= score <= 10 else None
