"""The recipe: the strict schema of the user's YAML, and its fingerprints.

The cost of a change depends on what it affects. If it changes samples (`EngineSpec.identity`), the
run is refused, because samples of both kinds must not be mixed. If it changes metrics, the filters'
cache keys decide which ones are measured again. Other changes affect neither.
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
from factory.recipe.corpus import Corpus, Judging, ReviewOptions, Select
from factory.recipe.document import Document, Loc, load_document
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine, Model
from factory.recipe.kinds import ASSEMBLY, KINDS, PIPELINE, SAMPLES, command
from factory.recipe.parsing import (
    NAME_PATTERN,
    Strict,
    explain_validation,
    find_metric_clashes,
    parse_filters,
    parse_sources,
    problem_at,
    sort_problems,
)
from factory.recipe.sampling import Sampling
from factory.recipe.watching import WATCHING, MetricsPort, NotifyEnv, NotifyUrl, Trackers
from factory.stores.options import Store
from filters.base import Filter
from filters.correctness import Correctness

MISSING = object()


class Recipe(Strict):
    """One run: its prompts, and how they are sampled, judged and assembled."""

    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the run directory: runs/<name>, unless --run is given.",
    )
    model: Model
    sources: tuple[SerializeAsAny[Source], ...] = Field(
        min_length=1, description="Sources of the prompts; see the loaders."
    )
    prompting: Prompting = Field(default_factory=lambda: Prompting())
    engine: Engine = Field(default_factory=lambda: Engine())
    sampling: Sampling = Field(default_factory=lambda: Sampling())
    filters: dict[str, SerializeAsAny[Filter]] = Field(
        description="The filters in order. The first filter that drops a sample gives its reason."
    )
    judging: Judging = Field(default_factory=lambda: Judging())
    references: References = Field(default_factory=lambda: References())
    reviews: ReviewOptions = Field(default_factory=lambda: ReviewOptions())
    select: Select = Field(default_factory=lambda: Select())
    corpus: Corpus = Field(default_factory=lambda: Corpus())
    track: Trackers = ()
    metrics_port: MetricsPort = None
    notify: NotifyUrl = None
    notify_env: NotifyEnv = None
    store: Store | None = Field(
        None, description="An object store that has a copy of the run, such as s3://bucket/prefix."
    )

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @field_validator("store", mode="before")
    @classmethod
    def _store_by_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    def to_yaml(self) -> str:
        """Return the recipe as YAML with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._written, sort_keys=False, allow_unicode=True)

    @property
    def engine_spec(self) -> EngineSpec:
        """The part of the recipe that engines use."""
        return EngineSpec(self.model, self.engine, self.prompting, self.sampling)

    def params_fp(self, level: int = 0) -> str:
        """Return the fingerprint of the settings that a sample is drawn with."""
        return self.engine_spec.params_fp(level)

    def params(self) -> dict[str, dict[str, Any]]:
        """Return fingerprint → settings for every escalation level, level 0 first."""
        return self.engine_spec.params()

    def sources_fp(self) -> str:
        """Return a fingerprint of the sources, including the current state of local files."""
        parts: list[Any] = [self.references.bad, [source.identity() for source in self.sources]]
        parts += [source.SOURCE for source in self.sources if source.SOURCE]
        if self.prompting.cot is not None:
            parts.append(self.prompting.cot.identity())  # its marks are stored with the prompts
        return fingerprint(parts)

    def fingerprint(self) -> str:
        """Return a hash of all settings that may change the corpus."""
        left_out = {"engine", "sources", "store", "judging", *WATCHING}
        dump = self.model_dump(mode="json", exclude=left_out)
        del dump["sampling"]["prices"], dump["corpus"]["min_rows"]
        for name in ("episode", "keep", "search"):  # params_fp has what matters
            del dump["sampling"][name]
        if self.sampling.pending is None:  # as before there was such a key
            del dump["sampling"]["pending"]
        levels = self.engine_spec.levels()
        dump["sampling"]["teachers"] = [self.params_fp(level) for level in levels]
        if not self.sampling.teachers:  # as before there was such a key
            del dump["sampling"]["teachers"]
        dump["prompting"] = self.prompting.identity()
        dump["filters"] = [[name, value] for name, value in dump["filters"].items()]
        return fingerprint([dump, self.sources_fp(), self.params_fp()])


def load_recipe(path: Path, assignments: Iterable[str] = ()) -> Recipe:
    """Read a recipe file. Raises RecipeError that lists all problems."""
    document = load_document(path, assignments)
    return parse_recipe(document)


def load_run_recipe(run: Path) -> Recipe:
    """Load the resolved recipe of a run directory. Raises RunError if there is none."""
    path = run / "recipe.yaml"
    if not path.exists():
        raise RunError(f"{run} is not a run directory: it has no recipe.yaml")
    refuse_assembly(run)
    return load_recipe(path)


def refuse_assembly(run: Path) -> None:
    """Raise RunError if the run is an assembly, which has no samples of its own."""
    if read_manifest(run).get("kind") == ASSEMBLY:
        raise RunError(
            f"{run} is an assembly, which has no samples of its own; use the runs it was made from "
            f"({run / 'recipe.yaml'} lists them)"
        )


def parse_recipe(document: Document) -> Recipe:
    """Validate a document. Raises RecipeError that lists all problems."""
    data = dict(document.data)
    if "kind" in data:
        raise RecipeError([problem_at(document, ("kind",), _describe_wrong_kind(data["kind"]))])
    problems: list[Problem] = []
    filters = data.get("filters", MISSING)
    if filters is MISSING or not (filters is None or isinstance(filters, dict)):
        state = "is missing" if filters is MISSING else f"is {filters!r:.60}, not a mapping"
        what = f"{state}; name filters, such as `format: {{}}` and `correctness: {{}}`, or write "
        problems.append(problem_at(document, ("filters",), what + "{} to check nothing"))
        data["filters"] = {}
    data["sources"] = parse_sources(data.get("sources"), document, problems)
    data["filters"] = parse_filters(data.get("filters"), document, problems)
    recipe = None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems.extend(explain_validation(error, (), Recipe, document))
    else:
        problems.extend(_find_conflicts(recipe, document))
        for filter_ in recipe.filters.values():
            if isinstance(filter_, Correctness):
                filter_.note_verifiers(
                    name for source in recipe.sources for name in source.own_verifiers()
                )
    if problems or recipe is None:
        raise RecipeError(sort_problems(problems))
    recipe._written = document.data
    return recipe


def _describe_wrong_kind(kind: object) -> str:
    """Return the problem of a recipe whose kind this command doesn't run."""
    runner = command(kind)
    if runner is None:
        known = ", ".join((*(name for name in KINDS if name != SAMPLES), PIPELINE))
        return f"is {kind!r}; it must be one of {known}, or left out for a recipe that samples"
    return f"is {kind!r}; this command needs a recipe that samples. Use `factory {runner}` instead"


def _find_conflicts(recipe: Recipe, document: Document) -> Iterator[Problem]:
    """Yield conflicts between sections that are valid on their own."""
    if recipe.select.pick == "best" and recipe.select.score is None:
        what = "is 'best'; name the metric to sort by, such as `score: quality_score`"
        yield problem_at(document, ("select", "pick"), what)
    if recipe.engine.is_embedded:
        for level, step in enumerate(recipe.sampling.escalate):
            if step.model is not None:
                what = (
                    f"is {step.model!r}, but an embedded engine has one model; use engine `server`"
                )
                yield problem_at(document, ("sampling", "escalate", level, "model"), what)
    for spec in recipe.engine_spec.list_teachers():
        yield from _find_engine_conflicts(spec, document)
    if recipe.sampling.teachers:
        yield from _find_teacher_conflicts(recipe, document)
    place: Loc
    for number, source in enumerate(recipe.sources):
        if source.environment is not None and not recipe.prompting.is_chat:
            place = ("sources", number, "environment")
            what = (
                f"needs `prompting.template: chat`; {recipe.prompting.template} has no turns in "
                "which a model could act"
            )
            yield problem_at(document, place, what)
    yield from find_metric_clashes(recipe.filters, document)
    if any(source.kind == "prefixes" for source in recipe.sources):
        yield from _find_continuation_conflicts(recipe, document, "sources of `kind: prefixes`")
    if recipe.sampling.search is not None:
        what = f"`sampling.policy: {recipe.sampling.policy}`"
        yield from _find_continuation_conflicts(recipe, document, what)
        for number, source in enumerate(recipe.sources):
            if source.environment is not None:
                why = f"does not go with {what}: an episode is no single turn"
                yield problem_at(document, ("sources", number, "environment"), why)
        if recipe.engine.kind in ("batch", "replay"):
            why = f"is {recipe.engine.kind}, which cannot draw the steps of {what}"
            yield problem_at(document, ("engine", "kind"), why)
    drafts = [source.kind == "drafts" for source in recipe.sources]
    if recipe.prompting.template == "rewrite" and not all(drafts):
        place = ("sources", drafts.index(False), "kind")
        what = f"is {recipe.sources[drafts.index(False)].kind!r}; `template: rewrite` needs drafts"
        yield problem_at(document, place, what)


def _find_engine_conflicts(spec: EngineSpec, document: Document) -> Iterator[Problem]:
    """Yield what an engine cannot do, of what the other sections ask for."""
    engine, sampling = spec.engine, spec.sampling
    if engine.kind == "batch" and sampling.early_stop is not None:
        what = "needs a stream, which a batch (engine.kind) does not have; remove one of the two"
        yield problem_at(document, ("sampling", "early_stop"), what)
    context = engine.args.get("max_model_len")
    if isinstance(context, int) and sampling.max_tokens >= context:
        what = (
            f"is {sampling.max_tokens:,}, but engine.args.max_model_len is {context:,}, "
            "which prompt and answer share; lower max_tokens or raise max_model_len"
        )
        yield problem_at(document, ("sampling", "max_tokens"), what)
    if sampling.keep and engine.kind == "server":
        what = "needs an embedded engine: servers' token ids are not read; leave it out"
        yield problem_at(document, ("sampling", "keep"), what)
    if spec.prompting.variants and engine.is_own:
        what = "needs an engine that is shipped: one of your own words its prompts itself"
        yield problem_at(document, ("prompting", "variants"), what)


def _find_teacher_conflicts(recipe: Recipe, document: Document) -> Iterator[Problem]:
    """Yield teachers that draw the same samples or cannot work next to each other."""
    spec, teachers = recipe.engine_spec, recipe.sampling.teachers
    same: dict[str, str] = {}
    batches: list[str] = []
    for number, teacher in enumerate(teachers):
        place: Loc = ("sampling", "teachers", number)
        own = spec.for_teacher(number)
        first = same.setdefault(own.params_fp(), teacher.name)
        if first != teacher.name:
            what = (
                f"draws the same samples as {first}: model and settings are the same. The cheaper "
                "one is always the better; keep that"
            )
            yield problem_at(document, place, what)
        if teacher.model is not None and own.engine.is_embedded:
            what = (
                f"is {teacher.model.id!r}, but the recipe's engine loads the recipe's model only; "
                "give the teacher an engine of its own"
            )
            yield problem_at(document, (*place, "model"), what)
        if own.engine.kind == "batch":
            batches.append(teacher.name)
            if len(batches) > 1:
                what = f"is batch, as is that of {batches[0]}; a run has one engine of batches"
                yield problem_at(document, (*place, "engine", "kind"), what)
    for number, source in enumerate(recipe.sources):
        if source.kind == "prefixes":
            what = "goes on from one model's text, and does not go with sampling.teachers"
            yield problem_at(document, ("sources", number, "kind"), what)


def _find_continuation_conflicts(
    recipe: Recipe, document: Document, what: str
) -> Iterator[Problem]:
    """Yield what keeps an engine from continuing the start of a model's turn."""
    server = recipe.engine.server
    if server is not None and server.api == "chat":
        why = f"is chat, which cannot go on from {what}; set api: completions"
        yield problem_at(document, ("engine", "server", "api"), why)
    if recipe.prompting.variants:
        why = f"does not go with {what}: a turn goes on in the wording in which it began"
        yield problem_at(document, ("prompting", "variants"), why)
