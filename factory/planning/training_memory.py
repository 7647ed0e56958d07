"""Bytes per GPU of a training, as this project and TRL hold them.

Weights and optimizer are fp32 (factory.train.weights says why), computation is bf16. Under FSDP
weights, gradients and optimizer are divided among all GPUs, and a layer's weights are gathered when
it is its turn. Activations are those of one micro batch: no GPU helps another with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from factory.planning.architecture import Architecture
from factory.planning.machine import Machine
from factory.planning.quantities import Quantity, add_up

Layout = Literal["single", "ddp", "fsdp", "fsdp-offload"]

HEAD_TILE = 4096 * 32_768
"""Logits that TRL's fused head holds at once (its TOKEN_CHUNK_SIZE x vocabulary chunk)."""

LAUNCH = {
    "single": "",
    "ddp": "recipes/r1/launch/ddp.yaml",
    "fsdp": "recipes/r1/launch/fsdp.yaml",
    "fsdp-offload": "recipes/r1/launch/fsdp_offload.yaml",
}
"""Layout → accelerate's configuration for it."""


@dataclass(frozen=True, slots=True)
class TrainingShape:
    """What of a training recipe decides its memory."""

    arch: Architecture
    tokens: int  # of a micro batch on one GPU: micro_batch x max_length
    checkpointing: bool = True
    lora_params: int | None = None  # None trains all weights
    reference: bool = False  # a second model for the KL divergence
    reward_models: tuple[Architecture, ...] = ()  # whole, in every process
    head: bool = True  # a language model's head; a reward model has none
    engine: tuple[Quantity, ...] = ()  # what an engine for rollouts holds on the same GPU
    offload: bool = False  # the layers' inputs are kept in host memory (TRL)
    asleep: bool = False  # the engine gives up its memory while the policy is updated


def list_layouts(gpus: int, lora: bool) -> tuple[Layout, ...]:
    """Return the layouts that N GPUs can be used in, the simplest first.

    LoRA needs whole weights on every GPU: its adapters are merged at the end.
    """
    if gpus == 1:
        return ("single",)
    return ("ddp",) if lora else ("ddp", "fsdp", "fsdp-offload")


def training_bytes(shape: TrainingShape, layout: Layout, gpus: int) -> list[Quantity]:
    """Return the bytes per GPU by what they are for."""
    held = list(_held_bytes(shape, layout, gpus))
    update = list(_update_bytes(shape, layout))
    if not shape.asleep:
        return [*held, *update, *shape.engine]
    spared = add_up(update)
    return [*held, *update, *(_asleep(one, spared) for one in shape.engine)]


def _asleep(engine: Quantity, spared: float) -> Quantity:
    """What an engine takes beyond the memory that the update takes when the engine has none."""
    formula = f"{engine.formula}, less the {spared / 1e9:.1f} GB of the update, when it is asleep"
    return engine._replace(value=max(0.0, engine.value - spared), formula=formula)


def fits(shape: TrainingShape, layout: Layout, machine: Machine) -> bool:
    return add_up(training_bytes(shape, layout, machine.gpus)) <= machine.usable


def _held_bytes(shape: TrainingShape, layout: Layout, gpus: int) -> Iterator[Quantity]:
    """What is held between updates too: weights, gradients, optimizer, other models."""
    arch = shape.arch
    sharded = layout in ("fsdp", "fsdp-offload")
    offloaded = layout == "fsdp-offload"
    parts = gpus if sharded else 1
    by = f" / {parts} GPUs" if parts > 1 else ""
    n = arch.params
    trained = n if shape.lora_params is None else shape.lora_params
    if not offloaded:
        yield Quantity("weights", n * 4 / parts, "bytes", f"{n:,} x 4 bytes{by}")
        yield Quantity("gradients", trained * 4 / parts, "bytes", f"{trained:,} x 4 bytes{by}")
        yield Quantity(
            "optimizer", trained * 8 / parts, "bytes", f"{trained:,} x 2 AdamW states x 4{by}"
        )
    if not sharded:
        yield Quantity("bf16 copies", n * 2, "bytes", f"{n:,} x 2 bytes (autocast's cache)")
        if layout == "ddp":
            yield Quantity("DDP buckets", trained * 4, "bytes", f"{trained:,} x 4 bytes")
    if shape.reference and not offloaded:
        yield Quantity("reference model", n * 4 / parts, "bytes", f"{n:,} x 4 bytes{by}")
    for model in shape.reward_models:
        formula = f"{model.params:,} x 2 bytes, whole in every process"
        yield Quantity(f"reward model {model.name}", model.params * 2, "bytes", formula)


def _update_bytes(shape: TrainingShape, layout: Layout) -> Iterator[Quantity]:
    """What only an update holds: gathered layers, the head, activations."""
    arch = shape.arch
    sharded = layout in ("fsdp", "fsdp-offload")
    if sharded:
        layer = arch.layer_params
        formula = f"2 layers x {layer:,} x (2 bytes weights + 4 bytes gradients)"
        yield Quantity("gathered layers", 2 * layer * (2 + 4), "bytes", formula)
    if shape.head:
        yield from _head_bytes(arch, sharded)
    yield from _activation_bytes(shape, layout)


def _head_bytes(arch: Architecture, sharded: bool) -> Iterator[Quantity]:
    """The fused head: its gradient in fp32, a tile of logits, and gathered weights if sharded."""
    head = arch.embedding_params
    gathered = 4 if sharded else 0
    formula = f"{head:,} x ({gathered} gathered + 4 gradient) + {HEAD_TILE:,} logits x 2 bytes"
    yield Quantity("output head", head * (gathered + 4) + HEAD_TILE * 2, "bytes", formula)


def _activation_bytes(shape: TrainingShape, layout: Layout) -> Iterator[Quantity]:
    arch, tokens = shape.arch, shape.tokens
    autocast = layout in ("single", "ddp")  # which keeps the residual stream in fp32
    width, wide = 4 if autocast else 2, arch.token_width(autocast)
    one = tokens * wide * 2
    if shape.checkpointing:
        layers = min(2, arch.layers) if shape.offload else arch.layers
        kept = layers * tokens * arch.hidden * width
        formula = (
            f"{layers} layers x {tokens:,} tokens x {arch.hidden:,} x {width} bytes kept + "
            f"one layer: {tokens:,} x {wide:,} x 2 bytes x 2 (values, gradients)"
        )
        yield Quantity("activations", kept + 2 * one, "bytes", formula)
    else:
        formula = f"{arch.layers} layers x {tokens:,} tokens x {wide:,} x 2 bytes"
        yield Quantity("activations", arch.layers * one, "bytes", formula)


def host_memory(shape: TrainingShape, layout: Layout) -> Iterator[Quantity]:
    """Yield the host memory that a layout takes, over all machines together."""
    if layout == "fsdp-offload":
        each = 16 + (4 if shape.reference else 0)
        n = shape.arch.params
        yield Quantity("host memory in all", n * each, "bytes", f"{n:,} x {each} bytes")
    if shape.offload:
        value = shape.arch.layers * shape.tokens * shape.arch.hidden * 2
        formula = (
            f"{shape.arch.layers} layers x {shape.tokens:,} tokens x {shape.arch.hidden:,} x 2"
        )
        yield Quantity("host memory per GPU", value, "bytes", formula)


def lora_parameters(arch: Architecture, rank: int) -> int:
    """Return the parameters of adapters on every linear module of a dense model.

    An adapter of a module with m inputs and n outputs has rank x (m + n).
    """
    wide, narrow = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    attention = 2 * (arch.hidden + wide) + 2 * (arch.hidden + narrow)
    mlp = 3 * (arch.hidden + arch.intermediate)
    return rank * arch.layers * (attention + mlp)
