"""The assembly recipe: one corpus out of several runs, as a contract by domain.

    kind: assembly
    runs:
      - path: ../../runs/r1-math
    quotas:
      math: 395285                     # rows; or {tokens: 2.4e9}

Its `kind` tells it from a recipe that samples. The order of `runs` is a preference: of duplicates
the run listed first keeps its own. Nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import Domain
from factory.recipe.build import Recipe, parse_recipe
from factory.recipe.corpus import Corpus, Select
from factory.recipe.document import Document, load_document
from factory.recipe.kinds import ASSEMBLY
from factory.recipe.parsing import explain_validation, parse_part
from filters.contamination import Contamination


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSource(_Options):
    """A run or a corpus whose rows are taken, all or some."""

    path: Path = Field(
        description="A finished run's directory, or a folder of a corpus's Parquet files."
    )
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="What reports call it; the folder's name unless given.",
    )
    domains: tuple[Domain, ...] = Field((), description="Only rows of these domains; empty: all.")
    sources: tuple[str, ...] = Field((), description="Only rows of these sources; empty: all.")

    @property
    def label(self) -> str:
        return self.name or self.path.name


class Quota(_Options):
    """How much of a domain the corpus holds, both splits together. A plain number means rows."""

    rows: int | None = Field(None, ge=1, description="So many rows.")
    tokens: int | None = Field(
        None, ge=1, description="Or rows until they hold so many generated tokens."
    )
    select: Select | None = Field(
        None, description="How this domain's rows are selected, in place of the common `select`."
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: Any) -> Any:
        return {"rows": value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.rows is None) == (self.tokens is None):
            raise ValueError("give either rows or tokens")
        return self


class Balance(_Options):
    """Difficulty: what a quota takes of each band of pass rates.

    Where a band runs out, the others fill in for it. Rows of unknown pass rate come in proportion.
    """

    edges: tuple[float, ...] = Field(
        (), description="Where one band of pass rates ends and the next begins, as [0.25, 0.75]."
    )
    shares: tuple[float, ...] = Field(
        (), description="One a band, hardest first; equal unless given."
    )

    @model_validator(mode="after")
    def _bands(self) -> Self:
        edges = (0.0, *self.edges, 1.0)
        if any(low >= high for low, high in pairwise(edges)):
            raise ValueError("edges must rise and lie between 0 and 1")
        if self.shares and len(self.shares) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} bands: so many")
        if any(share <= 0 for share in self.shares):
            raise ValueError("shares must be more than 0")
        return self

    def weights(self) -> tuple[float, ...]:
        """The share of each band, hardest first."""
        return self.shares or (1.0,) * (len(self.edges) + 1)


class Assembly(_Options):
    """One corpus out of several runs."""

    kind: Literal["assembly"]
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the directory: runs/<name> unless --run says otherwise.",
    )
    runs: tuple[RunSource, ...] = Field(
        min_length=1, description="What is assembled; of duplicates the first listed is kept."
    )
    models: tuple[str, ...] = Field(
        (),
        description="The models whose rows may be mixed: a run that holds another's is refused. "
        "Without any, all may be, and the report counts them.",
    )
    select: Select = Field(
        default_factory=lambda: Select(), description="Which of a prompt's rows; all runs together."
    )
    quotas: dict[Domain, Quota] = Field(
        default_factory=dict,
        description="The contract by domain. Without any, every domain gives all it has; with "
        "some, a domain that has none gives nothing. Every prompt gives its first row before any "
        "gives its second.",
    )
    balance: Balance = Field(default_factory=lambda: Balance())
    near_duplicates: float | None = Field(
        0.8,
        ge=0.5,
        le=1,
        description="Prompts with the same answer whose word 5-grams are this similar (Jaccard) "
        "are one: the first keeps its rows. null: only prompts with the same id are one.",
    )
    contamination: Contamination = Field(
        default_factory=lambda: Contamination(),
        description="Evaluation sets: rows whose prompt overlaps one are left out.",
    )
    corpus: Corpus = Field(default_factory=lambda: Corpus())
    strict: bool = Field(
        False, description="Fail, and write nothing, where a quota cannot be filled."
    )

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("runs")
    @classmethod
    def _told_apart(cls, runs: tuple[RunSource, ...]) -> tuple[RunSource, ...]:
        for what, seen in (
            ("path", [str(run.path.resolve()) for run in runs]),
            ("name", [run.label for run in runs]),
        ):
            twice = next((value for value in seen if seen.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two of them have the {what} {twice}; give each its own")
        return runs

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.balance.edges and not self.quotas:
            raise ValueError("balance needs quotas: without them every row is taken")
        if any(select.score is not None for select in map(self.select_of, get_args(Domain))):
            raise ValueError(
                "select.score belongs to the runs' own recipes; an assembly goes by their `score`"
            )
        return self

    def quota_of(self, domain: str) -> Quota | None:
        """A domain's quota, where it has one."""
        return next((quota for name, quota in self.quotas.items() if name == domain), None)

    def select_of(self, domain: str) -> Select:
        """How a domain's rows are selected."""
        quota = self.quota_of(domain)
        return quota.select if quota and quota.select else self.select

    def to_yaml(self) -> str:
        """What was written, with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)


def is_assembly(document: Document) -> bool:
    """True for a document that assembles runs; anything else is a recipe that samples."""
    return document.data.get("kind") == ASSEMBLY


def load_build(path: Path, assignments: Iterable[str] = ()) -> Recipe | Assembly:
    """Read a file of either kind. Raises RecipeError that lists everything wrong with it."""
    return parse_build(load_document(path, assignments))


def parse_build(document: Document) -> Recipe | Assembly:
    """Check a document of either kind against its schema. Raises RecipeError."""
    if is_assembly(document):
        return parse_assembly(document)
    if "runs" in document.data:
        kind = document.data.get("kind")
        what = f"is {kind!r}; a recipe with `runs` needs kind: {ASSEMBLY}"
        raise RecipeError([Problem(f"{document.place(('kind',))}: kind", what)])
    return parse_recipe(document)


def load_assembly(path: Path, assignments: Iterable[str] = ()) -> Assembly:
    """Read an assembly recipe. Raises RecipeError, also for a recipe that samples."""
    loaded = load_build(path, assignments)
    if isinstance(loaded, Assembly):
        return loaded
    raise RecipeError([Problem(f"{path}: kind", f"is missing; an assembly needs kind: {ASSEMBLY}")])


def parse_assembly(document: Document) -> Assembly:
    """Check a document against the schema."""
    data, problems = dict(document.data), list[Problem]()
    # One by one, so that a wrong key is answered with the keys of its own part.
    if isinstance(data.get("runs"), list):
        data["runs"] = [
            parse_part(RunSource, run, ("runs", number), document, problems)
            for number, run in enumerate(data["runs"])
        ]
    if isinstance(data.get("quotas"), dict):
        data["quotas"] = {
            domain: parse_part(Quota, quota, ("quotas", domain), document, problems)
            for domain, quota in data["quotas"].items()
        }
    if problems:
        raise RecipeError(problems)
    try:
        assembly = Assembly.model_validate(data)
    except ValidationError as error:
        raise RecipeError(explain_validation(error, (), Assembly, document)) from None
    assembly._written = document.data
    return assembly
