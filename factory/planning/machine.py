"""The machine of a plan: GPUs, and the shares of their peaks that a plan counts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from factory.core.errors import Problem, RecipeError


class Accelerator(NamedTuple):
    """A GPU by its maker's data sheet. 1 GB is 10^9 bytes."""

    memory: float  # GB
    bandwidth: float  # bytes per second
    flops: float  # dense bf16 per second


ACCELERATORS = {
    "h100": Accelerator(80, 3.35e12, 989e12),
    "h800": Accelerator(80, 3.35e12, 989e12),
    "h200": Accelerator(141, 4.8e12, 989e12),
    "h20": Accelerator(96, 4.0e12, 148e12),
    "a100": Accelerator(80, 2.0e12, 312e12),
    "b200": Accelerator(180, 8.0e12, 2250e12),
    "l40s": Accelerator(48, 0.864e12, 362e12),
}

GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """N equal GPUs, and what a plan assumes of them."""

    gpus: int = 8
    gpu: str = "h100"
    memory: float = 80e9  # bytes per GPU
    mfu: float = 0.4
    """Share of the peak FLOPs that training and prefill reach."""
    bandwidth_share: float = 0.7
    """Share of the peak memory bandwidth that decoding reaches."""
    layer_overhead: float = 40e-6
    """Seconds of a layer in every decoding step beyond reading memory: launches, reductions."""
    memory_share: float = 0.9
    """Share of the memory that is planned with; CUDA, NCCL and fragments take the rest."""

    @property
    def usable(self) -> float:
        """Bytes per GPU that a plan may fill."""
        return self.memory * self.memory_share

    @property
    def flops(self) -> float:
        """FLOPs per second and GPU that are counted on."""
        return ACCELERATORS[self.gpu].flops * self.mfu

    @property
    def bandwidth(self) -> float:
        """Bytes per second and GPU that are counted on."""
        return ACCELERATORS[self.gpu].bandwidth * self.bandwidth_share

    def describe(self) -> str:
        return f"{self.gpus} x {self.gpu.upper()} of {self.memory / 1e9:g} GB"


def make_machine(gpus: int, gpu: str, memory: float | None, mfu: float) -> Machine:
    """Return a machine of `gpus` GPUs of a known kind; `memory` in GB overrides the kind's own.

    Raises RecipeError for an unknown kind.
    """
    kind = gpu.lower()
    if kind not in ACCELERATORS:
        what = f"is {gpu!r}; it must be one of {', '.join(ACCELERATORS)}"
        raise RecipeError([Problem("--gpu", what)])
    size = memory if memory is not None else ACCELERATORS[kind].memory
    return Machine(gpus=gpus, gpu=kind, memory=size * 1e9, mfu=mfu)
