"""A model on this machine as a judge: the run's own, as R1 used its V3 (§2.3.3), or another.

Also who is asked, where a recipe's `prompting.cot` has a judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from factory.core.nouns import Message, Prompt, Sample, as_messages
from factory.core.think import split_think
from factory.prompts.chain_of_thought import unmarked
from factory.prompts.templates import Prompting
from factory.recipe.build import Engine as EngineOptions
from factory.recipe.build import Model, Recipe
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Engine, Request, open_engine
from filters.base import Filter
from filters.correctness import Correctness
from filters.judges.client import Endpoint, JudgeClient, OwnJudge
from filters.quality import Quality

MAX_TOKENS = 512
"""A judge analyses briefly and ends with its verdict."""


class EngineAsk:
    """Asks a model at temperature 0, through its chat template: the recipe's own or another.

    Opens the engine at the first question, so that a run with nothing to judge starts none.
    """

    def __init__(self, recipe: Recipe, run: Path, judge: OwnJudge | Literal["engine"]) -> None:
        asked = _in_its_place(recipe, judge) if isinstance(judge, OwnJudge) else {}
        self._recipe = recipe.model_copy(
            update={
                "prompting": Prompting(template="chat"),
                "sampling": Sampling(n=1, temperature=0, max_tokens=MAX_TOKENS),
                "filters": {},
                "sources": (),
                **asked,
            }
        )
        self._run = run
        self._engine: Engine | None = None

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The replies, in order; "" where there is none."""
        if self._engine is None:
            self._engine = open_engine(self._recipe, self._run, 0)
        prompts = [Prompt("judge", "general", as_messages(turns)) for turns in conversations]
        waiting = {prompt.id: prompt for prompt in prompts}
        unasked, replies, in_flight = list(waiting.values()), dict[str, str](), 0
        while unasked or in_flight:
            while unasked and in_flight < self._engine.capacity:
                self._engine.submit(Request(unasked.pop(), 0))
                in_flight += 1
            for outcome in self._engine.completed():
                in_flight -= 1
                if isinstance(outcome, Sample):
                    replies[outcome.prompt_id] = split_think(outcome.text).response or ""
        return [replies.get(prompt.id, "") for prompt in prompts]

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _in_its_place(recipe: Recipe, judge: OwnJudge) -> dict[str, object]:
    """What a recipe says of its model and engine, changed to a judge's; a Ray cluster stays."""
    engine = EngineOptions(args=judge.args, replicas=judge.replicas)
    if recipe.engine.ray is not None:
        engine = recipe.engine.model_copy(update={"args": judge.args})
    return {"model": Model(id=judge.start), "engine": engine}


def own_judge(judge: Filter) -> OwnJudge | Literal["engine"] | None:
    """The model on this machine that a filter asks; None where it asks none, or an endpoint."""
    asked = judge.judge if isinstance(judge, Correctness | Quality) else None
    return None if isinstance(asked, Endpoint) else asked


def started_judges(recipe: Recipe) -> list[OwnJudge]:
    """The other models that a build will start."""
    asked = map(own_judge, recipe.filters.values())
    return [judge for judge in asked if isinstance(judge, OwnJudge)]


def in_turn(recipe: Recipe, run: Path) -> Iterator[tuple[dict[str, Filter], EngineAsk]]:
    """The recipe's filters that ask a model on this machine, with that model, one after another:
    each is stopped before the next is started."""
    left = {name: judge for name, judge in recipe.filters.items() if own_judge(judge)}
    while left:
        asked = own_judge(next(iter(left.values())))
        assert asked is not None
        own = {name: judge for name, judge in left.items() if own_judge(judge) == asked}
        ask = EngineAsk(recipe, run, asked)
        try:
            yield own, ask
        finally:
            ask.close()
        left = {name: judge for name, judge in left.items() if name not in own}


def marked_prompts(recipe: Recipe, prompts: Sequence[Prompt], run: Path) -> Sequence[Prompt]:
    """The prompts with their chain-of-thought marks, where the recipe has a rule for them; a mark
    that an earlier run left on them is not this recipe's."""
    cot = recipe.prompting.cot
    if cot is None:
        return [unmarked(prompt) for prompt in prompts]
    if cot.judge is None:
        return cot.mark(prompts)
    if isinstance(cot.judge, Endpoint):
        with JudgeClient(cot.judge) as client:
            return cot.mark(prompts, client)
    ask = EngineAsk(recipe, run, cot.judge)
    try:
        return cot.mark(prompts, ask)
    finally:
        ask.close()
