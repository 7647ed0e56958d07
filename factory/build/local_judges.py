"""Local models as judges: the recipe's own model, as R1 used its V3 (§2.3.3), or another one.

Also runs the judge of a recipe's `prompting.cot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from factory.core.nouns import Message, Prompt, Sample, as_messages
from factory.core.run_dir import sample_parts
from factory.core.think import split_think
from factory.judging.metrics import measure_parts, prompt_frame
from factory.prompts.chain_of_thought import remove_mark
from factory.prompts.templates import Prompting
from factory.recipe.build import Recipe
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine as EngineOptions
from factory.recipe.engines.options import Model
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Engine, Request, open_engine
from filters.base import LocalJudge
from filters.judges.client import Endpoint, JudgeClient

MAX_TOKENS = 512
"""Maximum length of a judge's reply in tokens: a short analysis and the verdict."""


class LocalModel:
    """Queries a local model at temperature 0 through its chat template.

    The engine is opened by the first call, so that a run without anything to judge starts none.
    """

    def __init__(self, recipe: Recipe, run: Path, judge: LocalJudge | Literal["engine"]) -> None:
        model, engine = recipe.model, recipe.engine
        if isinstance(judge, LocalJudge):
            model, engine = Model(id=judge.start), _engine_options(judge, recipe.engine)
        sampling = Sampling(n=1, temperature=0, max_tokens=MAX_TOKENS)
        self._spec = EngineSpec(model, engine, Prompting(template="chat"), sampling)
        self._run = run
        self._engine: Engine | None = None

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Return one reply per conversation, in order; "" if there is none."""
        if self._engine is None:
            self._engine = open_engine(self._spec, self._run, 0)
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


def _engine_options(judge: LocalJudge, sampler: EngineOptions) -> EngineOptions:
    """Return a judge's engine options. It runs on the sampler's Ray cluster if there is one."""
    if sampler.ray is not None:
        return sampler.model_copy(update={"args": judge.args, "reference": None})
    return EngineOptions(args=judge.args, replicas=judge.replicas)


def list_started_judges(recipe: Recipe) -> list[LocalJudge]:
    """Return the judges with a model of their own that a build will start."""
    asked = (filter_.local_judge for filter_ in recipe.filters.values())
    return [judge for judge in asked if isinstance(judge, LocalJudge)]


def run_local_judges(recipe: Recipe, run: Path) -> None:
    """Measure the filters that need a local model, so that `judge_run` finds them measured.

    The models run one after another: each is stopped before the next is started.
    """
    left = {name: filter_ for name, filter_ in recipe.filters.items() if filter_.local_judge}
    while left:
        asked = next(iter(left.values())).local_judge
        assert asked is not None
        own = {name: filter_ for name, filter_ in left.items() if filter_.local_judge == asked}
        ask = LocalModel(recipe, run, asked)
        try:
            measure_parts(run, sample_parts(run), prompt_frame(run), own, ask)
        finally:
            ask.close()
        left = {name: filter_ for name, filter_ in left.items() if name not in own}


def mark_prompts(recipe: Recipe, prompts: Sequence[Prompt], run: Path) -> Sequence[Prompt]:
    """Return the prompts with the chain-of-thought marks of the recipe's rules.

    Marks of an earlier run are removed.
    """
    cot = recipe.prompting.cot
    if cot is None:
        return [remove_mark(prompt) for prompt in prompts]
    if cot.judge is None:
        return cot.mark(prompts)
    if isinstance(cot.judge, Endpoint):
        with JudgeClient(cot.judge) as client:
            return cot.mark(prompts, client)
    ask = LocalModel(recipe, run, cot.judge)
    try:
        return cot.mark(prompts, ask)
    finally:
        ask.close()
