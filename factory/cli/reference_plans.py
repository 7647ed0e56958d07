"""The page of R1's recipes: what each needs where it says that it runs, by `factory plan`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from factory.cli.reference_recipes import MADE, ROOT
from factory.planning.machine import make_machine
from factory.planning.plan import plan_file
from factory.planning.quantities import show_bytes
from factory.planning.result import Plan
from factory.planning.training_plan import Trainer

RECIPES = ROOT / "recipes"
_PLACE = re.compile(r"^# Planned for: (\d+) x ([a-z0-9]+)( by verl)?", re.MULTILINE)


class Place(NamedTuple):
    """Where a recipe says that it runs: `# Planned for: 8 x h100`."""

    gpus: int
    gpu: str
    trainer: Trainer

    def describe(self) -> str:
        by = ", by verl" if self.trainer == "verl" else ""
        return f"{self.gpus} x {self.gpu.upper()}{by}"


def planned_recipes() -> list[Path]:
    """The recipes that are made for GPUs: R1's, and the evaluations that say where they run."""
    folders = ("*.yaml", "distill/*.yaml", "v3/*.yaml")
    found = [file for shape in folders for file in (RECIPES / "r1").glob(shape)]
    found = [file for file in found if file.name not in _ASSEMBLIES]
    found += [file for file in (RECIPES / "eval").glob("*.yaml") if read_place(file) is not None]
    return sorted(found)


_ASSEMBLIES = frozenset(("corpus.yaml", "cold_start_corpus.yaml"))
"""Recipes that use no GPU."""


def read_place(file: Path) -> Place | None:
    """Return where a recipe says that it runs; None if it does not say."""
    found = _PLACE.search(file.read_text(encoding="utf-8"))
    if found is None:
        return None
    return Place(int(found[1]), found[2], "verl" if found[3] else "here")


def plan_where_it_says(file: Path) -> Plan:
    """Return the plan of a recipe on the machine that it names; ValueError if it names none."""
    place = read_place(file)
    if place is None:
        raise ValueError(f"{file}: no comment says where it runs: `# Planned for: 8 x h100`")
    machine = make_machine(place.gpus, place.gpu, None, 0.4)
    return plan_file(file, (), machine, trainer=place.trainer)


def plans_page() -> str:
    """Every recipe with its model, its machine, memory per GPU, layout and GPU-hours."""
    lines = ["# R1's recipes, planned", "", MADE, "", *_INTRODUCTION, ""]
    lines += [
        "| recipe | model | machine | per GPU | layout | GPU-hours |",
        "|---|---|---|---|---|---|",
    ]
    for file in planned_recipes():
        lines += _rows(file)
    return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "What `factory plan` says of every recipe of `recipes/r1` and every full evaluation, on the",
    "machine that the recipe names in a comment. A test fails if one does not fit there. None was",
    "run at this size; [how far to trust a plan](../how-to/plan-a-recipe.md#how-far-to-trust-it).",
    "A dash is an amount that the recipe alone does not show. Pipelines are sums of their steps.",
)


def _rows(file: Path) -> Iterator[str]:
    plan, place = plan_where_it_says(file), read_place(file)
    assert place is not None
    name = f"`{file.relative_to(RECIPES).with_suffix('')}`"
    if len({step.kind for step in plan.steps}) > 2 or len(plan.steps) > 3:
        widest = max(plan.steps, key=lambda step: step.option.bytes)
        cells = (f"{len(plan.steps)} steps", place.describe(), show_bytes(widest.option.bytes),
                 f"{widest.name} takes most", f"{plan.gpu_hours:,.0f}")  # fmt: skip
        yield f"| {name} | {' | '.join(cells)} |"
        return
    for step in plan.steps:
        hours = "–" if step.gpu_hours is None else f"{max(1, step.gpu_hours):,.0f}"
        title = name if step is plan.steps[0] else "its judge"
        cells = (step.model.partition("/")[2] or step.model, place.describe(),
                 show_bytes(step.option.bytes), step.option.name, hours)  # fmt: skip
        yield f"| {title} | {' | '.join(cells)} |"
