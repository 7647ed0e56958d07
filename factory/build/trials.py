"""Every kind of extension, tried on one synthetic item: what is wrong with it, and what to do.

`factory validate` runs these on the classes that a recipe names, and on a class by itself.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from factory.core.environment import Environment, Observation, environment_class
from factory.core.errors import FactoryError
from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.core.plugins import PluginError, find_class, line_in
from factory.core.think import join_think, split_think_exprs
from factory.prompts.load import preview
from factory.prompts.source import Source
from factory.recipe.rewards import Batch, Reward
from factory.sampling.engine import Request, open_engine
from filters.base import BASE_COLUMNS, INPUT_COLUMNS, Filter, Rule

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

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


class TrialError(FactoryError):
    """A class of the user's own, or of an installed package, does not do what its kind must."""

    exit_code = 2


def try_reference(reference: str) -> Iterator[str]:
    """Try a class that stands by itself, `path/to/file.py:Class`, as whatever kind it is.

    Raises TrialError, PluginError's message in it where the class cannot be loaded.
    """
    try:
        found: type = find_class({}, reference, object, "")
    except PluginError as error:
        raise TrialError(str(error)) from error
    if issubclass(found, BaseModel):
        try:
            made = found.model_validate({"kind": "trial"} if "kind" in found.model_fields else {})
        except ValidationError as error:
            keys = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
            raise TrialError(
                f"{reference}: it needs {keys or 'options'}; name it in a recipe with these keys, "
                "and validate the recipe"
            ) from error
    yield from _try_kind(reference, found, made if issubclass(found, BaseModel) else None)


def _try_kind(reference: str, found: type, made: BaseModel | None) -> Iterator[str]:
    from factory.export.formats import ExportFormat

    if isinstance(made, Filter):
        yield try_filter(made, reference)
    elif isinstance(made, Reward):
        yield try_reward(made, reference)
    elif isinstance(made, Source):
        yield from try_source(made, reference)
    elif issubclass(found, ExportFormat):
        yield try_format(found, reference)
    elif hasattr(found, "reset") and hasattr(found, "step"):
        yield try_environment(reference)
    elif hasattr(found, "submit") and hasattr(found, "completed"):
        yield f"{reference} looks like an engine; name it in a recipe, and validate the recipe"
    elif isinstance(made, _own_verifier()):
        yield f"{reference} is a verifier; name it in a recipe, and validate the recipe"
    else:
        raise TrialError(
            f"{reference} is neither a filter, loader, verifier, reward, environment, exporter nor "
            "engine; derive it from the base class of what it is to be (docs/how-to/add-a-….md)"
        )


def _own_verifier() -> type:
    from filters.verify.own import OwnVerifier

    return OwnVerifier


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
        .with_columns(**split_think_exprs())
        .select(INPUT_COLUMNS)
    )


def try_filter(judge: Filter, name: str) -> str:
    """Measure and decide the synthetic completions. Raises TrialError."""
    frame = sample_frame()
    columns = f"the columns are {', '.join(INPUT_COLUMNS)}"
    measured = _call(name, "measure", lambda: judge.measure(frame), columns)
    if not isinstance(measured, pl.DataFrame):
        kind = type(measured).__name__
        raise TrialError(f"{name}: measure returns {kind}; return a Polars DataFrame")
    if "sample_id" not in measured.columns or not measured["sample_id"].equals(frame["sample_id"]):
        raise TrialError(
            f"{name}: measure returns {measured.height} rows with the columns "
            f"{', '.join(measured.columns)} for {frame.height} samples; return sample_id and a "
            "column for each metric, one row per sample, in their order"
        )
    rules = _call(name, "rules", judge.rules, "return a list of filters.base.Rule")
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
    decided = _call(
        name, "a rule", lambda: judge.decide(base.with_columns(**rates)), "correct the rule"
    )
    kept = int((decided["decision"] == "keep").sum())
    return f"filter {name} ran on {frame.height} made-up completions and keeps {kept}"


def try_reward(reward: Reward, name: str) -> str:
    """Score the synthetic completions. Raises TrialError."""
    frame = sample_frame()
    batch = Batch(frame, [PROMPT] * frame.height)
    values = _call(name, "score", lambda: reward.score(batch), "return a list of numbers")
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


def try_source(source: Source, name: str) -> Iterator[str]:
    """Load the first prompts. Raises TrialError, SourceError for what is wrong with the data."""
    prompts = _call(name, "read or prompt", lambda: preview(source), "raise BadRow for a bad row")
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise TrialError(f"{name}: prompt returns {prompt!r:.60}; return self.make(…)")
        yield f"  {prompt.id}  {prompt.domain}: {' '.join(prompt.question.split())[:80]}"
    yield f"loader {name} gave {len(prompts)} prompts"


def try_format(found: type, name: str) -> str:
    """Write one row. Raises TrialError."""
    from factory.export.layouts import Conversation, Layout

    made = _call(name, "__init__", found, "an exporter is made without arguments")
    layouts = getattr(made, "layouts", None)
    if not isinstance(layouts, Mapping) or not layouts:
        raise TrialError(f"{name}: layouts is {layouts!r:.60}; set it to a mapping of layouts")
    path = getattr(made, "path", None)
    if not isinstance(path, str) or "{" not in path:
        raise TrialError(f"{name}: path is {path!r}; set it, with {{split}} or {{shard}} in it")
    for key, layout in layouts.items():
        if not isinstance(layout, Layout):
            raise TrialError(f"{name}: layouts[{key!r}] is {layout!r:.60}, no Layout")
    layout = next(iter(layouts.values()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.format(split="train", shard="train-00000-of-00001")
        writer = _call(name, "writer", lambda: made.writer(file, layout), "open the file at path")
        if isinstance(layout, Conversation):
            turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
            _call(name, "write", lambda: writer.write([{"id": "x-0", "messages": turns}]), "")
        _call(name, "close", writer.close, "")
        size = file.stat().st_size if file.exists() else 0
    if not size:
        raise TrialError(
            f"{name}: its writer wrote nothing to {file.name}; write to the path given"
        )
    return f"exporter {name} wrote one made-up row to {file.name}, {size:,} bytes"


def try_environment(name: str, options: Mapping[str, Any] | None = None) -> str:
    """Reset twice and take one step. Raises TrialError."""
    try:
        found = environment_class(name)
    except PluginError as error:
        raise TrialError(str(error)) from error
    made: Environment = _call(name, "__init__", lambda: found(**(options or {})), "")
    action = Message(role="assistant", content="\u202e \U0001f600 I do not know.")
    first = _observed(name, "reset", lambda: made.reset(PROMPT, 0))
    _observed(name, "step", lambda: made.step(action))
    again = _observed(name, "reset", lambda: made.reset(PROMPT, 0))
    if first != again:
        raise TrialError(
            f"{name}: reset gives {first!r:.60} and then {again!r:.60} for the same prompt and "
            "seed; take everything random from the seed"
        )
    return f"environment {name} was reset twice and took a step; episodes are not played yet"


def _observed(name: str, method: str, call: Callable[[], Any]) -> Observation:
    found = _call(name, method, call, "it must not raise on any text")
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
        engine = _call(name, "__init__", lambda: open_engine(spec, Path(folder), 0), "")
        try:
            _call(name, "submit", lambda: engine.submit(request), "")
            outcome: Any = None
            started = time.monotonic()
            while outcome is None:
                found = _call(name, "completed", lambda: list(engine.completed()), "")
                outcome = next(iter(found), None)
                if outcome is None and time.monotonic() - started > ENGINE_SECONDS:
                    raise TrialError(
                        f"{name}: completed gave nothing in {ENGINE_SECONDS:.0f} s; give a Sample "
                        "or a Failure for every request"
                    )
        finally:
            _call(name, "close", engine.close, "")
    if not isinstance(outcome, Sample | Failure):
        raise TrialError(f"{name}: completed gives {outcome!r:.60}; give Sample or Failure")
    if (outcome.prompt_id, outcome.index) != (prompt.id, 0):
        raise TrialError(
            f"{name}: completed gives the sample {outcome.sample_id} for the request "
            f"{request.sample_id}; keep the request's prompt_id and index"
        )
    what = "a sample" if isinstance(outcome, Sample) else f"the failure {outcome.kind!r}"
    return f"engine {name} opened, gave {what} for the first prompt, and closed"


def _call(name: str, method: str, call: Callable[[], Result], remedy: str) -> Result:
    """The result of a user's method. Raises TrialError that names it and the line that failed."""
    try:
        return call()
    except FactoryError:
        raise
    except Exception as error:  # a user's class may raise anything
        file = Path(name.rpartition(":")[0])
        line = line_in(file.resolve(), error) if file.suffix == ".py" else ""
        at = f" at line {line[1:]}" if line else ""
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = f"; {remedy}" if remedy else ""
        raise TrialError(f"{name}: {method} raises {what}{at}{advice}") from error
