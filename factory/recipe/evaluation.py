"""The eval recipe: a model, prompts, k samples per prompt, and metrics.

    kind: eval
    model: runs/sft
    sources: [{kind: gym, name: sums, task: chain_sum, verifier: math}]
    k: 4

Sampling and judging use an ordinary recipe inside it (`Eval.recipe`), so that the directory of an
evaluation is an ordinary run directory.

Metrics that read several samples of a prompt:

pass@K           any of the samples is right: the bound for every choice (an oracle)
cons@K           the answer with the most votes (Wang et al., arXiv 2203.11171), as R1 reports it
vote@K:METRIC    the answer with the most votes, each weighted by METRIC
best@K:METRIC    the answer of the sample with the highest METRIC (best of n)

K is a number of samples, `k` for the source's own, or `Nt`: as many samples as have together at
most N generated tokens. So all choices with the same K read the same samples, and cost the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import fingerprint
from factory.prompts.source import Source
from factory.prompts.templates import Prompting
from factory.recipe.build import Recipe, parse_recipe
from factory.recipe.document import Document, load_document
from factory.recipe.engines.options import Engine, Model
from factory.recipe.exclusion import AtPath, Exclude
from factory.recipe.parsing import NAME_PATTERN, Strict, explain_validation
from factory.recipe.sampling import SEARCHES, Sampling
from factory.recipe.watching import WATCHING, MetricsPort, NotifyEnv, NotifyUrl, Trackers
from filters.base import Filter
from filters.correctness import Correctness

KIND = "eval"

SHARED = ("name", "model", "sources", "prompting", "engine", "sampling", "filters")
"""Keys with the same meaning as in a recipe that samples a corpus."""

FILTERS: dict[str, Any] = {"format": {}, "language": {}, "correctness": {}}

BY_FILTER = {"format": "format", "language": "language"}
"""Metric → the filter that measures it."""

PLAIN = ("tokens", "truncated", *BY_FILTER)

CHOICE = re.compile(
    r"(?P<kind>pass|cons|vote|best)@(?P<k>k|[1-9][0-9]*t?)(?::(?P<score>[A-Za-z][A-Za-z0-9_]*))?"
)
"""The name of a metric of several samples."""

SCORED = ("vote", "best")
"""Kinds that need the metric of a filter."""


class Choice(NamedTuple):
    """A metric's name, in parts. Neither `k` nor `budget` is set where K is `k`."""

    kind: str
    k: int | None
    budget: int | None
    score: str | None

    @property
    def at(self) -> str:
        """Return K: which samples are read."""
        return f"{self.budget}t" if self.budget is not None else str(self.k or "k")

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.at}" + (f":{self.score}" if self.score else "")


def parse_choice(name: str) -> Choice | None:
    """Return the parts of a metric's name; None if it names no metric of several samples.

    >>> parse_choice("best@8:steps_min")
    Choice(kind='best', k=8, budget=None, score='steps_min')
    >>> parse_choice("best@8"), parse_choice("cons@8:steps_min")
    (None, None)
    """
    found = CHOICE.fullmatch(name)
    if found is None or (found["kind"] in SCORED) != (found["score"] is not None):
        return None
    text = found["k"]
    budget = int(text[:-1]) if text.endswith("t") else None
    k = None if text == "k" or budget is not None else int(text)
    return Choice(found["kind"], k, budget, found["score"])


K = Annotated[int, Field(ge=1, le=4096)]


class Bootstrap(Strict):
    """Bootstrap intervals: percentiles of the mean over resampled prompts."""

    resamples: int = Field(
        10_000, ge=100, description="Number of resamples of the prompts, with replacement."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence level of the interval.")
    seed: int = Field(0, ge=0, description="Random seed for the resamples.")


class Against(AtPath):
    """Another evaluation for comparison. A plain string is its `path`."""

    path: Path = Field(description="Directory of a finished evaluation of the same prompts.")
    name: str = Field("", description="Name in tables. Default: the evaluation's name.")


class Eval(Strict):
    """One evaluation: a model's answers to prompts, judged by the same filters as a corpus."""

    kind: Literal["eval"]
    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the directory: runs/<name>, unless --run is given.",
    )
    model: Model
    sources: tuple[SerializeAsAny[Source], ...] = Field(
        min_length=1, description="Sources of the prompts. Each is reported separately."
    )
    k: K | dict[str, K] = Field(
        4, description="Samples per prompt: one number, or one per source name."
    )
    prompting: Prompting = Field(default_factory=lambda: Prompting())
    engine: Engine = Field(default_factory=lambda: Engine())
    sampling: Sampling = Field(
        default_factory=lambda: Sampling(),
        description="Sampling settings. The number of samples is `k`.",
    )
    filters: dict[str, SerializeAsAny[Filter]] = Field(
        description="Filters; `correctness` is required. Default: format, language, correctness.",
    )
    metrics: tuple[str, ...] | None = Field(
        None,
        description="Metrics: pass@K, cons@K, vote@K:SCORE (votes weighted by a filter's metric), "
        "best@K:SCORE (the sample with the highest), tokens, truncated, format, language. K is a "
        "number of samples, `k` for the source's own, or a budget of generated tokens (`2000t`). "
        "Default: pass@1, pass@k, cons@k and the others.",
    )
    bootstrap: Bootstrap = Field(default_factory=lambda: Bootstrap())
    against: tuple[Against, ...] = Field(
        (), description="Evaluations to compare with, by paired intervals over prompts."
    )
    exclude: tuple[Exclude, ...] = Field(
        (), description="Prompts to leave out: those whose question also occurs there."
    )
    step: int | None = Field(
        None, ge=0, description="Training step of this model, for a figure over training."
    )
    series: str = Field("", description="Line of that figure to which this evaluation belongs.")
    track: Trackers = ()
    metrics_port: MetricsPort = None
    notify: NotifyUrl = None
    notify_env: NotifyEnv = None

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)
    _recipe: Recipe = PrivateAttr()

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for metric in metrics or ():
            if metric not in PLAIN and not parse_choice(metric):
                raise ValueError(
                    f"{metric!r} is not a metric; choose from pass@K, cons@K, vote@K:SCORE, "
                    f"best@K:SCORE, {', '.join(PLAIN)}"
                )
        return metrics

    @model_validator(mode="after")
    def _fits(self) -> Self:
        filter_ = self.filters.get("correctness")
        if not isinstance(filter_, Correctness):
            raise ValueError("filters has no correctness, which an evaluation needs")
        if filter_.judge == "engine":
            raise ValueError(
                "filters.correctness.judge is engine: the model would judge its own answers; name "
                "an endpoint, or another model to start"
            )
        if filter_.unverifiable != "undecided":
            raise ValueError(
                "filters.correctness.unverifiable must be undecided: an answer that can't be "
                "verified is neither correct nor wrong"
            )
        search = self.sampling.search
        if search is not None and search.value.verifier:
            raise ValueError(
                "sampling.search.value.verifier knows the answers, so nothing would be measured; "
                "use process_model, reward_model or class"
            )
        if filter_.consensus != "undecided":
            raise ValueError(
                "filters.correctness.consensus must be undecided: a vote says nothing about "
                "whether an answer is right"
            )
        labels = [source.label for source in self.sources]
        if isinstance(self.k, dict) and set(self.k) != set(labels):
            raise ValueError(
                f"k names {', '.join(sorted(self.k))}; it must name each source: "
                f"{', '.join(sorted(labels))}"
            )
        for metric in self.metrics or ():
            choice = parse_choice(metric)
            if choice and choice.k is not None and choice.k > self.max_k:
                raise ValueError(
                    f"metrics has {metric}, but no prompt has more than k: {self.max_k} samples"
                )
            if metric in BY_FILTER and BY_FILTER[metric] not in self.filters:
                raise ValueError(
                    f"metrics has {metric}, which needs filters.{BY_FILTER[metric]}; add it"
                )
        return self

    @property
    def recipe(self) -> Recipe:
        """The recipe that samples and judges."""
        return self._recipe

    @property
    def max_k(self) -> int:
        """The largest k of any source."""
        return max(self.k.values()) if isinstance(self.k, dict) else self.k

    def k_of(self, source: str) -> int:
        return self.k[source] if isinstance(self.k, dict) else self.k

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The metrics by full name, with `k` replaced, without repeats."""
        own = sorted({self.k_of(source.label) for source in self.sources}, reverse=True)
        asked = self.metrics or (
            *("pass@1", "pass@k", "cons@k", "tokens", "truncated"),
            *(metric for metric in BY_FILTER if BY_FILTER[metric] in self.filters),
        )
        names: list[str] = []
        for metric in asked:
            choice = parse_choice(metric)
            every = choice is not None and choice.at == "k"
            names += (
                [choice._replace(k=each).name for each in own] if choice and every else [metric]
            )
        # One sample has no majority.
        return tuple(name for name in dict.fromkeys(names) if name != "cons@1")

    def to_yaml(self) -> str:
        """Return the recipe as YAML with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> str:
        """Return a hash of all settings that may change the result."""
        own = self.model_dump(mode="json", exclude={*SHARED, *WATCHING, "kind"})
        return fingerprint([own, self.recipe.fingerprint()])


def load_eval(path: Path, assignments: Iterable[str] = ()) -> Eval:
    """Read an eval recipe. Raises RecipeError that lists all problems."""
    document = load_document(path, assignments)
    return parse_eval(document)


def parse_eval(document: Document) -> Eval:
    """Validate a document. Raises RecipeError that lists all problems."""
    data = document.data
    if data.get("kind") != KIND:
        what = f"is {data.get('kind')!r}; an evaluation needs kind: {KIND}"
        raise RecipeError([Problem(f"{document.place(('kind',))}: kind", what)])
    problems: list[Problem] = []
    recipe = None
    shared = {key: data[key] for key in SHARED if key in data}
    try:
        shared["filters"] = data.get("filters", FILTERS)
        shared["sampling"] = _with_k(document)
        recipe = parse_recipe(Document(shared, document.places))
    except RecipeError as error:
        problems += error.problems
    parts = {} if recipe is None else {key: getattr(recipe, key) for key in SHARED}
    own = {key: value for key, value in data.items() if key not in SHARED}
    try:
        found = Eval.model_validate({**own, **parts})
    except ValidationError as error:
        own_problems = explain_validation(error, (), Eval, document)
        # Without its recipe all shared keys are missing, which is not the real problem.
        problems += [p for p in own_problems if recipe is not None or _key(p) not in SHARED]
        raise RecipeError(problems) from None
    if problems or recipe is None:
        raise RecipeError(problems)
    found._recipe, found._written = recipe, data
    return found


SCHEDULING = ("n", "policy", "accept", "wave", "give_up_after", "escalate", "budget", "early_stop")
"""Keys of `sampling` that an evaluation refuses: each prompt gets exactly k complete samples."""


def _with_k(document: Document) -> Any:
    """Return the `sampling` section with `k` as its `n`."""
    sampling, k = document.data.get("sampling", {}), document.data.get("k", 4)
    if not isinstance(sampling, dict):
        return sampling
    unwanted = [key for key in SCHEDULING if key in sampling]
    if sampling.get("policy") in SEARCHES:  # each of k samples is the answer of a search
        unwanted.remove("policy")
    if unwanted:
        what = "is not allowed in an evaluation, which draws k complete samples per prompt"
        places = {key: document.place(("sampling", key)) for key in unwanted}
        raise RecipeError([Problem(f"{at}: sampling.{key}", what) for key, at in places.items()])
    counts = list(k.values()) if isinstance(k, dict) else [k]
    # An invalid k is reported at its own place.
    return {**sampling, "n": max([n for n in counts if isinstance(n, int) and n > 0], default=1)}


def _key(problem: Problem) -> str:
    """Return the top-level key of a problem."""
    return problem.place.rpartition(": ")[2].partition(".")[0]
