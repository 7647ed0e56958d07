"""The pipeline recipe: recipes as the steps of one run, which use each other's outputs.

    kind: pipeline
    name: two-steps
    steps:
      cold-start:
        recipe: cold_start.yaml
      sft:
        recipe: sft.yaml
        set: {data: "@cold-start"}

A value "@step" stands for the directory of that step, "@step/model" and "@step/corpus" for its
output. Each reference is an edge of the graph. Before anything runs, the graph and every step's
recipe with resolved references are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PrivateAttr, ValidationError

from factory.core.errors import Problem, RecipeError
from factory.core.plugins import suggest
from factory.recipe.document import Document, Loc, dotted, load_document, override
from factory.recipe.kinds import (
    KINDS,
    SAMPLES,
    AnyRecipe,
    Product,
    explain_missing_model,
    find_missing_inputs,
    load,
)
from factory.recipe.parsing import NAME_PATTERN, Strict, explain_validation, parse_part, problem_at
from factory.recipe.step_graph import fill_seed, find_cycle, find_references, sort_steps

KIND = "pipeline"
STEPS = "steps"
"""The folder with the directories of the steps, in the directory of the pipeline."""

WANTED: Mapping[str, Product] = {
    "model": "model",
    "data": "corpus",
    "path": "corpus",
    "replay": "corpus",
}
"""Key → the output it needs if it names a step's directory."""


class PipelineStep(Strict):
    """One step: a recipe, and the keys that are set in it."""

    recipe: Path = Field(
        description="Recipe file of any kind but `pipeline`, relative to this file."
    )
    title: str = Field("", description="Title on the pipeline's page.")
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys to set in that recipe, nested or as `key.path`. `@step` stands for that "
        "step's directory, `@step/model` and `@step/corpus` for its output.",
    )
    after: tuple[str, ...] = Field(
        (), description="Steps that must run before, although their outputs are not used."
    )
    launch: str = Field(
        "",
        description="Trainings only: command that starts Python on several GPUs, such as "
        "`accelerate launch --config_file fsdp.yaml`. Default: one process.",
    )
    skip: bool = Field(False, description="Skip the step.")
    once: bool = Field(
        False,
        description="With `seeds`: run the step once, for all seeds. It can't use a step that is "
        "repeated.",
    )


class Pipeline(Strict):
    """Several recipes as the steps of one run. Steps use the outputs of other steps."""

    kind: Literal["pipeline"]
    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the directory: runs/<name>, unless --run is given.",
    )
    steps: dict[str, PipelineStep] = Field(
        min_length=1, description="The steps by name, in any order."
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Run the steps once per seed, one seed after another. Step `rl` becomes "
        "`rl-0`, `rl-1`, …; its references lead to steps of the same seed, and `{seed}` in a value "
        "of its `set` is the seed. More seeds may be added to a finished pipeline.",
    )

    _document: Document = PrivateAttr(default_factory=lambda: Document({}))

    def to_yaml(self) -> str:
        """Return the recipe as YAML with paths, variables, `extends` and `--set` resolved."""
        return yaml.safe_dump(self._document.data, sort_keys=False, allow_unicode=True)

    def plan(self, directory: Path) -> list[PlannedStep]:
        """Return the steps in order, with their recipes resolved for `directory`.

        Raises RecipeError with all problems of the graph and of the steps' recipes.
        """
        problems = _check_graph(self, self._document)
        steps = {name: step for name, step in self.steps.items() if not step.skip}
        kinds = {
            name: _read_kind(name, step, self._document, problems) for name, step in steps.items()
        }
        needed = {name: self._find_inputs(name, kinds, problems) for name in steps}
        order = sort_steps({name: [*needed[name], *step.after] for name, step in steps.items()})
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
                missing = explain_missing_model(recipe, directory.resolve() / STEPS)
                if missing:
                    loc: Loc = ("steps", name, "set", "model")
                    loc = loc if "model" in step.set else ("steps", name, "recipe")
                    problems.append(problem_at(self._document, loc, missing))
        if problems:
            raise RecipeError(list(dict.fromkeys(problems)))
        return plan

    def find_missing(self, steps: Iterable[PlannedStep]) -> Iterator[Problem]:
        """Yield the local inputs of steps that are not there and that no step writes."""
        for step in steps:
            written = step.pipeline.resolve() / STEPS
            for key, fault in find_missing_inputs(step.recipe, written):
                home: Loc = ("steps", step.name, "set")
                set_here = [(*home, *key), (*home, dotted(key)), (*home, *key[:-1])]
                loc = next((loc for loc in set_here if loc in self._document.places), home)
                if loc == home:
                    loc = ("steps", step.name, "recipe")
                    fault = f"is {step.step.recipe.name}, whose {dotted(key)} {fault}"
                yield problem_at(self._document, loc, fault)

    def _find_inputs(
        self, name: str, kinds: Mapping[str, str | None], problems: list[Problem]
    ) -> list[str]:
        """Return the steps whose output a step uses. Appends to `problems`."""
        found = []
        for loc, value in find_references(self.steps[name].set):
            other, _, inside = value[1:].partition("/")
            found.append(other)
            problem = self._check_reference(other, inside, loc, kinds)
            if problem:
                place = ("steps", name, "set", *loc)
                problems.append(problem_at(self._document, place, f"is {value!r}: {problem}"))
        return list(dict.fromkeys(found))

    def _check_reference(
        self, other: str, inside: str, loc: Loc, kinds: Mapping[str, str | None]
    ) -> str | None:
        """Return what is wrong with a reference, or None."""
        if other not in self.steps:
            return f"there is no step {other!r}{suggest(other, self.steps)}"
        if self.steps[other].skip:
            return f"the step {other} is skipped (skip: true)"
        kind = kinds[other]
        if kind is None:
            return None  # reported at its own place
        makes = KINDS[kind].product
        wanted = inside or next((WANTED[str(k)] for k in reversed(loc) if str(k) in WANTED), makes)
        if wanted in ("model", "corpus") and wanted != makes and makes != "eval.json":
            return f"the step {other} ({kind}) produces a {makes}, not a {wanted}"
        return None


@dataclass(frozen=True)
class PlannedStep:
    """A step as it will run."""

    name: str
    kind: str
    step: PipelineStep
    recipe: AnyRecipe
    inputs: Mapping[str, Path]  # the steps whose output it uses → the output
    pipeline: Path

    @property
    def folder(self) -> Path:
        """The step's run directory."""
        return self.pipeline / STEPS / self.name

    @property
    def product(self) -> Path:
        """The step's output."""
        return self.folder / KINDS[self.kind].product

    @property
    def log(self) -> Path:
        return self.pipeline / STEPS / f"{self.name}.log"

    @property
    def file(self) -> Path:
        """The file with the step's resolved recipe."""
        return self.pipeline / STEPS / f"{self.name}.yaml"

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that must run before."""
        return tuple(dict.fromkeys([*self.inputs, *self.step.after]))


def load_pipeline(path: Path, assignments: Iterable[str] = ()) -> Pipeline:
    """Read a pipeline and all its recipes. Raises RecipeError that lists all problems.

    An assignment `step.key=value` sets a key of that step's recipe.
    """
    document = load_document(path)
    for assignment in assignments:
        _assign(document, assignment)
    data, problems = dict(document.data), list[Problem]()
    if isinstance(data.get("steps"), dict):
        data["steps"] = {
            name: parse_part(PipelineStep, fields, ("steps", name), document, problems)
            for name, fields in data["steps"].items()
        }
    if problems:
        raise RecipeError(problems)
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        raise RecipeError(explain_validation(error, (), Pipeline, document)) from None
    pipeline._document = document
    pipeline = _repeat(pipeline)
    pipeline.plan(Path("runs") / pipeline.name)
    return pipeline


def _repeat(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with its steps repeated for every seed, as `seeds` describes.

    Raises RecipeError for a step that runs once and uses one that is repeated, and for `once`
    without seeds.
    """
    document, steps = pipeline._document, pipeline.steps
    repeated = {name for name, step in steps.items() if pipeline.seeds and not step.once}
    problems = []
    for name, step in steps.items():
        used = [value[1:].partition("/")[0] for _, value in find_references(step.set)]
        wrong = next((other for other in (*used, *step.after) if other in repeated), None)
        if step.once and (wrong is not None or not pipeline.seeds):
            what = f"uses {wrong}, which runs once per seed; set once: true there too"
            what = what if wrong is not None else "needs seeds, the key of the pipeline"
            problems.append(problem_at(document, ("steps", name, "once"), f"is true: {what}"))
    if len(set(pipeline.seeds)) < len(pipeline.seeds):
        problems.append(problem_at(document, ("seeds",), "names a seed twice"))
    if problems:
        raise RecipeError(problems)
    expanded = {name: step for name, step in steps.items() if name not in repeated}
    for seed in pipeline.seeds:
        for name in (name for name in steps if name in repeated):
            step, own = steps[name], f"{name}-{seed}"
            if own in steps:
                what = f"becomes {own} for the seed {seed}, but there is a step of that name"
                raise RecipeError([problem_at(document, ("steps", name), what)])
            after = tuple(f"{other}-{seed}" if other in repeated else other for other in step.after)
            changes = {"set": fill_seed(step.set, seed, repeated), "after": after}
            expanded[own] = step.model_copy(update=changes)
            known = [loc for loc in document.places if loc[:2] == ("steps", name)]
            for loc in known:
                document.places["steps", own, *loc[2:]] = document.places[loc]
    return pipeline.model_copy(update={"steps": expanded})


def _check_graph(pipeline: Pipeline, document: Document) -> list[Problem]:
    """Return problems of the graph: invalid or unknown names, and cycles."""
    problems = []
    for name, step in pipeline.steps.items():
        loc: Loc = ("steps", name)
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            what = "is not a valid name of a step; use letters, digits, - and _"
            problems.append(problem_at(document, loc, what))
        for number, other in enumerate(step.after):
            if other not in pipeline.steps:
                what = f"is {other!r}: there is no such step{suggest(other, pipeline.steps)}"
                problems.append(problem_at(document, (*loc, "after", number), what))
    edges = {
        name: [value[1:].partition("/")[0] for _, value in find_references(step.set)]
        + [*step.after]
        for name, step in pipeline.steps.items()
    }
    cycle = find_cycle(edges)
    if cycle:
        what = f"form a cycle: {' needs '.join(cycle)}; remove one of these references"
        problems.append(problem_at(document, ("steps",), what))
    return problems


def _read_kind(
    name: str, step: PipelineStep, document: Document, problems: list[Problem]
) -> str | None:
    """Return the kind of a step's recipe, or None after a problem."""
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
            what = f"is for trainings only; {kind} is one process, and its engine has its own keys"
            problems.append(problem_at(document, ("steps", name, "launch"), what))
        return str(kind)
    known = ", ".join(name for name in KINDS if name != SAMPLES)
    what = f"is {kind!r}; a step's recipe must be of kind {known}, or without a kind"
    problems.append(problem_at(recipe, ("kind",), what))
    return None


def _read(
    name: str,
    step: PipelineStep,
    kind: str,
    directory: Path,
    document: Document,
    problems: list[Problem],
) -> AnyRecipe | None:
    """Read a step's recipe and apply the pipeline's settings."""
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
        problems += [_relocate(problem, keys, document) for problem in error.problems]
        return None


def _relocate(problem: Problem, keys: Mapping[str, Loc], document: Document) -> Problem:
    """Relocate a problem with a key that the pipeline sets to the pipeline's file."""
    for key in sorted(keys, key=len, reverse=True):
        place, rest = f"--set {key}", problem.place
        if rest == place or rest.startswith(f"{place}:"):
            home = f"{document.place(keys[key])}: {dotted(keys[key])}"
            inner = rest.removeprefix(place).removeprefix(": ").removeprefix(key)
            return Problem(home + inner, problem.what)
    return problem


def _leaves(value: Mapping[str, Any], loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """Yield the settings key by key, so that mappings are merged, as with `extends`."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, (*loc, key))
        else:
            yield (*loc, key), item


def _resolve(value: Any, steps: Path) -> Any:
    """Replace every "@step" in a value by its path."""
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
    # YAML refuses a plain "@", so quote it.
    override(given, f"value={text}" if not text.startswith("@") else f"value='{text}'")
    settings = steps[name].setdefault("set", {})
    settings.pop(key, None)  # the last assignment wins
    settings[key] = given.data["value"]
    document.places["steps", name, "set", key] = f"--set {name}.{key}"
