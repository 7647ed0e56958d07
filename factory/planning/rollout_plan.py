"""The plan of a GRPO step: rollouts by an engine on the same GPUs, then the update."""

from __future__ import annotations

from factory.planning.amounts import count_prompts
from factory.planning.architecture import Architecture
from factory.planning.decoding import PROMPT_TOKENS, EngineLayout, rollout_seconds
from factory.planning.machine import Machine
from factory.planning.quantities import Quantity
from factory.planning.result import summarize_work
from factory.planning.sampling_plan import Assumptions
from factory.recipe.grpo import Grpo


def rollout_engine(
    recipe: Grpo, arch: Architecture, machine: Machine, share: float | None = None
) -> EngineLayout:
    """Return the engines that a recipe's rollouts run on: bf16 copies of the policy."""
    rollouts = recipe.rollouts
    tensor = rollouts.tensor_parallel
    return EngineLayout(
        arch,
        tensor=tensor,
        replicas=max(1, machine.gpus // tensor),
        share=share or (rollouts.gpu_memory if rollouts.kind == "colocate" else 0.9),
        context=recipe.max_length or rollouts.max_tokens + PROMPT_TOKENS,
    )


def plan_rollouts(
    recipe: Grpo, arch: Architecture, machine: Machine, given: Assumptions, engine: EngineLayout
) -> tuple[list[Quantity], list[str]]:
    """Return the work and the time of a GRPO training, and what is not known.

    The completions of a rollout are generated together and nothing is refilled, so a rollout lasts
    until its longest completion has ended. Then every completion is trained on, once per iteration,
    with a pass of the reference model.
    """
    rollouts = recipe.rollouts
    mean = given.completion_tokens(rollouts.max_tokens)
    each = recipe.batch * rollouts.batches
    generation = rollout_seconds(engine, machine, each, mean, rollouts.max_tokens)
    tokens = each * (mean + PROMPT_TOKENS)
    update = update_flops(recipe, arch, tokens, mean) / (machine.gpus * machine.flops)
    work = [
        Quantity(
            "rollout",
            generation,
            "s",
            f"{each:,} completions on {engine.replicas} engines of {engine.tensor} GPUs, mean "
            f"{mean:,.0f} tokens, until the longest ends (at most {rollouts.max_tokens:,})",
        ),
        Quantity(
            "updates of a rollout",
            update,
            "s",
            f"{_passes(recipe)} FLOPs x {tokens:,.0f} tokens x ({arch.active_params:,} active "
            f"parameters + attention) / ({machine.gpus} GPUs x {machine.flops / 1e12:,.0f}e12)",
        ),
    ]
    steps, notes = _count_steps(recipe, given)
    if steps is None:
        return work, notes
    rounds = -(-steps // recipe.steps_per_rollout)
    work.append(
        Quantity(
            "generated tokens",
            rounds * each * mean,
            "tokens",
            f"{rounds:,} rollouts x {each:,} completions x {mean:,.0f} tokens",
        )
    )
    formula = f"{rounds:,} rollouts ({steps:,} steps) x (rollout + updates)"
    work += summarize_work(rounds * (generation + update), machine.gpus, formula)
    return work, notes


def update_flops(recipe: Grpo, arch: Architecture, tokens: float, mean: float) -> float:
    """Return the FLOPs of the updates of one rollout: policy, reference and old probabilities."""
    attention = arch.layers * arch.heads * arch.head_dim * mean
    return _passes(recipe) * tokens * (arch.active_params + attention)


def _passes(recipe: Grpo) -> int:
    """FLOPs per parameter and token of the updates of one rollout."""
    training = (8 if recipe.gradient_checkpointing else 6) * recipe.iterations
    reference = 2 if recipe.beta else 0
    # The policy's own probabilities before an update that is not the first on its rollout.
    old = 2 if recipe.steps_per_rollout > 1 or recipe.rollouts.correction != "none" else 0
    return training + reference + old


def _count_steps(recipe: Grpo, given: Assumptions) -> tuple[int | None, list[str]]:
    if recipe.steps is not None:
        return recipe.steps, []
    questions, unknown = count_prompts(recipe.sources)
    if given.rows is not None:
        questions, unknown = given.rows, []
    if unknown or not questions:
        return None, [f"steps are not known without the rows of {', '.join(unknown)}: --rows"]
    return int(recipe.epochs * questions * recipe.samples / recipe.batch), []
