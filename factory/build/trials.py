"""Every kind of extension, tried on one synthetic item: what is wrong with it, and what to do.

`factory validate` runs these on the classes that a recipe names, and on a class by itself.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from factory.core.environment import Action, Environment, Observation, environment_class
from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.core.plugins import PluginError
from factory.core.think import join_think, split_think_exprs
from factory.core.trial import TrialError, call_own
from factory.environments.host import EnvironmentHost, play
from factory.prompts.conversation import Tools
from factory.prompts.load import preview
from factory.prompts.source import Source
from factory.recipe.rewards import Batch, Reward
from factory.sampling.engine import Request, open_engine
from factory.sampling.episodes import step_limits
from filters.base import BASE_COLUMNS, INPUT_COLUMNS, Filter, Rule, null_turns

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec
    from factory.recipe.sampling import Sampling

Result = TypeVar("Result")

PROMPT = Prompt(
    "trial",
    "math",
    (Message(role="user", content="What is one half plus one quarter?"),),
    verifier={"kind": "math", "answer": "3/4"},
    language="en",
)

TEXTS = (
    join_think("A half is two quarters, so three quarters.", "It is \\boxed{3/4}."),
    join_think("", ""),
    "<think>\nThis reasoning never ends, and has \U0001f600 and \u202e in it",
    "",
)
"""A good completion, an empty one, one that was cut off, and nothing at all."""

ENGINE_SECONDS = 120.0


def try_verifier(made: Any, name: str) -> str:
    """Check a reference and judge a response. Raises TrialError."""
    from filters.verify.own import Asked
    from filters.verify.verification import Verification

    asked = Asked(answer="3/4", meta={}, messages=PROMPT.messages)
    problem = call_own(name, "check", lambda: made.check(asked), "return None, or what is wrong")
    if not (problem is None or isinstance(problem, str)):
        raise TrialError(f"{name}: check returns {problem!r:.60}; return None or a text")
    verdict = call_own(
        name, "verify", lambda: made.verify(asked, "It is \\boxed{3/4}."), "return self.verdict(…)"
    )
    if not isinstance(verdict, Verification):
        raise TrialError(f"{name}: verify returns {verdict!r:.60}; return self.verdict(…)")
    return f"verifier {name} judged a made-up response: {verdict.state}"


def sample_frame() -> pl.DataFrame:
    """The synthetic completions as filters are given them: `INPUT_COLUMNS`, a row each."""
    rows = pl.DataFrame({"text": TEXTS}).with_row_index("index")
    return (
        rows.select(
            pl.format("{}-{}", pl.lit(PROMPT.id), "index").alias("sample_id"),
            pl.lit(PROMPT.id).alias("prompt_id"),
            pl.col("index").cast(pl.Int32),
            "text",
            pl.lit("stop").alias("finish_reason"),
            pl.lit(20, dtype=pl.Int32).alias("n_tokens"),
            pl.lit(PROMPT.question).alias("question"),
            pl.lit(PROMPT.domain).alias("domain"),
            pl.lit(PROMPT.source).alias("source"),
            pl.lit(PROMPT.language).alias("language"),
            pl.lit(json.dumps(PROMPT.verifier)).alias("verifier"),
            pl.lit(None, dtype=pl.Boolean).alias("cot"),
        )
        .with_columns(**split_think_exprs(), **null_turns())
        .select(INPUT_COLUMNS)
    )


def try_filter(judge: Filter, name: str) -> str:
    """Measure and decide the synthetic completions. Raises TrialError."""
    frame = sample_frame()
    columns = f"the columns are {', '.join(INPUT_COLUMNS)}"
    measured = call_own(name, "measure", lambda: judge.measure(frame), columns)
    if not isinstance(measured, pl.DataFrame):
        kind = type(measured).__name__
        raise TrialError(f"{name}: measure returns {kind}; return a Polars DataFrame")
    if "sample_id" not in measured.columns or not measured["sample_id"].equals(frame["sample_id"]):
        raise TrialError(
            f"{name}: measure returns {measured.height} rows with the columns "
            f"{', '.join(measured.columns)} for {frame.height} samples; return sample_id and a "
            "column for each metric, one row per sample, in their order"
        )
    rules = call_own(name, "rules", judge.rules, "return a list of filters.base.Rule")
    if not all(isinstance(rule, Rule) for rule in rules):
        raise TrialError(f"{name}: rules returns {rules!r:.80}; return a list of filters.base.Rule")
    known = {*BASE_COLUMNS, "pass_rate", "n_samples", "n_judged", "n_correct", *measured.columns}
    for rule in rules:
        unknown = [column for column in rule.when.meta.root_names() if column not in known]
        if unknown:
            metrics = ", ".join(column for column in measured.columns if column != "sample_id")
            raise TrialError(
                f"{name}: the rule {rule.reason!r} reads {', '.join(unknown)}, which it does not "
                f"measure; its metrics are {metrics or 'none'}, and it may read "
                f"{', '.join(BASE_COLUMNS)}"
            )
    base = frame.select(BASE_COLUMNS).join(measured, on="sample_id", maintain_order="left")
    rates = {name: pl.lit(None, pl.Float64) for name in known - {*base.columns}}
    decided = call_own(
        name, "a rule", lambda: judge.decide(base.with_columns(**rates)), "correct the rule"
    )
    kept = int((decided["decision"] == "keep").sum())
    return f"{name} ran on {frame.height} made-up completions and keeps {kept}"


def try_reward(reward: Reward, name: str) -> str:
    """Score the synthetic completions. Raises TrialError."""
    frame = sample_frame()
    batch = Batch(frame, [PROMPT] * frame.height)
    values = call_own(name, "score", lambda: reward.score(batch), "return a list of numbers")
    if not isinstance(values, list) or len(values) != frame.height:
        size = len(values) if isinstance(values, list) else type(values).__name__
        raise TrialError(
            f"{name}: score returns {size} for {frame.height} completions; return a list with one "
            "number each, None where the reward does not apply, NaN where nothing can be decided"
        )
    wrong = [value for value in values if not (value is None or isinstance(value, int | float))]
    if wrong:
        raise TrialError(f"{name}: score returns {wrong[0]!r:.60}; return numbers or None")
    best = type(reward).BEST
    beyond = [value for value in values if value is not None and best is not None and value > best]
    if beyond:
        raise TrialError(
            f"{name}: score returns {beyond[0]}, more than its BEST of {best}; raise BEST, or set "
            "it to None"
        )
    shown = ", ".join("–" if value is None else f"{value:.3g}" for value in values)
    return f"reward {name} ran on {frame.height} made-up completions: {shown}"


def try_source(source: Source, name: str, count: int) -> list[Prompt]:
    """The first prompts. Raises TrialError, SourceError for what is wrong with the data."""
    prompts: list[Any] = call_own(
        name, "read or prompt", lambda: preview(source, count), "raise BadRow for a bad row"
    )
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise TrialError(f"{name}: prompt returns {prompt!r:.60}; return self.make(…)")
    return prompts


def try_environment(name: str, options: Mapping[str, Any] | None = None) -> str:
    """Reset twice and take one step. Raises TrialError."""
    try:
        found = environment_class(name)
    except PluginError as error:
        raise TrialError(str(error)) from error
    made: Environment = call_own(name, "__init__", lambda: found(**(options or {})), "")
    action = Action(role="assistant", content="\u202e \U0001f600 I do not know.")
    first = _observed(name, "reset", lambda: made.reset(PROMPT, 0))
    _observed(name, "step", lambda: made.step(action))
    again = _observed(name, "reset", lambda: made.reset(PROMPT, 0))
    if first != again:
        raise TrialError(
            f"{name}: reset gives {first!r:.60} and then {again!r:.60} for the same prompt and "
            "seed; take everything random from the seed"
        )
    kind = "replayable" if made.replayable else "not replayable"
    return f"environment {name} was reset twice and took a step; it is {kind}"


def try_episode(source: str, prompt: Prompt, sampling: Sampling) -> tuple[str, Tools]:
    """Begin an episode on a source's first prompt, in its process, and take a step.

    Returns a line for the user, and the tools that the model is offered. Raises TrialError.
    """
    assert prompt.environment is not None
    name = prompt.environment.get("class") or prompt.environment["kind"]
    answer = Action(role="assistant", content="I do not know.", tool_calls=[], malformed=[])
    host = EnvironmentHost(step_limits(sampling))
    try:
        first = play(host, "first", prompt.environment, prompt, 0, [answer])
        again = play(host, "again", prompt.environment, prompt, 0, [answer])
    finally:
        host.close()
    failure = next((reply.failure for reply in (*first, *again) if reply.failure), None)
    if failure is not None:
        raise TrialError(
            f"source {source}: the environment {name} fails on the first prompt: {failure}; "
            "correct the class, or the options that it is given"
        )
    seen = [reply.observation for reply in first]
    if first[0].replayable and seen != [reply.observation for reply in again]:
        raise TrialError(
            f"source {source}: the environment {name} says that it is replayable, and shows "
            "something else the second time; take everything random from the seed, or set "
            "`replayable = False`"
        )
    begun = seen[0]
    assert begun is not None
    tools = prompt.tools or begun.tools
    offered = ", ".join(tool["function"]["name"] for tool in tools) or "none"
    kind = "replayable" if first[0].replayable else "not replayable"
    return f"  environment {name} began an episode; tools: {offered}; {kind}", tools


def _observed(name: str, method: str, call: Callable[[], Any]) -> Observation:
    found = call_own(name, method, call, "it must not raise on any text")
    if not isinstance(found, Observation):
        raise TrialError(f"{name}: {method} returns {found!r:.60}; return an Observation")
    try:
        json.dumps([list(found.messages), dict(found.state)])
    except (TypeError, ValueError) as error:
        raise TrialError(f"{name}: {method}: messages and state must fit JSON: {error}") from None
    if found.reward is not None and not math.isfinite(found.reward):
        raise TrialError(f"{name}: {method} gives the reward {found.reward}; give a number or None")
    return found


def try_engine(spec: EngineSpec, prompt: Prompt) -> str:
    """Open an engine that is not shipped, draw one sample, close it. Raises TrialError."""
    name = spec.engine.reference or spec.engine.kind
    request = Request(prompt, 0)
    with tempfile.TemporaryDirectory() as folder:
        engine = call_own(name, "__init__", lambda: open_engine(spec, Path(folder), 0), "")
        try:
            call_own(name, "submit", lambda: engine.submit(request), "")
            outcome: Any = None
            started = time.monotonic()
            while outcome is None:
                found = call_own(name, "completed", lambda: list(engine.completed()), "")
                outcome = next(iter(found), None)
                if outcome is None and time.monotonic() - started > ENGINE_SECONDS:
                    raise TrialError(
                        f"{name}: completed gave nothing in {ENGINE_SECONDS:.0f} s; give a Sample "
                        "or a Failure for every request"
                    )
        finally:
            call_own(name, "close", engine.close, "")
    if not isinstance(outcome, Sample | Failure):
        raise TrialError(f"{name}: completed gives {outcome!r:.60}; give Sample or Failure")
    if (outcome.prompt_id, outcome.index) != (prompt.id, 0):
        raise TrialError(
            f"{name}: completed gives the sample {outcome.sample_id} for the request "
            f"{request.sample_id}; keep the request's prompt_id and index"
        )
    what = "a sample" if isinstance(outcome, Sample) else f"the failure {outcome.kind!r}"
    return f"engine {name} opened, gave {what} for the first prompt, and closed"
