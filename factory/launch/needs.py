"""What a recipe of any kind needs of a cluster, from its file alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.core.errors import CapacityError, EngineError, ModelError, Problem, RecipeError
from factory.core.models import DEMO
from factory.core.resources import recipe_path
from factory.core.yaml_files import parse_yaml
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.plan import plan_file
from factory.planning.result import Plan
from factory.recipe.build import Recipe
from factory.recipe.document import find_recipe, load_document
from factory.recipe.evaluation import Eval
from factory.recipe.kinds import PIPELINE, SAMPLES, AnyRecipe, command, load
from factory.recipe.pipeline import load_pipeline
from factory.recipe.training import Training
from factory.sampling.engines.placement import count_accelerators
from filters.base import LocalJudge

CPUS_PER_GPU = 12
CPUS = 16
"""CPU cores of a node without GPUs, and the least of any: judging uses them all."""

MEMORY_GB = 64
"""Memory of a node in addition to twice its weights, in GB."""

LONGEST_H = 24
"""Most hours asked for at once. A run that takes longer continues in another job."""

LOST = EngineError.exit_code
"""The exit code after which the same command continues: the engine is lost."""

FAILS = (1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13)
"""Exit codes after which it would fail again."""


@dataclass(frozen=True)
class Needs:
    """A recipe, the command that runs it, and what that command needs."""

    name: str
    command: str  # build, train, eval or run
    kind: str
    asked: str  # the recipe as it was named
    recipe: Path
    shipped: bool
    text: str  # the recipe with all that it extends and all assignments
    assignments: tuple[str, ...]
    gpus: int
    ray: bool
    memory_gb: int  # of a node
    hours: float | None  # of the whole run, as planned
    launch: Path | None  # configuration of accelerate, for a training on several GPUs
    keys: tuple[str, ...]  # environment variables that the recipe names
    notes: tuple[str, ...]

    @property
    def nodes(self) -> int:
        return max(1, math.ceil(self.gpus / GPUS_PER_NODE))

    @property
    def gpus_per_node(self) -> int:
        return math.ceil(self.gpus / self.nodes)

    @property
    def cpus(self) -> int:
        """CPU cores of a node."""
        return max(CPUS, CPUS_PER_GPU * self.gpus_per_node)

    @property
    def job_hours(self) -> int:
        """Hours to ask for: twice what is planned, between one hour and `LONGEST_H`."""
        planned = LONGEST_H if self.hours is None else math.ceil(2 * self.hours)
        return min(LONGEST_H, max(1, planned))

    def arguments(self, recipe: str, run: str) -> str:
        """Return the arguments of `factory` for a recipe's file or name, as a shell line."""
        given = [word for one in self.assignments for word in ("--set", one)]
        return shlex.join([self.command, recipe, "--run", run, *given])

    def carried_arguments(self, file: str, run: str) -> str:
        """Return the arguments where the recipe is carried along as `file`; a shipped one is named,
        since it is there already."""
        if self.shipped:
            return self.arguments(self.asked, run)
        return shlex.join([self.command, file, "--run", run])

    def refuse_files(self) -> None:
        """Raise RecipeError for a recipe that can't be carried along: its steps are files."""
        if self.kind == PIPELINE and not self.shipped:
            what = "is a pipeline, whose steps are other files; launch its steps one by one"
            raise RecipeError([Problem(self.asked, what)])

    def comments(self, written_by: str, start: str) -> Iterator[str]:
        """Yield what the first lines of a file say, without the comment sign."""
        yield f"Written by `{written_by}`. {start}"
        yield from (f"{self.name}: {note}" for note in self.notes)
        paths = sorted(set(_find_paths(parse_yaml(self.text))))
        if paths and not self.shipped:
            yield f"These paths of the recipe must be there too: {', '.join(paths)}"


def find_needs(
    path: Path, assignments: Sequence[str] = (), gpus: int | None = None, gpu: str = "h100"
) -> Needs:
    """Return what a recipe needs. `gpus` is the number of GPUs; its own number unless given.

    Raises RecipeError for a wrong recipe or number, and CapacityError where the plan doesn't fit.
    """
    kind = str(load_document(path, assignments).data.get("kind", SAMPLES))
    recipe = _load(kind, path, assignments)
    ray = _engine_kind(recipe) == "ray"
    count = _count_gpus(recipe, ray, gpus)
    if count > GPUS_PER_NODE and not ray and not isinstance(recipe, Training):
        what = f"is {count}, but only `engine: {{kind: ray}}` and trainings use several machines"
        raise RecipeError([Problem("--gpus", what)])
    notes, hours, parameters, launch = [f"{count} GPUs"], None, 0.0, None
    if count:
        try:
            plan = plan_file(path, assignments, Machine(gpus=count, gpu=gpu))
        except ModelError as error:
            notes.append(f"not planned: {error}")
        else:
            if not plan.fits:
                raise CapacityError(plan.refusal())
            notes += _describe(plan, recipe.name)
            hours = plan.gpu_hours / count or None
            parameters = max(
                (one.parameters.value for one in plan.steps if one.parameters), default=0
            )
            launch = _find_launch(plan) if isinstance(recipe, Training) and count > 1 else None
    text = recipe.to_yaml()
    return Needs(
        name=recipe.name,
        command=str(command(kind)),
        kind=kind,
        asked=str(path),
        recipe=find_recipe(path).absolute(),
        shipped=not path.exists(),
        text=text,
        assignments=tuple(assignments),
        gpus=count,
        ray=ray,
        memory_gb=MEMORY_GB + math.ceil(4 * parameters / 1e9),
        hours=hours,
        launch=launch,
        keys=tuple(dict.fromkeys(_find_keys(parse_yaml(text)))),
        notes=tuple(notes),
    )


def _load(kind: str, path: Path, assignments: Sequence[str]) -> AnyRecipe:
    return load_pipeline(path, assignments) if kind == PIPELINE else load(kind, path, assignments)


def _engine_kind(recipe: AnyRecipe) -> str | None:
    engine = getattr(recipe, "engine", None)
    return None if engine is None else str(engine.kind)


def _count_gpus(recipe: AnyRecipe, ray: bool, given: int | None) -> int:
    """Return the number of GPUs: that which is given, or what the recipe's own keys ask for."""
    if not isinstance(recipe, Recipe | Eval):
        own = 0 if recipe.to_yaml().startswith("kind: assembly") else GPUS_PER_NODE
        return own if given is None else given
    inner = recipe.recipe if isinstance(recipe, Eval) else recipe
    engine, needed = inner.engine, 0
    if ray:
        asked = engine.ray.replicas if engine.ray is not None else None
        each = count_accelerators(engine.args)
        needed = each * asked if asked else max(GPUS_PER_NODE, each)
        if given is None or (given and given % each == 0):
            return needed if given is None else given
        what = f"is {given}; it must be a multiple of the {each} GPUs of an engine"
        raise RecipeError([Problem("--gpus", what)])
    if engine.kind == "vllm":
        needed = count_accelerators(engine.args) * engine.replicas
    elif engine.kind == "transformers":
        needed = 1
    for filter_ in inner.filters.values():
        judge = filter_.local_judge
        if isinstance(judge, LocalJudge):
            needed = max(needed, count_accelerators(judge.args) * judge.replicas)
    if given is None:
        return 0 if inner.model.id == DEMO else needed
    if 0 < given < needed:
        raise RecipeError([Problem("--gpus", f"is {given}, but the recipe's engines use {needed}")])
    return given


def _describe(plan: Plan, name: str) -> Iterator[str]:
    for step in plan.steps:
        part = step.name.removeprefix(name).lstrip(", ")
        yield f"{part}: {step.option.name}" if part else step.option.name
    if plan.gpu_hours:
        yield f"planned: {plan.gpu_hours:,.1f} GPU-hours on {plan.steps[0].machine}"


def _find_launch(plan: Plan) -> Path | None:
    """Return the configuration of accelerate that the plan names."""
    for step in plan.steps:
        for note in step.notes:
            _, found, name = note.partition("--config_file ")
            if found:
                return recipe_path(name.removeprefix("recipes/"))
    return None


def _find_keys(value: Any) -> Iterator[str]:
    """Yield the environment variables that a recipe names, by keys that end in `_env`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if str(key).endswith("_env"):
                yield from (item.values() if isinstance(item, dict) else [str(item)])
            else:
                yield from _find_keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _find_keys(item)


def _find_paths(value: Any) -> Iterator[str]:
    """Yield the files and folders of this machine that a recipe names."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find_paths(item)
    elif isinstance(value, str) and value.startswith("/") and "\n" not in value:
        yield value
