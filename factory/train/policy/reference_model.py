"""Save and load the reference model of a policy, whole or sharded over processes by FSDP.

All processes call these functions. The file holds the whole model, so that a training can continue
with another number of processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from factory.core.errors import Problem, RecipeError

FOLDER = "reference"
"""Folder in a checkpoint for the reference model, once it is no longer the initial policy."""

FILE = "reference.safetensors"


def check_sharding(reference_every: int | None) -> None:
    """Raise RecipeError for a replaced reference model under DeepSpeed ZeRO-3.

    Its shards are empty tensors outside DeepSpeed's own context, so that a checkpoint would hold
    no reference model. The environment variable is the one that `accelerate launch` sets.
    """
    if reference_every and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
        what = (
            "can't be saved with DeepSpeed ZeRO-3; launch with recipes/r1/launch/fsdp.yaml, or set "
            "reference_every: null"
        )
        raise RecipeError([Problem("reference_every", what)])


def save_reference(model: Any, checkpoint: Path, *, main: bool) -> None:
    """Gather the model on the main process and write it there to a folder of the checkpoint."""
    from safetensors.torch import save_file
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    _reshard(model)
    # With offloading only rank 0 gets the weights.
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    if main:
        folder = checkpoint / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Clones, since safetensors refuses tied weights, which share their memory.
        save_file({name: tensor.clone() for name, tensor in state.items()}, str(folder / FILE))


def load_reference(model: Any, checkpoint: Path) -> bool:
    """Load the reference model of a checkpoint. Returns False if the checkpoint has none.

    Tied weights may be missing in the file.
    """
    from safetensors.torch import load_file
    from torch import distributed
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    file = checkpoint / FOLDER / FILE
    if not file.is_file():
        return False
    _reshard(model)
    several = distributed.is_available() and distributed.is_initialized()
    # Rank 0 reads the file, and the others get their shards from it.
    reads = not several or distributed.get_rank() == 0
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several, strict=False)
    set_model_state_dict(model, load_file(file) if reads else {}, options=options)
    return True


def _reshard(model: Any) -> None:
    """Return a model to its shards: the root's weights stay whole after a forward pass."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
