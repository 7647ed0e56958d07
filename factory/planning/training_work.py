"""Tokens, FLOPs and time of a training on rows that exist: SFT and reward models."""

from __future__ import annotations

from collections.abc import Iterator

from factory.planning.amounts import count_corpus
from factory.planning.architecture import Architecture
from factory.planning.lineage import Lineage
from factory.planning.machine import Machine
from factory.planning.quantities import Quantity
from factory.planning.result import summarize_work
from factory.planning.sampling_plan import Assumptions
from factory.recipe.reward_model import RewardModel
from factory.recipe.sft import Sft
from factory.recipe.training import Training

R1_MEAN_TOKENS = 5355
"""Mean tokens of R1's 800k rows (v2, Table 5)."""


def training_flops(arch: Architecture, tokens: float, length: float, recompute: bool) -> Quantity:
    """Return the FLOPs of training on `tokens` in rows of `length` tokens.

    Every parameter costs 2 FLOPs forward and 4 backward, and 2 more if activations are computed
    again. Causal attention over n tokens costs 2 x layers x heads x head_dim x n per token forward.
    """
    passes = 8 if recompute else 6
    attention = arch.layers * arch.heads * arch.head_dim * length
    value = passes * tokens * (arch.active_params + attention)
    formula = (
        f"{passes} x {tokens:,.0f} tokens x ({arch.active_params:,} active parameters + attention "
        f"over {length:,.0f} tokens)"
    )
    return Quantity("FLOPs", value, "FLOPs", formula)


def plan_work(
    recipe: Training, arch: Architecture, lineage: Lineage, machine: Machine, given: Assumptions
) -> tuple[list[Quantity], list[str]]:
    """Return tokens, FLOPs and time of a training, and what is not known."""
    limit = recipe.max_length or 32_768
    mean = min(limit, given.mean_tokens or R1_MEAN_TOKENS)
    rows, source = _count_rows(recipe, lineage, given)
    if rows is None:
        return [], ["time is not known without the number of rows: give it with --rows"]
    passes = recipe.epochs if recipe.steps is None else recipe.steps * recipe.batch / rows
    tokens = rows * mean * passes
    formula = f"{rows:,} rows ({source}) x {mean:,.0f} tokens x {passes:g} epochs"
    flops = training_flops(arch, tokens, mean, recipe.gradient_checkpointing)
    work = [Quantity("tokens", tokens, "tokens", formula), flops]
    return [*work, *_time(flops.value, tokens, machine)], []


def _time(flops: float, tokens: float, machine: Machine) -> Iterator[Quantity]:
    seconds = flops / (machine.gpus * machine.flops)
    formula = (
        f"FLOPs / ({machine.gpus} GPUs x {machine.flops / 1e12:,.0f}e12 at MFU {machine.mfu:g})"
    )
    yield Quantity("speed", tokens / seconds, "tokens/s", "tokens / time")
    yield from summarize_work(seconds, machine.gpus, formula)


def _count_rows(recipe: Training, lineage: Lineage, given: Assumptions) -> tuple[int | None, str]:
    """Return the rows that a training reads, and where the number comes from."""
    if given.rows is not None:
        return given.rows, "--rows"
    data = recipe.inputs().get("data")
    if isinstance(recipe, Sft) and data is not None:
        found = count_corpus(recipe.data)
        if found is not None:
            return found, "the corpus"
        found = lineage.rows(recipe.data)
        if found is not None:
            return found, "the assembly's quotas"
    if recipe.steps is not None:
        return recipe.steps * recipe.batch, "steps x batch"
    if isinstance(recipe, RewardModel):
        return 66_000, "R1's pairs (v2)"
    return None, ""
