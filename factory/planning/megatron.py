"""Bytes per GPU of a training handed over to verl with Megatron: pipeline and expert parallel.

Megatron holds bf16 weights and fp32 gradients of a GPU's own layers and experts. verl moves the
optimizer's states, and while rollouts run everything, to host memory, so that the engine for
rollouts has the GPU to itself.
"""

from __future__ import annotations

from typing import NamedTuple

from factory.planning.architecture import Architecture
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.quantities import Quantity, add_up

OPTIMIZER_BYTES = 12
"""Host memory per parameter: fp32 master weights and AdamW's two states."""

ROLLOUT_SHARE = 0.8
"""Share of a GPU's memory that verl gives the engine for rollouts."""


class MegatronLayout(NamedTuple):
    """A division of a model, and of the tokens of a sequence, among GPUs."""

    pipeline: int
    expert: int
    context: int
    gpus: int

    def describe(self) -> str:
        return (
            f"Megatron: pipeline {self.pipeline} x expert {self.expert}, context {self.context} "
            f"({self.gpus} GPUs)"
        )


def needs_megatron(arch: Architecture) -> bool:
    """Return whether a model can't be trained here: routed experts, or quantized weights."""
    return arch.experts > 0 or arch.quantization is not None


def megatron_bytes(arch: Architecture, layout: MegatronLayout, tokens: int) -> list[Quantity]:
    """Return the bytes per GPU while training on sequences of `tokens` tokens, one at a time."""
    routed = arch.routed_params
    own = (arch.params - routed) / layout.pipeline + routed / (layout.pipeline * layout.expert)
    by = (
        f"({arch.params - routed:,} / {layout.pipeline} + {routed:,} / "
        f"({layout.pipeline} x {layout.expert}))"
    )
    layers = -(-arch.layers // layout.pipeline)
    in_flight = layout.pipeline  # the first stage keeps the inputs of as many micro batches
    here = -(-tokens // layout.context)
    wide = arch.token_width(False)
    kept = layers * in_flight * here * arch.hidden * 2
    formula = (
        f"{layers} layers x {in_flight} micro batches x {here:,} tokens x {arch.hidden:,} x 2 "
        f"bytes + one layer: {here:,} x {wide:,} x 2 bytes x 2"
    )
    logits = f"{here:,} tokens x {arch.vocab:,} x 2 bytes x 2 (values, gradients), last stage"
    return [
        Quantity("weights", own * 2, "bytes", f"{by} x 2 bytes"),
        Quantity("gradients", own * 4, "bytes", f"{by} x 4 bytes"),
        Quantity("activations", kept + 4 * here * wide, "bytes", formula),
        Quantity("logits", here * arch.vocab * 4, "bytes", logits),
    ]


def host_bytes(arch: Architecture, machine: Machine) -> Quantity:
    """Return the host memory per machine of the optimizer and of weights moved there."""
    each = OPTIMIZER_BYTES + 2
    value = arch.params * each * GPUS_PER_NODE / machine.gpus
    formula = f"{arch.params:,} x {each} bytes x {GPUS_PER_NODE} / {machine.gpus} GPUs"
    return Quantity("host memory per machine", value, "bytes", formula)


def find_megatron_layout(
    arch: Architecture, machine: Machine, tokens: int
) -> MegatronLayout | None:
    """Return the division with the least communication that fits; None if none does.

    Fewer pipeline stages and fewer GPUs per sequence come first.
    """
    found = []
    for pipeline in (1, 2, 4, 8, 16):
        for expert in (1, 2, 4, 8, 16, 32) if arch.experts else (1,):
            for context in (1, 2, 4, 8):
                layout = MegatronLayout(pipeline, expert, context, machine.gpus)
                divides = machine.gpus % (pipeline * expert) == 0
                divides &= machine.gpus % (pipeline * context) == 0
                divides &= pipeline <= arch.layers and (arch.experts or expert) % expert == 0
                if divides and add_up(megatron_bytes(arch, layout, tokens)) <= machine.usable:
                    found.append(layout)
    return min(found, key=lambda one: (one.pipeline * one.expert * one.context, one), default=None)
