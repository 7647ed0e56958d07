"""verl's Megatron settings for models that FSDP can't train: routed experts, or fp8 weights."""

from __future__ import annotations

from typing import Any

from factory.core.errors import CapacityError, ModelError
from factory.planning.architecture import Architecture, find_architecture
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.megatron import MegatronLayout, find_megatron_layout, needs_megatron
from factory.recipe.training import Optimizer


def find_expert_model(model: str) -> Architecture | None:
    """Return the architecture of a model that needs Megatron; None for others and unknown ones."""
    try:
        arch = find_architecture(model)
    except ModelError:
        return None
    return arch if needs_megatron(arch) else None


def divide(arch: Architecture, gpus: int, tokens: int) -> MegatronLayout:
    """Return the division of a model among GPUs of 80 GB.

    Raises CapacityError where no division fits.
    """
    layout = find_megatron_layout(arch, Machine(gpus=gpus), tokens)
    if layout is None:
        raise CapacityError(
            f"{arch.name} with {tokens:,} tokens per row can't be divided among {gpus} GPUs of 80 "
            "GB; give more with --gpus (factory plan RECIPE --trainer verl says how many)"
        )
    return layout


def megatron_settings(arch: Architecture, layout: MegatronLayout) -> dict[str, Any]:
    """Return verl's keys of a Megatron engine: the division, and what moves to host memory."""
    each = -(-arch.layers // layout.pipeline)
    last = arch.layers - each * (layout.pipeline - 1)
    transformer: dict[str, Any] = {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    }
    if last != each:
        transformer["num_layers_in_last_pipeline_stage"] = last
    return {
        **parallel_sizes(layout),
        "param_offload": True,
        "grad_offload": True,
        "optimizer_offload": True,
        "use_mbridge": True,  # reads fp8 weights as they are on the Hub
        "override_transformer_config": transformer,
    }


def parallel_sizes(layout: MegatronLayout) -> dict[str, int]:
    return {
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": layout.pipeline,
        "context_parallel_size": layout.context,
        "expert_model_parallel_size": layout.expert,
        "expert_tensor_parallel_size": 1,
    }


def megatron_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return AdamW's settings as verl's keys for Megatron."""
    found: dict[str, Any] = {
        "lr": optimizer.learning_rate,
        "lr_decay_style": optimizer.schedule,
        "min_lr": optimizer.learning_rate * optimizer.floor,
        "weight_decay": optimizer.weight_decay,
        "clip_grad": optimizer.max_grad_norm,
    }
    if optimizer.warmup < 1:
        return {**found, "lr_warmup_steps_ratio": optimizer.warmup}
    return {**found, "lr_warmup_steps": int(optimizer.warmup)}


def machines(gpus: int) -> dict[str, int]:
    """Return GPUs as verl counts them: machines, and GPUs of each."""
    here = min(gpus, GPUS_PER_NODE)
    return {"nnodes": gpus // here, "n_gpus_per_node": here}
