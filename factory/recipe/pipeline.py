"""The pipeline recipe: recipes as the steps of one run, each taking what others made.

    kind: pipeline
    name: two-steps
    steps:
      cold-start:
        recipe: cold_start.yaml
      sft:
        recipe: sft.yaml
        set: {data: "@cold-start"}

A value "@step" stands for the directory of that step, "@step/model" and "@step/corpus" for what is
in it; each makes an edge of the graph. Everything that can be known is checked before anything
runs: the graph, and every step's recipe with its references in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PrivateAttr, ValidationError

from factory.core.errors import Problem, RecipeError
from factory.core.plugins import suggest
from factory.recipe.document import Document, Loc, dotted, load_document, override
from factory.recipe.kinds import KINDS, SAMPLES, AnyRecipe, Product, load
from factory.recipe.parsing import Strict, explain_validation, parse_part, problem_at

KIND = "pipeline"
STEPS = "steps"
"""The folder of a pipeline's directory that holds its steps'."""

WANTED: Mapping[str, Product] = {
    "model": "model",
    "data": "corpus",
    "path": "corpus",
    "replay": "corpus",
}
"""What a key that names a step's directory looks for in it."""


class Step(Strict):
    """One step: a recipe, and what is set in it."""

    recipe: Path = Field(description="A recipe of any kind but `pipeline`; a file beside this one.")
    title: str = Field("", description="What the page calls it.")
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys of that recipe set here, nested or as `key.path`; `@step` stands for "
        "that step's directory, `@step/model` and `@step/corpus` for what is in it.",
    )
    after: tuple[str, ...] = Field(
        (), description="Steps that come first although nothing is taken from them."
    )
    launch: str = Field(
        "",
        description="Trainings only: a command that starts Python on many GPUs, such as "
        "`accelerate launch --config_file fsdp.yaml`. Default: one process.",
    )
    skip: bool = Field(False, description="Leave the step out.")


class Pipeline(Strict):
    """Several recipes as the steps of one run; what a step makes is what others take."""

    kind: Literal["pipeline"]
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the directory: runs/<name> unless --run says otherwise.",
    )
    steps: dict[str, Step] = Field(min_length=1, description="The steps by name, in any order.")

    _document: Document = PrivateAttr(default_factory=lambda: Document({}))

    def to_yaml(self) -> str:
        """What was written, with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._document.data, sort_keys=False, allow_unicode=True)

    def plan(self, directory: Path) -> list[PlannedStep]:
        """The steps in order, their recipes read as they will be carried out in `directory`.

        Raises RecipeError with everything wrong in the graph and in any step's recipe.
        """
        problems = _misnamed(self, self._document)
        steps = {name: step for name, step in self.steps.items() if not step.skip}
        kinds = {name: _kind(name, step, self._document, problems) for name, step in steps.items()}
        needed = {name: self._needed(name, kinds, problems) for name in steps}
        order = in_order({name: [*needed[name], *step.after] for name, step in steps.items()})
        plan = []
        for name in order:
            kind, step = kinds[name], steps[name]
            recipe = _read(name, step, kind, directory, self._document, problems) if kind else None
            if kind is not None and recipe is not None:
                inputs = {
                    other: directory / STEPS / other / KINDS[made].product
                    for other in needed[name]
                    if (made := kinds.get(other)) is not None
                }
                plan.append(PlannedStep(name, kind, step, recipe, inputs, directory))
        if problems:
            raise RecipeError(list(dict.fromkeys(problems)))
        return plan

    def _needed(
        self, name: str, kinds: Mapping[str, str | None], problems: list[Problem]
    ) -> list[str]:
        """The steps that one takes something of."""
        found = []
        for loc, value in references(self.steps[name].set):
            other, _, inside = value[1:].partition("/")
            found.append(other)
            trouble = self._misfit(other, inside, loc, kinds)
            if trouble:
                place = ("steps", name, "set", *loc)
                problems.append(problem_at(self._document, place, f"is {value!r}: {trouble}"))
        return list(dict.fromkeys(found))

    def _misfit(
        self, other: str, inside: str, loc: Loc, kinds: Mapping[str, str | None]
    ) -> str | None:
        """What is wrong with a reference, if anything is."""
        if other not in self.steps:
            return f"there is no step {other!r}{suggest(other, self.steps)}"
        if self.steps[other].skip:
            return f"the step {other} is left out (skip)"
        kind = kinds[other]
        if kind is None:
            return None  # told at its own place
        makes = KINDS[kind].product
        wanted = inside or next((WANTED[str(k)] for k in reversed(loc) if str(k) in WANTED), makes)
        if wanted in ("model", "corpus") and wanted != makes and makes != "eval.json":
            return f"the step {other} ({kind}) makes a {makes}, no {wanted}"
        return None


@dataclass(frozen=True)
class PlannedStep:
    """A step as it will be carried out."""

    name: str
    kind: str
    step: Step
    recipe: AnyRecipe
    inputs: Mapping[str, Path]  # the steps it takes something of, and what they make
    pipeline: Path

    @property
    def folder(self) -> Path:
        """Its own run directory."""
        return self.pipeline / STEPS / self.name

    @property
    def product(self) -> Path:
        """What others take of it."""
        return self.folder / KINDS[self.kind].product

    @property
    def log(self) -> Path:
        return self.pipeline / STEPS / f"{self.name}.log"

    @property
    def file(self) -> Path:
        """Its recipe with everything resolved."""
        return self.pipeline / STEPS / f"{self.name}.yaml"

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that come first."""
        return tuple(dict.fromkeys([*self.inputs, *self.step.after]))


def load_pipeline(path: Path, assignments: Iterable[str] = ()) -> Pipeline:
    """Read a pipeline and all its recipes. Raises RecipeError with everything wrong with them.

    An assignment `step.key=value` sets a key of that step's recipe.
    """
    document = load_document(path)
    for assignment in assignments:
        _assign(document, assignment)
    data, problems = dict(document.data), list[Problem]()
    if isinstance(data.get("steps"), dict):
        data["steps"] = {
            name: parse_part(Step, fields, ("steps", name), document, problems)
            for name, fields in data["steps"].items()
        }
    if problems:
        raise RecipeError(problems)
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        raise RecipeError(explain_validation(error, (), Pipeline, document)) from None
    pipeline._document = document
    pipeline.plan(Path("runs") / pipeline.name)
    return pipeline


def references(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Every "@step…" in what a step sets, with its place."""
    if isinstance(value, str):
        if value.startswith("@"):
            yield loc, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(item, (*loc, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from references(item, (*loc, number))


def in_order(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Names so that each comes after those it needs, otherwise in the order given.

    Needs that are no keys of `edges` are ignored.
    """
    ordered: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in edges and name not in seen:
            seen.add(name)
            for other in edges[name]:
                visit(other)
            ordered.append(name)

    for name in edges:
        visit(name)
    return ordered


def circle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that need each other in turn, the first again at the end; empty where none do."""
    free: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in free or name not in edges:
            return []
        for other in edges[name]:
            found = search(other, [*path, name])
            if found:
                return found
        free.add(name)
        return []

    return next((found for name in edges if (found := search(name, []))), [])


def _misnamed(pipeline: Pipeline, document: Document) -> list[Problem]:
    """Names that lead nowhere or in a circle."""
    problems = []
    for name, step in pipeline.steps.items():
        loc: Loc = ("steps", name)
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            what = "is no name for a step; use letters, digits, - and _"
            problems.append(problem_at(document, loc, what))
        for number, other in enumerate(step.after):
            if other not in pipeline.steps:
                what = f"is {other!r}: there is no such step{suggest(other, pipeline.steps)}"
                problems.append(problem_at(document, (*loc, "after", number), what))
    edges = {
        name: [value[1:].partition("/")[0] for _, value in references(step.set)] + [*step.after]
        for name, step in pipeline.steps.items()
    }
    round_trip = circle(edges)
    if round_trip:
        what = f"go in a circle: {' needs '.join(round_trip)}; break it"
        problems.append(problem_at(document, ("steps",), what))
    return problems


def _kind(name: str, step: Step, document: Document, problems: list[Problem]) -> str | None:
    """The kind of a step's recipe."""
    loc: Loc = ("steps", name, "recipe")
    if not step.recipe.is_file():
        problems.append(
            problem_at(document, loc, f"is {str(step.recipe)!r}; there is no such file")
        )
        return None
    try:
        recipe = load_document(step.recipe)
    except RecipeError as error:
        problems += error.problems
        return None
    kind = recipe.data.get("kind", SAMPLES)
    if kind in KINDS:
        if step.launch and KINDS[kind].command != "train":
            what = f"is for trainings; {kind} is one process, whose engine has its own keys"
            problems.append(problem_at(document, ("steps", name, "launch"), what))
        return str(kind)
    known = ", ".join(name for name in KINDS if name != SAMPLES)
    what = f"is {kind!r}; a step's recipe is of kind {known}, or has none and samples"
    problems.append(problem_at(recipe, ("kind",), what))
    return None


def _read(
    name: str,
    step: Step,
    kind: str,
    directory: Path,
    document: Document,
    problems: list[Problem],
) -> AnyRecipe | None:
    """A step's recipe with what the pipeline sets in it."""
    assigned = {
        dotted(loc): _resolve(value, directory.resolve() / STEPS)
        for loc, value in _leaves(step.set)
    }
    texts = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)}"
        for key, value in assigned.items()
    ]
    try:
        return load(kind, step.recipe, texts)
    except RecipeError as error:
        keys = {dotted(loc): ("steps", name, "set", *loc) for loc, _ in _leaves(step.set)}
        problems += [_at_home(problem, keys, document) for problem in error.problems]
        return None


def _at_home(problem: Problem, keys: Mapping[str, Loc], document: Document) -> Problem:
    """A problem with a key the pipeline set: its place is in the pipeline's file."""
    for key in sorted(keys, key=len, reverse=True):
        place, rest = f"--set {key}", problem.place
        if rest == place or rest.startswith(f"{place}:"):
            home = f"{document.place(keys[key])}: {dotted(keys[key])}"
            inner = rest.removeprefix(place).removeprefix(": ").removeprefix(key)
            return Problem(home + inner, problem.what)
    return problem


def _leaves(value: Mapping[str, Any], loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """What is set, key by key: a mapping is laid over the recipe's own, as `extends` does."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, (*loc, key))
        else:
            yield (*loc, key), item


def _resolve(value: Any, steps: Path) -> Any:
    """A value with every "@step" as the path it will have."""
    if isinstance(value, str):
        return str(steps / value[1:]) if value.startswith("@") else value
    if isinstance(value, Mapping):
        return {key: _resolve(item, steps) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, steps) for item in value]
    return value


def _assign(document: Document, assignment: str) -> None:
    """`--set step.key=value` sets the key in that step's recipe, anything else in the pipeline."""
    name, dot, rest = assignment.partition(".")
    steps = document.data.get("steps")
    key, equals, text = rest.partition("=")
    if not (dot and equals and isinstance(steps, dict) and isinstance(steps.get(name), dict)):
        override(document, assignment)
        return
    given = Document({})
    # YAML refuses a plain "@"; on a command line there is nothing else it could mean.
    override(given, f"value={text}" if not text.startswith("@") else f"value='{text}'")
    settings = steps[name].setdefault("set", {})
    settings.pop(key, None)  # what comes last holds
    settings[key] = given.data["value"]
    document.places["steps", name, "set", key] = f"--set {name}.{key}"
