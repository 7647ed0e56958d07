"""The run's own engine as a judge: R1 used its own V3 as the generative reward model (§2.3.3).

Also who is asked, where a recipe's `prompting.cot` has a judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cot import unmarked
from factory.prompting import Prompting
from factory.sampling.engine import Engine, Request, open_engine
from factory.sampling.sampling_options import Sampling
from factory.text import split_think
from factory.types import Message, Prompt, Sample, as_messages
from filters.contract import Filter
from filters.correctness import Correctness
from filters.judge_client import JudgeClient
from filters.quality import Quality

if TYPE_CHECKING:
    from factory.recipe import Recipe

MAX_TOKENS = 512
"""A judge analyses briefly and ends with its verdict."""


class EngineAsk:
    """Asks the recipe's model at temperature 0, through its chat template.

    Opens the engine at the first question, so that a run with nothing to judge starts none.
    """

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self._recipe = recipe.model_copy(
            update={
                "prompting": Prompting(template="chat"),
                "sampling": Sampling(n=1, temperature=0, max_tokens=MAX_TOKENS),
                "filters": {},
                "sources": (),
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


def asks_engine(recipe: Recipe) -> bool:
    """True if one of the recipe's filters wants the run's own engine as its judge."""
    return any(judged_by_engine(judge) for judge in recipe.filters.values())


def judged_by_engine(judge: Filter) -> bool:
    return isinstance(judge, Correctness | Quality) and judge.judge == "engine"


def marked_prompts(recipe: Recipe, prompts: Sequence[Prompt], run: Path) -> Sequence[Prompt]:
    """The prompts with their chain-of-thought marks, where the recipe has a rule for them; a mark
    that an earlier run left on them is not this recipe's."""
    cot = recipe.prompting.cot
    if cot is None:
        return [unmarked(prompt) for prompt in prompts]
    if cot.judge is None:
        return cot.mark(prompts)
    if cot.judge != "engine":
        with JudgeClient(cot.judge) as client:
            return cot.mark(prompts, client)
    ask = EngineAsk(recipe, run)
    try:
        return cot.mark(prompts, ask)
    finally:
        ask.close()
