"""The plan of a training: memory per GPU by layout, FLOPs, time, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from factory.core.errors import Problem, RecipeError
from factory.planning.architecture import Architecture
from factory.planning.handover_plan import plan_handover
from factory.planning.lineage import Lineage
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.megatron import needs_megatron
from factory.planning.quantities import Quantity, add_up
from factory.planning.result import Option, StepPlan, count_parameters
from factory.planning.rollout_plan import plan_rollouts, rollout_engine
from factory.planning.sampling_plan import Assumptions
from factory.planning.training_memory import (
    LAUNCH,
    Layout,
    TrainingShape,
    fits,
    host_memory,
    list_layouts,
    lora_parameters,
    training_bytes,
)
from factory.planning.training_work import plan_work
from factory.recipe.grpo import Grpo
from factory.recipe.model_rewards import RewardModelScore, StepScores
from factory.recipe.reward_model import RewardModel
from factory.recipe.sft import Sft
from factory.recipe.training import Training

SHORTEST = 1024
MOST_GPUS = 4096


Trainer = Literal["here", "verl"]


def plan_training(
    recipe: Training,
    lineage: Lineage,
    machine: Machine,
    given: Assumptions,
    trainer: Trainer = "here",
) -> StepPlan:
    """Return the plan of a recipe of kind sft, grpo or reward_model.

    Raises RecipeError where verl is asked for what it isn't handed: other kinds, dense models.
    """
    arch = lineage.find(recipe.model.id)
    if trainer == "verl":
        if isinstance(recipe, RewardModel) or not needs_megatron(arch):
            what = (
                "is verl, whose plan is for SFT and GRPO of models with routed experts or "
                "quantized weights; plan this recipe without it"
            )
            raise RecipeError([Problem("--trainer", what)])
        return plan_handover(recipe, arch, lineage, machine, given)
    if isinstance(recipe, Sft) and recipe.layers is not None:
        arch = replace(
            arch, layers=recipe.layers, dense_layers=min(arch.dense_layers, recipe.layers)
        )
    shape = make_shape(recipe, arch, lineage, machine)
    problem = _refuse_weights(arch)
    options = [_make_option(shape, layout, machine) for layout in _layouts(recipe, machine)]
    option = next((one for one in options if one.problem is None), None)
    if problem is None and option is None:
        problem = _explain(options[-1])
    if problem is None and isinstance(recipe, Grpo) and recipe.rollouts.kind == "colocate":
        refusal = rollout_engine(recipe, arch, machine).problem(machine)
        problem = refusal and f"the engine for rollouts does not: {refusal}"
    planned = option or options[-1]
    work: list[Quantity] = []
    notes: list[str] = []
    if problem is None:
        if isinstance(recipe, Grpo):
            engine = rollout_engine(recipe, arch, machine)
            work, notes = plan_rollouts(recipe, arch, machine, given, engine)
        else:
            work, notes = plan_work(recipe, arch, lineage, machine, given)
        work += host_memory(shape, _layout_of(planned))
        launch = LAUNCH[_layout_of(planned)]
        if launch:
            notes.append(f"start it with accelerate launch --config_file {launch}")
    return StepPlan(
        name=recipe.name,
        kind=recipe.kind,
        model=arch.name,
        machine=machine.describe(),
        parameters=count_parameters(arch.name, arch.params, arch.active_params),
        option=planned,
        options=tuple(one for one in options if one is not planned),
        work=tuple(work),
        problem=problem,
        remedies=() if problem is None else tuple(_remedies(recipe, shape, lineage, machine)),
        notes=tuple(notes),
    )


def make_shape(
    recipe: Training, arch: Architecture, lineage: Lineage, machine: Machine
) -> TrainingShape:
    """Return what of a recipe decides the bytes per GPU."""
    length = min(recipe.max_length or 32_768, max(arch.context, recipe.max_length or 0))
    lora = None if recipe.lora is None else lora_parameters(arch, recipe.lora.rank)
    shape = TrainingShape(
        arch,
        tokens=recipe.micro_batch * length,
        checkpointing=recipe.gradient_checkpointing,
        lora_params=lora,
        head=not isinstance(recipe, RewardModel),
        offload=bool(recipe.args.get("activation_offloading")),
    )
    if not isinstance(recipe, Grpo):
        return shape
    judges = tuple(
        lineage.find(part.model)
        for part in recipe.rewards.values()
        if isinstance(part, RewardModelScore | StepScores)
    )
    reference = bool(recipe.beta) and recipe.lora is None
    shape = replace(shape, reference=reference, reward_models=judges)
    shape = replace(shape, asleep=bool(recipe.args.get("vllm_enable_sleep_mode")))
    if recipe.rollouts.kind == "colocate":
        return _with_engine(shape, recipe.rollouts.gpu_memory, machine)
    return shape


def _layouts(recipe: Training, machine: Machine) -> tuple[Layout, ...]:
    return list_layouts(machine.gpus, recipe.lora is not None)


def _make_option(shape: TrainingShape, layout: Layout, machine: Machine) -> Option:
    memory = tuple(training_bytes(shape, layout, machine.gpus))
    problem = None
    if add_up(memory) > machine.usable:
        problem = (
            f"a GPU needs {add_up(memory) / 1e9:,.1f} GB of {machine.usable / 1e9:,.1f} GB "
            f"({machine.memory_share:.0%} of {machine.memory / 1e9:g} GB)"
        )
    return Option(_name_layout(layout, machine.gpus), memory, problem)


_NAMES: dict[Layout, str] = {
    "single": "one process",
    "ddp": "DDP, the whole model on every GPU",
    "fsdp": "FSDP, weights and optimizer divided",
    "fsdp-offload": "FSDP with weights and optimizer in host memory",
}


def _name_layout(layout: Layout, gpus: int) -> str:
    return f"{_NAMES[layout]} ({gpus} GPU{'s' * (gpus > 1)})"


def _layout_of(option: Option) -> Layout:
    return next(layout for layout, name in _NAMES.items() if option.name.startswith(f"{name} ("))


def _explain(option: Option) -> str:
    largest = max(option.memory, key=lambda one: one.value)
    return f"{option.problem}, most of it {largest.name} ({largest.value / 1e9:,.1f} GB)"


def _refuse_weights(arch: Architecture) -> str | None:
    """Return why transformers can't train this model, or None."""
    if arch.quantization is not None:
        return f"the weights are stored as {arch.quantization}, which transformers can't train"
    if arch.experts:
        return f"{arch.experts} routed experts per layer need expert parallelism"
    return None


def _remedies(
    recipe: Training, shape: TrainingShape, lineage: Lineage, machine: Machine
) -> Iterator[str]:
    """Yield single changes after which the training fits, those that change the least first.

    Settings without an effect on the result come first, then more GPUs, then what changes the
    result.
    """
    if needs_megatron(shape.arch):
        yield from _hand_over(recipe, shape.arch, lineage, machine)
        return
    if _any_fits(shape, recipe, machine):  # so it is the engine for rollouts that does not fit
        assert isinstance(recipe, Grpo)
        yield from _engine_changes(recipe, shape, machine)
        return
    for change, smaller in _same_result(recipe, shape, machine):
        if _any_fits(smaller, recipe, machine):
            yield change
    gpus = _fewest_gpus(recipe, shape, machine)
    if gpus is not None:
        yield f"Take {gpus} GPUs of {machine.memory / 1e9:g} GB ({_NAMES['fsdp']})"
    length = _longest(recipe, shape, machine)
    if length is not None:
        if isinstance(recipe, Grpo):
            yield (
                f"Set max_length: {length} and rollouts.max_tokens to less, which shortens the "
                "completions"
            )
        else:
            yield f"Set max_length: {length}, and leave out longer rows"
    if recipe.lora is None and shape.arch.experts == 0:
        adapters = replace(shape, lora_params=lora_parameters(shape.arch, 32), reference=False)
        if fits(adapters, "single" if machine.gpus == 1 else "ddp", machine):
            yield "Set lora: true, which trains adapters of rank 32 instead of all weights"


def _hand_over(
    recipe: Training, arch: Architecture, lineage: Lineage, machine: Machine
) -> Iterator[str]:
    """Yield the plan by verl and Megatron, with as many GPUs as it takes."""
    if isinstance(recipe, RewardModel):
        yield "Train a reward model from a dense model, such as Qwen/Qwen2.5-7B"
        return
    by_verl = plan_handover(recipe, arch, lineage, machine, Assumptions())
    where = by_verl.remedies[0] if by_verl.remedies else f"It fits: {by_verl.option.name}"
    yield (
        "Hand it over to verl with Megatron, which trains such weights in bf16 (factory plan "
        f"RECIPE --trainer verl, factory export RECIPE --launch verl). {where}"
    )


def _engine_changes(recipe: Grpo, shape: TrainingShape, machine: Machine) -> Iterator[str]:
    """Yield settings with which the engine for rollouts fits next to the training."""
    tensor = recipe.rollouts.tensor_parallel
    while (tensor := tensor * 2) <= min(machine.gpus, GPUS_PER_NODE):
        rollouts = recipe.rollouts.model_copy(update={"tensor_parallel": tensor})
        changed = recipe.model_copy(update={"rollouts": rollouts})
        if rollout_engine(changed, shape.arch, machine).problem(machine) is None:
            yield f"Set rollouts.tensor_parallel: {tensor}"
            break
    for share in (0.35, 0.4, 0.5, 0.6, 0.7):
        larger = _with_engine(shape, share, machine)
        engine = rollout_engine(recipe, shape.arch, machine, share)
        fitting = engine.problem(machine) is None and _any_fits(larger, recipe, machine)
        if share > recipe.rollouts.gpu_memory and fitting:
            yield f"Set rollouts.gpu_memory: {share:g}"
            break


def _with_engine(shape: TrainingShape, share: float, machine: Machine) -> TrainingShape:
    formula = f"rollouts.gpu_memory {share:g} x {machine.memory / 1e9:g} GB"
    held = Quantity("vLLM for rollouts", share * machine.memory, "bytes", formula)
    return replace(shape, engine=(held,))


def _same_result(
    recipe: Training, shape: TrainingShape, machine: Machine
) -> Iterator[tuple[str, TrainingShape]]:
    if not recipe.gradient_checkpointing:
        yield "Set gradient_checkpointing: true", replace(shape, checkpointing=True)
    if recipe.micro_batch > 1:
        one = replace(shape, tokens=shape.tokens // recipe.micro_batch)
        yield "Set micro_batch: 1", one
    if not isinstance(recipe, Grpo) and not shape.offload:
        yield (
            "Set args.activation_offloading: true, which keeps layers' inputs in host memory",
            replace(shape, offload=True),
        )
    if isinstance(recipe, Grpo):
        if shape.reward_models:
            yield (
                "Score with rewards of kind: server (vllm serve MODEL --runner pooling), which "
                "takes the reward models off the policy's GPUs",
                replace(shape, reward_models=()),
            )
        if not shape.asleep:
            yield (
                "Set args.vllm_enable_sleep_mode: true, so that the engine gives up its memory "
                "while the policy is updated",
                replace(shape, asleep=True),
            )
        for share in (0.25, 0.2, 0.15, 0.1):
            engine = rollout_engine(recipe, shape.arch, machine, share)
            if share < recipe.rollouts.gpu_memory and engine.problem(machine) is None:
                yield f"Set rollouts.gpu_memory: {share:g}", _with_engine(shape, share, machine)


def _any_fits(shape: TrainingShape, recipe: Training, machine: Machine) -> bool:
    return any(fits(shape, layout, machine) for layout in _layouts(recipe, machine))


def _fewest_gpus(recipe: Training, shape: TrainingShape, machine: Machine) -> int | None:
    """Return the fewest GPUs, more than there are, on which it fits, in whole machines above 8."""
    gpus = machine.gpus
    while gpus < MOST_GPUS:
        gpus = gpus * 2 if gpus < GPUS_PER_NODE else gpus + GPUS_PER_NODE
        larger = replace(machine, gpus=gpus)
        if any(fits(shape, layout, larger) for layout in _layouts(recipe, larger)):
            return gpus
    return None


def _longest(recipe: Training, shape: TrainingShape, machine: Machine) -> int | None:
    """Return the longest `max_length` that fits, in steps of 1,024 tokens."""
    length = shape.tokens // recipe.micro_batch // SHORTEST * SHORTEST
    while length > SHORTEST:
        length -= SHORTEST
        if _any_fits(replace(shape, tokens=length * recipe.micro_batch), recipe, machine):
            return length
    return None
