"""The plan of a training that verl runs with Megatron: `factory export RECIPE --launch verl`."""

from __future__ import annotations

from dataclasses import replace

from factory.planning.architecture import Architecture
from factory.planning.decoding import EngineLayout
from factory.planning.lineage import Lineage
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.megatron import (
    ROLLOUT_SHARE,
    MegatronLayout,
    find_megatron_layout,
    host_bytes,
    megatron_bytes,
)
from factory.planning.quantities import Quantity
from factory.planning.result import Option, StepPlan, count_parameters
from factory.planning.rollout_plan import plan_rollouts
from factory.planning.sampling_plan import Assumptions
from factory.planning.training_work import plan_work
from factory.recipe.grpo import Grpo
from factory.recipe.training import Training

MOST_GPUS = 4096


def plan_handover(
    recipe: Training, arch: Architecture, lineage: Lineage, machine: Machine, given: Assumptions
) -> StepPlan:
    """Return the plan of an SFT or GRPO recipe on verl with Megatron."""
    tokens = recipe.max_length or 32_768
    layout = find_megatron_layout(arch, machine, tokens)
    engine = find_rollout_engine(recipe, arch, machine) if isinstance(recipe, Grpo) else None
    shown = layout or MegatronLayout(16, 16 if arch.experts else 1, 8, machine.gpus)
    memory = tuple(megatron_bytes(arch, shown, tokens))
    option = Option(shown.describe(), memory)
    problem = None
    if layout is None:
        problem = f"a GPU needs {option.bytes / 1e9:,.1f} GB in {shown.describe()}"
    elif engine is None and isinstance(recipe, Grpo):
        problem = f"no engine for rollouts fits on {machine.gpus} GPUs"
    work: list[Quantity] = []
    notes: list[str] = []
    if problem is None:
        if isinstance(recipe, Grpo) and engine is not None:
            work, notes = plan_rollouts(recipe, arch, machine, given, engine)
            notes.append(f"rollouts on {engine.replicas} engines of {engine.tensor} GPUs")
        else:
            work, notes = plan_work(recipe, arch, lineage, machine, given)
        work.insert(0, host_bytes(arch, machine))
        command = f"factory export RECIPE --launch verl --gpus {machine.gpus}"
        notes.append(f"{command} writes verl's config")
    return StepPlan(
        name=recipe.name,
        kind=f"{recipe.kind}, by verl",
        model=arch.name,
        machine=machine.describe(),
        parameters=count_parameters(arch.name, arch.params, arch.active_params),
        option=replace(option, problem=problem),
        work=tuple(work),
        problem=problem,
        remedies=() if problem is None else _more_gpus(recipe, arch, machine, tokens),
        notes=tuple(notes),
    )


def find_rollout_engine(recipe: Grpo, arch: Architecture, machine: Machine) -> EngineLayout | None:
    """Return the smallest engine for rollouts that fits; verl loads bf16 weights into it."""
    tensor = 1
    while tensor <= machine.gpus:
        layout = EngineLayout(
            arch,
            tensor=tensor,
            replicas=machine.gpus // tensor,
            share=ROLLOUT_SHARE,
            context=recipe.max_length or recipe.rollouts.max_tokens,
        )
        if layout.problem(machine) is None:
            return layout
        tensor *= 2
    return None


def _more_gpus(
    recipe: Training, arch: Architecture, machine: Machine, tokens: int
) -> tuple[str, ...]:
    gpus = max(GPUS_PER_NODE, machine.gpus)
    while gpus < MOST_GPUS:
        gpus *= 2
        larger = replace(machine, gpus=gpus)
        layout = find_megatron_layout(arch, larger, tokens)
        if layout is None:
            continue
        if not isinstance(recipe, Grpo) or find_rollout_engine(recipe, arch, larger) is not None:
            return (f"Take {gpus} GPUs of {machine.memory / 1e9:g} GB ({layout.describe()})",)
    return ()
