"""The eval recipe: which model, on which prompts, k samples each, and what is made of them.

    kind: eval
    model: runs/sft
    sources: [{kind: gym, name: sums, task: chain_sum, verifier: math}]
    k: 4

What samples and judges is an ordinary recipe inside it (`Eval.recipe`), so that an evaluation's
directory is an ordinary run directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    ConfigDict,
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
from factory.recipe.engine import Engine, Model
from factory.recipe.parsing import Strict, explain_validation
from factory.recipe.sampling import Sampling
from filters.base import Filter
from filters.correctness import Correctness

KIND = "eval"

SHARED = ("name", "model", "sources", "prompting", "engine", "sampling", "filters")
"""The keys that mean here what they mean in a recipe that samples a corpus."""

FILTERS: dict[str, Any] = {"format": {}, "language": {}, "correctness": {}}

BY_FILTER = {"format": "format", "language": "language"}
"""Metrics that a filter measures, and which."""

PLAIN = ("tokens", "truncated", *BY_FILTER)
_AT = re.compile(r"(pass|cons)@(k|[1-9][0-9]*)")

K = Annotated[int, Field(ge=1, le=4096)]


class Bootstrap(Strict):
    """How intervals are made: percentiles of the mean over resampled prompts."""

    resamples: int = Field(10_000, ge=100, description="Draws of the prompts, with replacement.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Share of them the interval holds.")
    seed: int = Field(0, ge=0, description="Of the draws.")


def _or_text(schema: dict[str, Any]) -> None:
    """For editors: a plain string will do as well."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, whole]


class _AtPath(Strict):
    model_config = ConfigDict(json_schema_extra=_or_text)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str | Path) else value


class Against(_AtPath):
    """Another evaluation to compare with. A plain string is its `path`."""

    path: Path = Field(description="The directory of a finished evaluation of the same prompts.")
    name: str = Field("", description="What tables call it; its own name unless given.")


class Exclude(_AtPath):
    """Prompts a model may have been trained on. A plain string is its `path`."""

    path: Path = Field(
        description="A run directory, a folder of a corpus's Parquet files, or a recipe whose "
        "sources are loaded."
    )


class Eval(Strict):
    """One evaluation: a model's answers to some prompts, judged by the same filters as a corpus."""

    kind: Literal["eval"]
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the directory: runs/<name> unless --run says otherwise.",
    )
    model: Model
    sources: tuple[SerializeAsAny[Source], ...] = Field(
        min_length=1, description="Where prompts come from; each is reported on its own."
    )
    k: K | dict[str, K] = Field(
        4, description="Samples a prompt; or by the name of each source, where they differ."
    )
    prompting: Prompting = Field(default_factory=lambda: Prompting())
    engine: Engine = Field(default_factory=lambda: Engine())
    sampling: Sampling = Field(
        default_factory=lambda: Sampling(),
        description="How samples are drawn; how many is `k`.",
    )
    filters: dict[str, SerializeAsAny[Filter]] = Field(
        description="`correctness` decides what is right. Default: format, language, correctness.",
    )
    metrics: tuple[str, ...] | None = Field(
        None,
        description="Of pass@K, cons@K (K a number, or `k` for a source's own), tokens, truncated, "
        "format and language. Default: pass@1, pass@k, cons@k and the rest.",
    )
    bootstrap: Bootstrap = Field(default_factory=lambda: Bootstrap())
    against: tuple[Against, ...] = Field(
        (), description="Evaluations to compare with, prompt by prompt, by paired intervals."
    )
    exclude: tuple[Exclude, ...] = Field(
        (), description="Prompts to leave out: those whose question is asked there too."
    )
    step: int | None = Field(
        None, ge=0, description="The training step of this model, for a figure over training."
    )
    series: str = Field("", description="The line of that figure this evaluation is a point of.")

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
            if metric not in PLAIN and not _AT.fullmatch(metric):
                raise ValueError(
                    f"{metric!r} is no metric; there are pass@K, cons@K, {', '.join(PLAIN)}"
                )
        return metrics

    @model_validator(mode="after")
    def _fits(self) -> Self:
        judge = self.filters.get("correctness")
        if not isinstance(judge, Correctness):
            raise ValueError("filters has no correctness: nothing would say what is right")
        if judge.judge == "engine":
            raise ValueError(
                "filters.correctness.judge is engine: a model would mark its own work; name an "
                "endpoint, or another model to start"
            )
        if judge.unverifiable != "undecided":
            raise ValueError(
                "filters.correctness.unverifiable must be undecided: what nothing can verify is "
                "neither right nor wrong"
            )
        labels = [source.label for source in self.sources]
        if isinstance(self.k, dict) and set(self.k) != set(labels):
            raise ValueError(
                f"k names {', '.join(sorted(self.k))}; it must name each source: "
                f"{', '.join(sorted(labels))}"
            )
        for metric in self.metrics or ():
            at = _AT.fullmatch(metric)
            if at and at[2] != "k" and int(at[2]) > self.most:
                raise ValueError(
                    f"metrics asks for {metric}, but no prompt has more than k: {self.most} samples"
                )
            if metric in BY_FILTER and BY_FILTER[metric] not in self.filters:
                raise ValueError(
                    f"metrics asks for {metric}, which filters.{BY_FILTER[metric]} measures; add it"
                )
        return self

    @property
    def recipe(self) -> Recipe:
        """What samples and judges."""
        return self._recipe

    @property
    def most(self) -> int:
        """The largest k of any source."""
        return max(self.k.values()) if isinstance(self.k, dict) else self.k

    def k_of(self, source: str) -> int:
        return self.k[source] if isinstance(self.k, dict) else self.k

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The metrics by their full names, `k` filled in; each once."""
        own = sorted({self.k_of(source.label) for source in self.sources}, reverse=True)
        asked = self.metrics or (
            *("pass@1", "pass@k", "cons@k", "tokens", "truncated"),
            *(metric for metric in BY_FILTER if BY_FILTER[metric] in self.filters),
        )
        names: list[str] = []
        for metric in asked:
            kind, at, k = metric.partition("@")
            names += [f"{kind}@{each}" for each in own] if k == "k" else [kind + at + k]
        # Of one sample there is no majority.
        return tuple(name for name in dict.fromkeys(names) if name != "cons@1")

    def to_yaml(self) -> str:
        """What was written, with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> str:
        """Changes whenever the result could: everything but how the work is carried out."""
        own = self.model_dump(mode="json", exclude={*SHARED, "kind"})
        return fingerprint([own, self.recipe.fingerprint()])


def load_eval(path: Path, assignments: Iterable[str] = ()) -> Eval:
    """Read an eval recipe. Raises RecipeError that lists what is wrong with it."""
    document = load_document(path, assignments)
    return parse_eval(document)


def parse_eval(document: Document) -> Eval:
    """Check a document against the schema."""
    data = document.data
    if data.get("kind") != KIND:
        what = f"is {data.get('kind')!r}; an evaluation needs kind: {KIND}"
        raise RecipeError([Problem(f"{document.place(('kind',))}: kind", what)])
    problems: list[Problem] = []
    recipe = None
    shared = {key: data[key] for key in SHARED if key in data}
    try:
        shared["filters"] = data.get("filters", FILTERS)
        shared["sampling"] = _counted(document)
        recipe = parse_recipe(Document(shared, document.places))
    except RecipeError as error:
        problems += error.problems
    parts = {} if recipe is None else {key: getattr(recipe, key) for key in SHARED}
    own = {key: value for key, value in data.items() if key not in SHARED}
    try:
        found = Eval.model_validate({**own, **parts})
    except ValidationError as error:
        told = explain_validation(error, (), Eval, document)
        # Without its recipe the shared keys are all missing, which is not what is wrong.
        problems += [p for p in told if recipe is not None or _key(p) not in SHARED]
        raise RecipeError(problems) from None
    if problems or recipe is None:
        raise RecipeError(problems)
    found._recipe, found._written = recipe, data
    return found


SCHEDULING = ("n", "policy", "accept", "wave", "give_up_after", "escalate", "budget", "early_stop")
"""Keys of `sampling` that an evaluation has no use for: every prompt gets its k whole samples."""


def _counted(document: Document) -> Any:
    """The `sampling` section with `k` as its `n`."""
    sampling, k = document.data.get("sampling", {}), document.data.get("k", 4)
    if not isinstance(sampling, dict):
        return sampling
    unwanted = [key for key in SCHEDULING if key in sampling]
    if unwanted:
        what = "is no key of an evaluation, which draws k whole samples of every prompt"
        places = {key: document.place(("sampling", key)) for key in unwanted}
        raise RecipeError([Problem(f"{at}: sampling.{key}", what) for key, at in places.items()])
    counts = list(k.values()) if isinstance(k, dict) else [k]
    # A k that is no count is complained of where it belongs.
    return {**sampling, "n": max([n for n in counts if isinstance(n, int) and n > 0], default=1)}


def _key(problem: Problem) -> str:
    """The top-level key a problem is about."""
    return problem.place.rpartition(": ")[2].partition(".")[0]
