"""The assembly recipe: one corpus from several runs, with quotas per domain.

    kind: assembly
    runs:
      - path: ../../runs/r1-math
    quotas:
      math: 395285                     # rows; or {tokens: 2.4e9}

Its `kind` distinguishes it from a recipe that samples. The order of `runs` is a preference: among
duplicates the row of the run listed first is kept. Nothing else depends on the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

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
from factory.recipe.build import Recipe, parse_recipe
from factory.recipe.corpus import Corpus, Select
from factory.recipe.document import Document, load_document
from factory.recipe.kinds import ASSEMBLY
from factory.recipe.parsing import NAME_PATTERN, explain_validation, parse_part
from filters.contamination import Contamination


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSource(_Options):
    """A run or a corpus that the assembly uses, with all or some of its rows."""

    path: Path = Field(
        description="Directory of a finished run, or folder with the Parquet files of a corpus."
    )
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Name in reports. Default: the name of the folder.",
    )
    domains: tuple[str, ...] = Field((), description="Use only rows of these domains. Empty: all.")
    sources: tuple[str, ...] = Field((), description="Use only rows of these sources. Empty: all.")

    @property
    def label(self) -> str:
        return self.name or self.path.name


class Quota(_Options):
    """Size of a domain in the corpus, both splits together. A plain number means rows."""

    rows: int | None = Field(None, ge=1, description="Number of rows.")
    tokens: int | None = Field(
        None, ge=1, description="Number of generated tokens, instead of `rows`."
    )
    select: Select | None = Field(
        None, description="Selection of this domain's rows, instead of the common `select`."
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
    """Difficulty: the share of each band of pass rates in a quota.

    If a band has too few rows, the other bands fill the gap. Rows with unknown pass rate keep their
    proportion.
    """

    edges: tuple[float, ...] = Field(
        (), description="Boundaries between bands of pass rates, for example [0.25, 0.75]."
    )
    shares: tuple[float, ...] = Field(
        (), description="One share per band, hardest first. Default: equal shares."
    )

    @model_validator(mode="after")
    def _bands(self) -> Self:
        edges = (0.0, *self.edges, 1.0)
        if any(low >= high for low, high in pairwise(edges)):
            raise ValueError("edges must rise and lie between 0 and 1")
        if self.shares and len(self.shares) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} bands; give as many shares"
            )
        if any(share <= 0 for share in self.shares):
            raise ValueError("shares must be more than 0")
        return self

    def weights(self) -> tuple[float, ...]:
        """Return the share of each band, hardest first."""
        return self.shares or (1.0,) * (len(self.edges) + 1)


class Assembly(_Options):
    """One corpus from several runs."""

    kind: Literal["assembly"]
    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the directory: runs/<name>, unless --run is given.",
    )
    runs: tuple[RunSource, ...] = Field(
        min_length=1,
        description="The runs to assemble. Among duplicates the row of the first run is kept.",
    )
    models: tuple[str, ...] = Field(
        (),
        description="Models whose rows may be mixed. A run with rows of another model is refused. "
        "Empty: all models are allowed, and the report counts them.",
    )
    select: Select = Field(
        default_factory=lambda: Select(),
        description="Selection among a prompt's rows, over all runs together.",
    )
    quotas: dict[str, Quota] = Field(
        default_factory=dict,
        description="Quotas per domain. Empty: all rows of every domain are used. Otherwise a "
        "domain without a quota is left out. Every prompt gives its first row before any prompt "
        "gives its second.",
    )
    balance: Balance = Field(default_factory=lambda: Balance())
    near_duplicates: float | None = Field(
        0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity of word 5-grams from which prompts with the same answer "
        "are duplicates. The first keeps its rows. null: only equal prompt ids are duplicates.",
    )
    contamination: Contamination = Field(
        default_factory=lambda: Contamination(),
        description="Evaluation sets. Rows whose prompt overlaps with one are left out.",
    )
    corpus: Corpus = Field(default_factory=lambda: Corpus())
    strict: bool = Field(
        False, description="Fail without writing anything if a quota can't be filled."
    )

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("runs")
    @classmethod
    def _require_distinct(cls, runs: tuple[RunSource, ...]) -> tuple[RunSource, ...]:
        for what, seen in (
            ("path", [str(run.path.resolve()) for run in runs]),
            ("name", [run.label for run in runs]),
        ):
            twice = next((value for value in seen if seen.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two runs have the same {what} {twice}; give each its own")
        return runs

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.balance.edges and not self.quotas:
            raise ValueError("balance needs quotas: without them all rows are used")
        chosen = (self.select, *(quota.select for quota in self.quotas.values()))
        if any(select is not None and select.score is not None for select in chosen):
            raise ValueError(
                "select.score belongs in the runs' recipes; an assembly uses their column `score`"
            )
        return self

    def quota_of(self, domain: str) -> Quota | None:
        """Return a domain's quota, or None."""
        return next((quota for name, quota in self.quotas.items() if name == domain), None)

    def select_of(self, domain: str) -> Select:
        """Return the selection of a domain's rows."""
        quota = self.quota_of(domain)
        return quota.select if quota and quota.select else self.select

    def to_yaml(self) -> str:
        """Return the recipe as YAML with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)


def is_assembly(document: Document) -> bool:
    """Return whether a document is an assembly."""
    return document.data.get("kind") == ASSEMBLY


def load_build(path: Path, assignments: Iterable[str] = ()) -> Recipe | Assembly:
    """Read a recipe or an assembly. Raises RecipeError that lists all problems."""
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
    """Validate a document. Raises RecipeError that lists all problems."""
    data, problems = dict(document.data), list[Problem]()
    # Parse the parts one by one, so that errors list the keys of the right part.
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
