"""The recipe: the YAML a user writes, as a strict schema; and the fingerprints it has.

Three questions decide what a change to a recipe costs. Does it change a sample
(`EngineSpec.identity`)? Then samples of both kinds must not mix and the run is refused. Does it
change a verdict? Then the filters' own cache keys say which metrics are measured again. Anything
else changes neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from factory.core.errors import Problem, RecipeError, RunError
from factory.core.nouns import fingerprint
from factory.core.run_dir import read_manifest
from factory.prompts.references import References
from factory.prompts.source import Source
from factory.prompts.templates import Prompting
from factory.recipe.corpus import Corpus, ReviewOptions, Select
from factory.recipe.document import Document, Loc, load_document
from factory.recipe.engine import Engine, EngineSpec, Model
from factory.recipe.kinds import ASSEMBLY, KINDS, PIPELINE, SAMPLES, command
from factory.recipe.parsing import (
    Strict,
    explain_validation,
    parse_filters,
    parse_sources,
    problem_at,
    sort_problems,
)
from factory.recipe.sampling import Sampling
from filters.base import Filter


class Recipe(Strict):
    """One run: prompts, how they are sampled, judged and assembled."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the run directory: runs/<name> unless --run says otherwise.",
    )
    model: Model
    sources: tuple[SerializeAsAny[Source], ...] = Field(
        min_length=1, description="Where prompts come from; see the loaders."
    )
    prompting: Prompting = Field(default_factory=lambda: Prompting())
    engine: Engine = Field(default_factory=lambda: Engine())
    sampling: Sampling = Field(default_factory=lambda: Sampling())
    filters: dict[str, SerializeAsAny[Filter]] = Field(
        description="The filters, in order: a sample's reason is that of the first that takes it."
    )
    references: References = Field(default_factory=lambda: References())
    reviews: ReviewOptions = Field(default_factory=lambda: ReviewOptions())
    select: Select = Field(default_factory=lambda: Select())
    corpus: Corpus = Field(default_factory=lambda: Corpus())

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    def to_yaml(self) -> str:
        """What was written, with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    @property
    def engine_spec(self) -> EngineSpec:
        """The part of the recipe that engines know."""
        return EngineSpec(self.model, self.engine, self.prompting, self.sampling)

    def params_fp(self, level: int = 0) -> str:
        """Fingerprint of the settings that a sample is drawn with."""
        return self.engine_spec.params_fp(level)

    def params(self) -> dict[str, dict[str, Any]]:
        """Fingerprint → settings of every escalation level, the recipe as written first."""
        return self.engine_spec.params()

    def sources_fp(self) -> str:
        """Names what is loaded: the sources, and the local files they read as they are now."""
        parts: list[Any] = [self.references.bad, [source.identity() for source in self.sources]]
        if self.prompting.cot is not None:
            parts.append(self.prompting.cot.identity())  # its marks are kept with the prompts
        return fingerprint(parts)

    def fingerprint(self) -> str:
        """Changes whenever the corpus could: everything but how the work is carried out."""
        dump = self.model_dump(mode="json", exclude={"engine", "sources"})
        del dump["sampling"]["prices"]
        dump["prompting"] = self.prompting.identity()
        dump["filters"] = [[name, value] for name, value in dump["filters"].items()]
        return fingerprint([dump, self.sources_fp(), self.params_fp()])


def load_recipe(path: Path, assignments: Iterable[str] = ()) -> Recipe:
    """Read a recipe file. Raises RecipeError that lists everything wrong with it at once."""
    document = load_document(path, assignments)
    return parse_recipe(document)


def recipe_of_run(run: Path) -> Recipe:
    """The resolved recipe a run directory holds. Raises RunError where there is none."""
    path = run / "recipe.yaml"
    if not path.exists():
        raise RunError(f"{run} is no run directory: it has no recipe.yaml")
    refuse_assembly(run)
    return load_recipe(path)


def refuse_assembly(run: Path) -> None:
    """Raises RunError for a corpus that was mixed out of others: what is asked of is not there."""
    if read_manifest(run).get("kind") == ASSEMBLY:
        raise RunError(
            f"{run} is an assembly, which has no samples of its own; ask the runs it was made of "
            f"({run / 'recipe.yaml'} lists them)"
        )


def parse_recipe(document: Document) -> Recipe:
    """Check a document against the schema."""
    data = dict(document.data)
    if "kind" in data:
        raise RecipeError([problem_at(document, ("kind",), _another(data["kind"]))])
    problems: list[Problem] = []
    data["sources"] = parse_sources(data.get("sources"), document, problems)
    data["filters"] = parse_filters(data.get("filters"), document, problems)
    recipe = None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems.extend(explain_validation(error, (), Recipe, document))
    else:
        problems.extend(_misfits(recipe, document))
    if problems or recipe is None:
        raise RecipeError(sort_problems(problems))
    recipe._written = document.data
    return recipe


def _another(kind: object) -> str:
    """What to say of a recipe that is not the kind this command takes."""
    carried_out = command(kind)
    if carried_out is None:
        known = ", ".join((*(name for name in KINDS if name != SAMPLES), PIPELINE))
        return f"is {kind!r}; it must be one of {known}, or left out: then the recipe samples"
    return f"is {kind!r}; here a recipe that samples is wanted. `factory {carried_out}` takes it"


def _misfits(recipe: Recipe, document: Document) -> Iterator[Problem]:
    """What is right in each section and wrong between two."""
    if recipe.select.pick == "best" and recipe.select.score is None:
        what = "is 'best'; name the metric it goes by, such as `score: quality_score`"
        yield problem_at(document, ("select", "pick"), what)
    if recipe.engine.kind in ("vllm", "ray"):
        for level, step in enumerate(recipe.sampling.escalate):
            if step.model is not None:
                what = (
                    f"is {step.model!r}, but an embedded engine holds one model; it needs `server`"
                )
                yield problem_at(document, ("sampling", "escalate", level, "model"), what)
    drafts = [source.kind == "drafts" for source in recipe.sources]
    if recipe.prompting.template == "rewrite" and not all(drafts):
        place: Loc = ("sources", drafts.index(False), "kind")
        what = f"is {recipe.sources[drafts.index(False)].kind!r}; `template: rewrite` needs drafts"
        yield problem_at(document, place, what)
