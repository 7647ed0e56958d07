"""The recipe: the YAML a user writes, as a strict schema; and the fingerprints it has.

Three questions decide what a change to a recipe costs. Does it change a sample (`sample_identity`)?
Then samples of both kinds must not mix and the run is refused. Does it change a verdict? Then the
filters' own cache keys say which metrics are measured anew. Anything else changes neither.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from factory.core.errors import Problem, RecipeError, RunError
from factory.core.nouns import fingerprint
from factory.core.run_dir import read_manifest
from factory.prompts import LOADERS, loader_class
from factory.prompts.references import References
from factory.prompts.source import Source
from factory.prompts.templates import Prompting
from factory.recipe.corpus import Corpus, Select
from factory.recipe.document import Document, Loc, dotted, load_document
from factory.recipe.engine import ServerOptions
from factory.recipe.kinds import ASSEMBLY, KINDS, PIPELINE, SAMPLES, command
from factory.recipe.ray_options import RayOptions
from factory.recipe.review_options import ReviewOptions
from factory.recipe.sampling import Sampling
from filters import FILTERS, FilterClassError, filter_class, own_filter_class
from filters.base import Filter


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Strict):
    """Which model samples. A plain string in the recipe is its `id`."""

    id: str = Field(description="`demo`, a Hub id, or a local folder.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub id.")
    tokenizer: str | None = Field(None, description="Another tokenizer than the model's own.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that the model's repository holds. Off unless you say."
    )


SAMPLE_ENGINE_ARGS = frozenset({"dtype", "quantization", "kv_cache_dtype", "hf_overrides"})
"""Engine arguments that change what is sampled; the rest change only how fast."""


class Engine(Strict):
    """Where samples come from."""

    kind: Literal["vllm", "server", "ray", "replay"] = Field(
        "vllm",
        description="`vllm`: an engine in this process. `server`: OpenAI-compatible endpoints. "
        "`ray`: replicas over a Ray cluster. `replay`: recorded samples.",
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="vLLM's own engine arguments (tensor_parallel_size, max_model_len, …), passed "
        "on and checked against the installed vLLM.",
    )
    replicas: int = Field(
        1,
        ge=1,
        description="`vllm` only: engines on this machine, each a process with its own GPUs "
        "(tensor_parallel_size times pipeline_parallel_size of them) and its own seed; without "
        "GPUs, with its share of the cores.",
    )
    replay: Path | None = Field(
        None, description="`replay` only: a run directory whose samples are played back."
    )
    server: ServerOptions | None = Field(
        None, description="`server` only: the endpoints and how they are asked."
    )
    ray: RayOptions | None = Field(
        None, description="`ray` only: the cluster and what a replica takes of it."
    )
    max_in_flight: int | None = Field(
        None, ge=1, description="Requests the engine holds at once. Default: twice max_num_seqs."
    )
    max_restarts: int = Field(
        3, ge=0, description="Lone deaths in a row before the engine is given up."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "replay") != (self.replay is not None):
            raise ValueError("kind: replay and the key replay: RUN go together")
        if (self.kind == "server") != (self.server is not None):
            raise ValueError("kind: server and the key server: go together; it needs urls")
        if self.ray is not None and self.kind != "ray":
            raise ValueError("the key ray: needs kind: ray")
        if self.replicas > 1 and self.kind != "vllm":
            raise ValueError("replicas needs kind: vllm; a Ray cluster's are engine.ray.replicas")
        return self


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

    def sample_identity(self, level: int = 0) -> dict[str, Any]:
        """Everything that changes what a sample is, as flat readable keys.

        `level` counts the escalations that apply; 0 is the recipe as written.
        """
        parts: dict[str, Mapping[str, Any]] = {
            "model": self.model.model_dump(mode="json"),
            "prompting": self.prompting.identity(),
            "sampling": self.sampling.at(level).identity(),
            "engine.args": {
                key: value for key, value in self.engine.args.items() if key in SAMPLE_ENGINE_ARGS
            },
        }
        if self.engine.server is not None:
            parts["engine.server"] = self.engine.server.identity()
        if level and self.sampling.escalate[level - 1].model is not None:
            parts["escalation"] = {"model": self.sampling.escalate[level - 1].model}
        return {
            f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()
        }

    def params_fp(self, level: int = 0) -> str:
        """Names the settings a sample was drawn with."""
        return fingerprint(self.sample_identity(level), 12)

    def params(self) -> dict[str, dict[str, Any]]:
        """Every level's settings by their fingerprint, the recipe as written first."""
        levels = range(1 + len(self.sampling.escalate))
        return {self.params_fp(level): self.sample_identity(level) for level in levels}

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


def filters_by_name(names: Iterable[str]) -> dict[str, Filter]:
    """Filters with their defaults. Raises RecipeError for a name there is none of."""
    data: dict[str, Any] = {name.strip(): {} for name in names}
    problems: list[Problem] = []
    found: dict[str, Filter] = parse_filters(data, Document({"filters": data}), problems)
    if problems:
        raise RecipeError(problems)
    return found


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
        raise RecipeError(sorted(dict.fromkeys(problems), key=lambda problem: _line(problem.place)))
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


def parse_sources(raw: Any, document: Document, problems: list[Problem]) -> Any:
    if not isinstance(raw, list):
        return raw if raw is not None else []
    parsed = []
    for number, item in enumerate(raw):
        loc: Loc = ("sources", number)
        kind = item.get("kind") if isinstance(item, dict) else None
        if kind not in LOADERS:
            what = f"is {kind!r}; it must be one of {', '.join(LOADERS)}{meant(kind, LOADERS)}"
            problems.append(problem_at(document, (*loc, "kind"), what))
            continue
        source = parse_part(loader_class(kind), item, loc, document, problems)
        if source is not None:
            parsed.append(source)
    # An empty list here would report "no sources" beside the real problem.
    return parsed if parsed or not raw else [Source.model_construct(kind="unreadable")]


def parse_filters(raw: Any, document: Document, problems: list[Problem]) -> Any:
    if not isinstance(raw, dict):
        return raw if raw is not None else {}
    parsed = {}
    for name, fields in raw.items():
        loc: Loc = ("filters", name)
        own = fields.get("class") if isinstance(fields, dict) else None
        if own is not None:
            fields = {key: value for key, value in fields.items() if key != "class"}
            try:
                kind = own_filter_class(own)
            except FilterClassError as error:
                problems.append(problem_at(document, (*loc, "class"), f"is {own!r}: {error}"))
                continue
        elif name in FILTERS:
            kind = filter_class(name)
        else:
            what = f"is no filter; the filters are {', '.join(FILTERS)}{meant(name, FILTERS)}"
            problems.append(problem_at(document, loc, what))
            continue
        found = parse_part(kind, fields or {}, loc, document, problems)
        if found is not None:
            parsed[name] = found
    return parsed


_Part = TypeVar("_Part", bound=BaseModel)


def parse_part(
    kind: type[_Part], fields: Any, loc: Loc, document: Document, problems: list[Problem]
) -> _Part | None:
    """One part of a document by its own schema; what is wrong with it goes to `problems`."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems.extend(explain_validation(error, loc, kind, document))
        return None


_LIMITS = {
    "greater_than_equal": ("ge", "it must be at least {}"),
    "greater_than": ("gt", "it must be more than {}"),
    "less_than_equal": ("le", "it must be at most {}"),
    "less_than": ("lt", "it must be less than {}"),
}


def explain_validation(
    error: ValidationError, base: Loc, root: type[BaseModel], document: Document
) -> list[Problem]:
    """pydantic's errors in the recipe's own terms: place, value, remedy."""
    by_place: dict[Loc, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        by_place.setdefault(_written(base, item, document), []).append(item)
    problems = []
    for loc, items in by_place.items():
        # A key that takes a number or a mapping is refused once by each: say the one that fits.
        fitting = [item for item in items if not item["type"].endswith("_type")]
        if not fitting and any(len(loc) < len(at) and at[: len(loc)] == loc for at in by_place):
            continue
        fitting = fitting or items[:1]
        problems += [problem_at(document, loc, _in_words(item, root)) for item in fitting]
    return problems


def _written(base: Loc, item: ErrorDetails, document: Document) -> Loc:
    """Where an error is in the file: pydantic adds the name of each alternative it tried."""
    loc = base
    for key in item["loc"]:
        here = (*loc, key)
        loc = here if any(known[: len(here)] == here for known in document.places) else loc
    return (*loc, item["loc"][-1]) if item["type"] == "missing" else loc


def _in_words(item: ErrorDetails, root: type[BaseModel]) -> str:
    value, context = item["input"], item.get("ctx", {})
    if item["type"] == "extra_forbidden":
        keys = _keys_at(root, item["loc"][:-1])
        listing = f"; the keys are {', '.join(keys)}" if keys else ""
        return f"is not a key here{meant(item['loc'][-1], keys)}{listing}"
    if item["type"] == "missing":
        return "is missing; add it"
    if item["type"] in _LIMITS:
        key, words = _LIMITS[item["type"]]
        return f"is {value!r}; {words.format(context[key])}"
    if item["type"] == "literal_error":
        return f"is {value!r}; it must be {context['expected']}"
    if item["type"] == "value_error":
        told = str(context["error"])
        return f"does not fit: {told}" if isinstance(value, dict) else f"is {value!r}: {told}"
    return f"is {value!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _keys_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the part of the schema that `loc` leads to, where they are known."""
    part = root
    for key in loc:
        field = part.model_fields.get(str(key))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return []
        part = field.annotation
    return list(part.model_fields)


def meant(word: Any, known: Iterable[str]) -> str:
    """A suggestion, in brackets, where a name is close to a known one."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def problem_at(document: Document, loc: Loc, what: str) -> Problem:
    """What is wrong at one place of a document, with the file and line it was written at."""
    place = document.place(loc)
    return Problem(f"{place}: {dotted(loc)}" if place else dotted(loc), what)


def _line(place: str) -> tuple[str, int]:
    file, _, rest = place.partition(":")
    number = rest.split(":")[0]
    return file, int(number) if number.isdigit() else 0
