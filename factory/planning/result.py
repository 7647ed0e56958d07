"""What a plan says: memory per GPU, the layouts tried, time, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from factory.planning.quantities import Quantity, add_up


@dataclass(frozen=True, slots=True)
class Option:
    """One way to use the GPUs."""

    name: str
    memory: tuple[Quantity, ...]  # bytes per GPU
    problem: str | None = None

    @property
    def bytes(self) -> float:
        return add_up(self.memory)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The plan of one recipe, or of a part of it that runs by itself (a judge)."""

    name: str
    kind: str
    model: str
    machine: str
    parameters: Quantity | None  # None for a model that runs elsewhere
    option: Option  # the layout that is planned: the first that fits, or the recipe's own
    options: tuple[Option, ...] = ()  # the others
    work: tuple[Quantity, ...] = ()
    problem: str | None = None
    remedies: tuple[str, ...] = ()  # each makes it fit; the smallest change first
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return self.problem is None

    @property
    def gpu_hours(self) -> float | None:
        """None where the recipe doesn't show how much work there is."""
        found = [one.value for one in self.work if one.unit == "GPU-hours"]
        return sum(found) if found else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a recipe: one step, or all of a pipeline's."""

    name: str
    steps: tuple[StepPlan, ...]
    unplanned: tuple[str, ...] = field(default=())  # steps that use no GPU

    @property
    def fits(self) -> bool:
        return all(step.fits for step in self.steps)

    @property
    def gpu_hours(self) -> float:
        return sum(step.gpu_hours or 0.0 for step in self.steps)

    def refusal(self) -> str:
        """Return what can't fit, and the smallest change that does, for every such step."""
        lines = []
        for step in self.steps:
            if step.problem is not None:
                change = step.remedies[0] if step.remedies else NO_REMEDY
                lines.append(f"{step.name} can't fit on {step.machine}: {step.problem}. {change}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, every number with its formula."""
        return {
            "name": self.name,
            "fits": self.fits,
            "gpu_hours": self.gpu_hours,
            "steps": [_step_to_json(step) for step in self.steps],
            "without_gpus": list(self.unplanned),
        }


NO_REMEDY = "No single change makes it fit; take a smaller model"


def _step_to_json(step: StepPlan) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "model": step.model,
        "machine": step.machine,
        "fits": step.fits,
        "parameters": None if step.parameters is None else step.parameters._asdict(),
        "option": _option_to_json(step.option),
        "options": [_option_to_json(option) for option in step.options],
        "work": [one._asdict() for one in step.work],
        "gpu_hours": step.gpu_hours,
        "problem": step.problem,
        "remedies": list(step.remedies),
        "notes": list(step.notes),
    }


def _option_to_json(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "fits": option.problem is None,
        "bytes_per_gpu": option.bytes,
        "memory": [one._asdict() for one in option.memory],
        "problem": option.problem,
    }


def count_parameters(name: str, total: int, active: int) -> Quantity:
    formula = f"{name}, from the shapes of its config"
    if active < 0.9 * total:
        formula += f"; {active:,} active per token"
    return Quantity("parameters", total, "parameters", formula)


def summarize_work(seconds: float, gpus: int, formula: str) -> Sequence[Quantity]:
    """Return the time and the GPU-hours of a step."""
    return (
        Quantity("time", seconds, "s", formula),
        Quantity("GPU-hours", seconds * gpus / 3600, "GPU-hours", f"time x {gpus} GPUs"),
    )
