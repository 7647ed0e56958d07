"""Compute a recipe's rewards: one pass per batch, by parts, as the functions that TRL calls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import polars as pl

from factory.core.nouns import FinishReason, Prompt, Turn
from factory.core.think import join_think
from factory.judging.metrics import input_frame
from factory.prompts.templates import Prompting
from factory.recipe.rewards import AwaitVerdicts, Batch, Reward, Values
from factory.sampling.engines.vllm import KEPT_STOPS
from factory.train.self_evolution import accuracy_by_difficulty, reflection_shares
from filters.base import turns_type


def excluded_stops(prompting: Prompting) -> list[str]:
    """Return the stop strings that end a completion but don't belong to it."""
    return [stop for stop in prompting.stop if stop not in KEPT_STOPS]


@dataclass(slots=True)
class Played:
    """An episode. `prompt` is what the policy was given first; `tokens` is all that follows.

    `own` says for each of these tokens whether the policy wrote it. `turns` are as in a sample.
    """

    prompt: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    finish_reason: FinishReason | None = None  # None: it goes on

    @property
    def n_tokens(self) -> int:
        """The number of tokens that the policy wrote."""
        return sum(self.own)

    @property
    def text(self) -> str:
        """The policy's last turn."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "assistant"), "")


class Scores(NamedTuple):
    """The rewards of completions by part, and the number of undecided completions."""

    parts: dict[str, Values]
    undecided: int
    frame: pl.DataFrame

    def totals(self, weights: Mapping[str, float]) -> Values:
        """Return each completion's weighted sum; None where no part applied."""
        rows = zip(*self.parts.values(), strict=True)
        earned = [
            [weights[name] * value for name, value in zip(self.parts, row, strict=True)
             if value is not None]
            for row in rows
        ]  # fmt: skip
        return [sum(values) if values else None for values in earned]


class Scoring:
    """The parts of a recipe's reward for a fixed set of prompts.

    `prefills` maps prompt ids to text that the completion starts with. `stop` are strings that end
    a completion and don't belong to it, such as the opening of the next turn. `await_verdicts`
    waits for verdicts that other processes give.
    """

    def __init__(
        self,
        rewards: Mapping[str, Reward],
        prompts: Sequence[Prompt],
        *,
        prefills: Mapping[str, str] | None = None,
        stop: Sequence[str] = (),
        await_verdicts: AwaitVerdicts | None = None,
    ) -> None:
        self.rewards = rewards
        self._await_verdicts = await_verdicts
        self._prompts = {prompt.id: prompt for prompt in prompts}
        columns = ("domain", "source", "language", "verifier")
        rows = [
            {"prompt_id": prompt.id, "question": prompt.question}
            | {name: value for name, value in prompt.to_row().items() if name in columns}
            for prompt in self._prompts.values()
        ]
        schema = dict.fromkeys(("prompt_id", "question", *columns), pl.String)
        self._table = pl.DataFrame(rows, schema=schema)
        self._prefills, self._stop = prefills or {}, stop

    @property
    def weights(self) -> dict[str, float]:
        return {name: reward.weight for name, reward in self.rewards.items()}

    @property
    def best(self) -> float | None:
        """The largest possible total reward; None where a part has no upper bound."""
        most = [
            None if reward.BEST is None else reward.weight * reward.BEST
            for reward in self.rewards.values()
        ]
        bounded = [value for value in most if value is not None]
        return sum(bounded) if len(bounded) == len(most) else None

    def score(
        self,
        prompt_ids: Sequence[str],
        completions: Sequence[str],
        n_tokens: Sequence[int],
        cut: Sequence[bool],
        episodes: Sequence[Played] | None = None,
    ) -> Scores:
        """Score completions by part. `cut` marks those truncated by the token limit.

        Of episodes the turns are scored: the completion is only their text. One whose environment
        failed is undecided.
        """
        if episodes is not None:
            return self._score_frame(prompt_ids, _episode_samples(prompt_ids, episodes))
        samples = pl.DataFrame(
            {
                "prompt_id": list(prompt_ids),
                "index": range(len(prompt_ids)),  # the place in the batch makes ids unique
                "text": [
                    self._prefills.get(name, "") + self._cut_at_stop(text)
                    for name, text in zip(prompt_ids, completions, strict=True)
                ],
                "finish_reason": ["length" if short else "stop" for short in cut],
                "n_tokens": list(n_tokens),
            },
            schema_overrides={"prompt_id": pl.String, "text": pl.String},
        )
        return self._score_frame(prompt_ids, samples)

    def _score_frame(self, prompt_ids: Sequence[str], samples: pl.DataFrame) -> Scores:
        frame = input_frame(samples, self._table)
        prompts = [self._prompts[name] for name in prompt_ids]
        batch = Batch(frame, prompts, self._await_verdicts)
        parts = {name: reward.score_applicable(batch) for name, reward in self.rewards.items()}
        undecided = {
            row for values in parts.values() for row, value in enumerate(values) if _is_nan(value)
        }
        failed = samples["finish_reason"].cast(pl.String) == "environment"
        undecided |= {row for row, lost in enumerate(failed) if lost}
        parts = {
            name: [None if row in undecided else value for row, value in enumerate(values)]
            for name, values in parts.items()
        }
        return Scores(parts, len(undecided), frame)

    def _cut_at_stop(self, text: str) -> str:
        """Return a completion up to the first stop string."""
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text


def _episode_samples(prompt_ids: Sequence[str], episodes: Sequence[Played]) -> pl.DataFrame:
    """Return episodes as the columns of samples."""
    rows = [
        (name, place, one.text, one.finish_reason, one.n_tokens, [asdict(t) for t in one.turns])
        for place, (name, one) in enumerate(zip(prompt_ids, episodes, strict=True))
    ]
    schema: dict[str, Any] = {
        "prompt_id": pl.String,
        "index": pl.Int64,
        "text": pl.String,
        "finish_reason": pl.String,
        "n_tokens": pl.Int64,
        "turns": turns_type(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _is_nan(value: float | None) -> bool:
    return value is not None and math.isnan(value)


class Rewarder:
    """The parts as functions that TRL calls in turn; the first call scores all parts."""

    def __init__(
        self, scoring: Scoring, max_tokens: int, difficulty: Mapping[str, str] | None = None
    ) -> None:
        self.scoring = scoring
        self.max_tokens = max_tokens
        self.difficulty = difficulty  # prompt id → label; None logs no accuracy by difficulty
        self.last: Scores | None = None
        self._scored: Any = None  # the completions of `last`
        self._ready: tuple[list[str], Scores] | None = None

    def functions(self) -> list[Callable[..., Values]]:
        return [self._make_function(name) for name in self.scoring.rewards]

    def score(
        self,
        completions: list[str],
        completion_ids: list[list[int]],
        prompt_id: list[str],
        log_metric: Callable[[str, float], None],
        episodes: list[Played] | None = None,
    ) -> Scores:
        """Score a batch. The scores of the same list object are cached."""
        if self.last is None or self._scored is not completions:
            self.last = self._take_ready(completions) or self.compute(
                completions, completion_ids, prompt_id, episodes
            )
            self._scored = completions
            cut = self.last.frame["finish_reason"] == "length"
            log_metric("cut", sum(cut) / len(cut))
            for name, value in measure_episodes(episodes or ()).items():
                log_metric(name, value)
            log_metric("undecided", self.last.undecided)
            for name, value in self._measure_evolution(self.last, prompt_id).items():
                log_metric(name, value)
        return self.last

    def compute(
        self,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        prompt_id: Sequence[str],
        episodes: Sequence[Played] | None = None,
    ) -> Scores:
        """Return the scores of a batch. Changes nothing, so that another thread may call it."""
        n_tokens = [len(ids) for ids in completion_ids]
        cut = list(map(self._is_cut, completion_ids))
        return self.scoring.score(prompt_id, completions, n_tokens, cut, episodes)

    def provide(self, completions: list[str], scores: Scores) -> None:
        """Take the scores of a list that is about to be scored, computed elsewhere."""
        self._ready = (completions, scores)

    def _take_ready(self, completions: list[str]) -> Scores | None:
        known, self._ready = self._ready, None
        return known[1] if known is not None and known[0] is completions else None

    def _is_cut(self, completion_ids: Sequence[int]) -> bool:
        return len(completion_ids) >= self.max_tokens

    def _measure_evolution(self, scores: Scores, prompt_ids: Sequence[str]) -> dict[str, float]:
        """Return the shares of reflection words, and the accuracy by difficulty."""
        found = reflection_shares(scores.frame["text"])
        parts = self.scoring.rewards.items()
        accuracy = next((name for name, part in parts if part.kind == "accuracy"), None)
        if self.difficulty is not None and accuracy is not None:
            values = scores.parts[accuracy]
            found |= accuracy_by_difficulty(self.difficulty, prompt_ids, values)
        return found

    def _make_function(self, name: str) -> Callable[..., Values]:
        def reward(
            completions: list[str],
            completion_ids: list[list[int]],
            prompt_id: list[str],
            log_metric: Callable[[str, float], None],
            episode: list[Played] | None = None,
            **_: Any,
        ) -> Values:
            found = self.score(completions, completion_ids, prompt_id, log_metric, episode)
            return found.parts[name]

        reward.__name__ = name  # TRL logs a part under the name of its function
        return reward


ASKING = ("model", "server", "steps")
"""Kinds of rewards that need a model or a server."""


def measure_episodes(episodes: Sequence[Played]) -> dict[str, float]:
    """Return means over episodes: turns of the policy, and observations. Nothing without any."""
    if not episodes:
        return {}
    roles = Counter(turn.role for one in episodes for turn in one.turns)
    failed = sum(one.finish_reason == "environment" for one in episodes)
    return {
        "episodes/turns": roles["assistant"] / len(episodes),
        "episodes/observations": (roles["tool"] + roles["user"]) / len(episodes),
        "episodes/failed": failed / len(episodes),
    }


PROBED = 64
"""Number of questions that each part of the reward is tried on before a training."""


def find_inapplicable_parts(scoring: Scoring, prompts: Sequence[Prompt]) -> list[str]:
    """Return the parts that apply to none of the questions, tried with a well-formed answer.

    Generates nothing. Of parts that need a model or a server, only the selection is checked.
    """
    found = []
    for name, reward in scoring.rewards.items():
        chosen = [prompt for prompt in prompts if reward.applies_to(prompt)]
        if not chosen or (reward.kind not in ASKING and _is_silent(reward, chosen)):
            found.append(name)
    return found


def find_unrewarded(rewards: Mapping[str, Reward], prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the questions that no part of the reward is for."""
    return [one for one in prompts if not any(part.applies_to(one) for part in rewards.values())]


def _is_silent(reward: Reward, prompts: Sequence[Prompt]) -> bool:
    """Return True if a part has no value for a well-formed answer to any of some prompts."""
    tried = prompts[:: max(1, len(prompts) // PROBED)][:PROBED]
    n = len(tried)
    text = join_think("Let me see.", "\\boxed{1}")
    ids = [prompt.id for prompt in tried]
    scores = Scoring({"part": reward}, tried).score(ids, [text] * n, [9] * n, [False] * n)
    return not scores.undecided and all(value is None for value in scores.parts["part"])
