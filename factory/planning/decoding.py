"""Generation: an engine's memory per GPU, and its speed by the bytes that a decoding step reads.

A step reads every weight that some sequence of the batch needs, and every sequence's KV cache. A
model with routed experts reads those experts that a batch of b sequences touches:
experts x (1 - (1 - active / experts)^b).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from factory.planning.architecture import Architecture
from factory.planning.machine import Machine
from factory.planning.quantities import Quantity

WORKSPACE = 2e9
"""Bytes per GPU for CUDA graphs, the sampler's buffers and NCCL; vLLM reports 1 to 3 GB."""

PREFILL_TOKENS = 8192
"""vLLM's default of max_num_batched_tokens on such GPUs: tokens of one prefill step."""

PROMPT_TOKENS = 256
"""Tokens of a prompt, where nothing is known."""

MAX_NUM_SEQS = 256
"""vLLM's default number of sequences in a batch."""


@dataclass(frozen=True, slots=True)
class EngineLayout:
    """One engine as a recipe sets it, and how many of them there are."""

    arch: Architecture
    tensor: int = 1
    pipeline: int = 1
    data: int = 1  # ranks with their own sequences that share the routed experts
    replicas: int = 1
    share: float = 0.9  # of a GPU's memory, for the engine
    context: int = 32_768  # max_model_len
    weight_bytes: float = 2.0  # per parameter
    kv_bytes: float = 2.0  # per number
    max_seqs: int = MAX_NUM_SEQS

    @property
    def gpus(self) -> int:
        return self.gpus_per_engine * self.replicas

    @property
    def gpus_per_engine(self) -> int:
        return self.tensor * self.pipeline * self.data

    def weights(self) -> Quantity:
        if self.data > 1:  # experts are divided among all ranks, the rest is on each of them
            routed, own = self.arch.routed_params, self.tensor * self.pipeline
            rest = self.arch.params - routed
            value = (rest / own + routed / self.gpus_per_engine) * self.weight_bytes
            formula = (
                f"({rest:,} / {own} + {routed:,} in experts / {self.gpus_per_engine} GPUs) x "
                f"{self.weight_bytes:g} bytes"
            )
            return Quantity("weights", value, "bytes", formula)
        value = self.arch.params * self.weight_bytes / self.gpus_per_engine
        formula = f"{self.arch.params:,} parameters x {self.weight_bytes:g} bytes"
        return Quantity("weights", value, "bytes", f"{formula} / {self.gpus_per_engine} GPUs")

    def activations(self) -> Quantity:
        width = self.arch.token_width(False)
        value = PREFILL_TOKENS * width * 2 / self.tensor + WORKSPACE
        formula = f"{PREFILL_TOKENS:,} tokens x {width:,} numbers x 2 bytes / {self.tensor} GPUs"
        return Quantity("activations", value, "bytes", f"{formula} + {WORKSPACE / 1e9:g} GB")

    def kv_per_token(self) -> float:
        """Bytes that a token adds to the KV cache of one GPU."""
        shards = min(self.tensor, self.arch.kv_shards) * self.pipeline
        return self.arch.layers * self.arch.kv_numbers * self.kv_bytes / shards

    def kv_needed(self) -> Quantity:
        """The KV cache of one sequence of full length, without which an engine does not start."""
        value = self.context * self.kv_per_token()
        shards = min(self.tensor, self.arch.kv_shards) * self.pipeline
        formula = (
            f"{self.context:,} tokens x {self.arch.layers} layers x {self.arch.kv_numbers:,} "
            f"numbers x {self.kv_bytes:g} bytes / {shards} GPUs"
        )
        return Quantity("KV cache, one sequence", value, "bytes", formula)

    def kv_room(self, machine: Machine) -> Quantity:
        """The bytes per GPU left for the KV cache; negative where not even the weights fit."""
        weights, activations = self.weights().value, self.activations().value
        value = self.share * machine.memory - weights - activations
        formula = f"{self.share:g} x {machine.memory / 1e9:g} GB - weights - activations"
        return Quantity("room for the KV cache", value, "bytes", formula)

    def needed(self) -> list[Quantity]:
        """The bytes per GPU that the engine can't do without."""
        return [self.weights(), self.activations(), self.kv_needed()]

    def problem(self, machine: Machine) -> str | None:
        """Return why this layout can't run on the machine; None if it can."""
        if self.gpus > machine.gpus:
            return (
                f"it takes {self.gpus} GPUs (tensor {self.tensor} x pipeline {self.pipeline} x "
                f"data {self.data} x {self.replicas} engines), but there are {machine.gpus}"
            )
        if self.arch.heads % self.tensor:
            return f"{self.arch.heads} attention heads can't be divided among {self.tensor} GPUs"
        room, needed = self.kv_room(machine).value, self.kv_needed().value
        if room >= needed:
            return None
        whole = self.weights().value + self.activations().value + needed
        return (
            f"a GPU needs {whole / 1e9:,.1f} GB, but the engine has "
            f"{self.share * machine.memory / 1e9:,.1f} GB of it"
        )

    def sequences(self, machine: Machine, mean_tokens: float) -> int:
        """Return the sequences that one engine holds at once, with `mean_tokens` each."""
        room = self.kv_room(machine).value / self.kv_per_token()
        return self.data * max(1, min(self.max_seqs, int(room / (PROMPT_TOKENS + mean_tokens))))

    def step_seconds(self, machine: Machine, batch: float, held: float) -> float:
        """Return the seconds of a decoding step of `batch` sequences with `held` tokens each."""
        arch, gpus = self.arch, self.gpus_per_engine
        share = 1.0
        if arch.experts:
            share = 1 - (1 - arch.active_experts / arch.experts) ** batch
        unread = arch.routed_params * (1 - share) * self.weight_bytes / gpus
        weights = (self.weights().value - unread) / machine.bandwidth
        compute = 2 * arch.active_params * batch / (machine.flops * gpus)
        cache = batch / self.data * held * self.kv_per_token() / machine.bandwidth
        return max(weights, compute) + cache + arch.layers * machine.layer_overhead

    def tokens_per_second(self, machine: Machine, mean_tokens: float) -> Quantity:
        """Return the tokens per second of all engines, kept full while prompts remain.

        A sequence that is drawn at random from a full batch has lived half of its length, so it
        holds about the mean length where lengths spread as an exponential distribution does.
        """
        batch = self.sequences(machine, mean_tokens)
        held = PROMPT_TOKENS + mean_tokens
        step = self.step_seconds(machine, batch, held)
        prefill = batch / mean_tokens * 2 * self.arch.active_params * PROMPT_TOKENS
        step += prefill / (machine.flops * self.gpus_per_engine)
        formula = (
            f"{self.replicas} engines x {batch} sequences / {step * 1e3:.1f} ms per step (weights "
            f"and {held:,.0f} tokens of KV cache per sequence, read at "
            f"{machine.bandwidth / 1e12:.2f} TB/s)"
        )
        return Quantity("generation", self.replicas * batch / step, "tokens/s", formula)


PARTS = 64
"""Parts of a rollout, in each of which the batch counts as constant."""

EULER = 0.577
"""The longest of n exponential lengths is log(n) + 0.577 times their scale on average."""


def rollout_seconds(
    layout: EngineLayout, machine: Machine, sequences: int, mean: float, limit: int
) -> float:
    """Return the seconds until the last of `sequences` has ended, on all engines together.

    Lengths are exponential with this mean, cut off at `limit`; nothing is refilled, so the longest
    ones end alone. More sequences than an engine holds wait for a place.
    """
    each = math.ceil(sequences / layout.replicas)
    held = layout.sequences(machine, mean)
    scale = _exponential_scale(mean, limit)
    seconds = 0.0
    if each > held:  # a full batch until the last sequence has started
        full = layout.step_seconds(machine, held, PROMPT_TOKENS + mean)
        seconds += (each - held) * mean / held * full
    longest = min(float(limit), scale * (math.log(each * layout.replicas) + EULER))
    width = longest / PARTS
    for number in range(PARTS):
        middle = (number + 0.5) * width
        alive = max(1.0, min(each, held) * math.exp(-middle / scale))
        seconds += width * layout.step_seconds(machine, alive, PROMPT_TOKENS + middle)
    return seconds


def _exponential_scale(mean: float, limit: int) -> float:
    """Return the scale of the exponential whose mean is `mean` once it is cut off at `limit`."""
    if mean >= 0.5 * limit:
        return 10.0 * limit  # nearly all are cut off
    low, high = mean, 10.0 * limit
    for _ in range(60):
        middle = (low + high) / 2
        if middle * (1 - math.exp(-limit / middle)) < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2
