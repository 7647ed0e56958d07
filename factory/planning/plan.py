"""`factory plan`: what a recipe of any kind needs, from its file alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from factory.planning.lineage import Lineage
from factory.planning.machine import Machine
from factory.planning.result import Plan, StepPlan
from factory.planning.sampling_plan import Assumptions, plan_sampling
from factory.planning.training_plan import Trainer, plan_training
from factory.recipe.assembly import Assembly
from factory.recipe.build import Recipe
from factory.recipe.document import find_recipe, load_document
from factory.recipe.evaluation import Eval
from factory.recipe.kinds import PIPELINE, SAMPLES, AnyRecipe, load
from factory.recipe.pipeline import load_pipeline
from factory.recipe.training import Training


def plan_file(
    path: Path,
    assignments: Iterable[str] = (),
    machine: Machine | None = None,
    given: Assumptions | None = None,
    like: str | None = None,
    trainer: Trainer = "here",
) -> Plan:
    """Return the plan of a recipe file of any kind, on `machine` (default: 8 x H100 of 80 GB).

    `like` is the model whose config stands for one that is not known here. Raises RecipeError for
    a wrong recipe, or one that `trainer` is not handed, and ModelError for an unknown model.
    """
    machine, given = machine or Machine(), given or Assumptions()
    kind = load_document(path).data.get("kind", SAMPLES)
    if kind == PIPELINE:
        return _plan_pipeline(path, assignments, machine, given, like)
    recipe = load(str(kind), path, assignments)
    steps = plan_step(recipe, Lineage(find_recipe(path), like), machine, given, trainer)
    return Plan(recipe.name, tuple(steps), () if steps else (recipe.name,))


def plan_step(
    recipe: AnyRecipe,
    lineage: Lineage,
    machine: Machine,
    given: Assumptions,
    trainer: Trainer = "here",
) -> list[StepPlan]:
    """Return the plans of one recipe; none for an assembly, which uses no GPU."""
    if isinstance(recipe, Recipe | Eval):
        return plan_sampling(recipe, lineage, machine, given)
    if isinstance(recipe, Training):
        return [plan_training(recipe, lineage, machine, given, trainer)]
    assert isinstance(recipe, Assembly)
    return []


def _plan_pipeline(
    path: Path, assignments: Iterable[str], machine: Machine, given: Assumptions, like: str | None
) -> Plan:
    pipeline = load_pipeline(path, assignments)
    planned = pipeline.plan(Path("runs") / pipeline.name)
    made = {str(step.folder.resolve()): step.recipe for step in planned}
    lineage = Lineage(find_recipe(path), like, made)
    steps: list[StepPlan] = []
    idle = []
    for step in planned:
        found = plan_step(step.recipe, lineage, machine, given)
        steps += [_rename(one, step.name) for one in found]
        if not found:
            idle.append(step.name)
    return Plan(pipeline.name, tuple(steps), tuple(idle))


def _rename(plan: StepPlan, step: str) -> StepPlan:
    judge = plan.name.partition(", ")[2]
    return replace(plan, name=f"{step}, {judge}" if judge else step)
