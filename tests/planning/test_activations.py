"""The bytes of activations that a plan counts, against those that a real model keeps."""

from __future__ import annotations

from typing import Any

import pytest

from factory.planning.architecture import parse_config
from factory.planning.training_memory import TrainingShape, training_bytes

TOKENS = 384
SHAPES: list[tuple[str, dict[str, int]]] = [  # none of them is one that the formula was fitted on
    ("llama", {"hidden_size": 384, "intermediate_size": 1024, "heads": 6, "kv": 6}),
    ("llama", {"hidden_size": 512, "intermediate_size": 1408, "heads": 8, "kv": 1}),
    ("qwen2", {"hidden_size": 320, "intermediate_size": 1728, "heads": 10, "kv": 2}),
]


def keep(model: Any, ids: Any, autocast: bool) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, without weights."""
    import torch

    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
    del states
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.real(group="torch")
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("kind", "sizes"), SHAPES)
def test_activations_of_a_layer(kind: str, sizes: dict[str, int], autocast: bool) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kept = {}
    for layers in (2, 5):  # the difference is that of three layers, without what is kept once
        config = AutoConfig.for_model(
            kind,
            vocab_size=256,
            hidden_size=sizes["hidden_size"],
            intermediate_size=sizes["intermediate_size"],
            num_attention_heads=sizes["heads"],
            num_key_value_heads=sizes["kv"],
            num_hidden_layers=layers,
        )
        model = AutoModelForCausalLM.from_config(config)
        model = model.to(torch.float32 if autocast else torch.bfloat16).train()
        ids = torch.randint(0, 256, (1, TOKENS))
        copies = 2 * sum(one.numel() for one in model.model.layers.parameters()) * autocast
        kept[layers] = keep(model, ids, autocast) - copies
    arch = parse_config(kind, {**config.to_dict(), "num_hidden_layers": 3})
    layout = "ddp" if autocast else "fsdp"
    shape = TrainingShape(arch, TOKENS, checkpointing=False)
    planned = {one.name: one.value for one in training_bytes(shape, layout, 8)}["activations"]
    assert planned == pytest.approx(kept[5] - kept[2], rel=0.1)
