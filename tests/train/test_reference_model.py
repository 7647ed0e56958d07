"""The reference model over a checkpoint: in one process, and sharded by FSDP2 over two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import RecipeError
from factory.train.policy.reference_model import (
    FILE,
    FOLDER,
    check_sharding,
    load_reference,
    save_reference,
)
from tests.ports import free_ports

pytestmark = pytest.mark.real(group="torch")
ROOT = Path(__file__).parent.parent.parent

SHARDED = """
import sys
from pathlib import Path
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from factory.train.policy.reference_model import load_reference, save_reference
from tests.train.test_reference_model import made

distributed.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
main = distributed.get_rank() == 0
folder, other, tied = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "tied"

def sharded(seed):
    model = made(seed, tied)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model

first, second = sharded(1), sharded(2)
assert all(isinstance(one, DTensor) for one in first.parameters())
ids = torch.arange(6)[None]
first(input_ids=ids)  # as in training: a step, then a checkpoint
save_reference(first, folder, main=main)
distributed.barrier()
assert load_reference(second, folder)
for name, parameter in second.named_parameters():
    assert isinstance(parameter, DTensor), name
    wanted = dict(made(1, tied).named_parameters())[name]
    assert torch.equal(parameter.full_tensor(), wanted), name
assert torch.allclose(second(input_ids=ids).logits, made(1, tied)(input_ids=ids).logits, atol=1e-5)
assert load_reference(second, other)  # what one process saved
for name, parameter in second.named_parameters():
    assert torch.equal(parameter.full_tensor(), dict(made(3, tied).named_parameters())[name]), name
distributed.destroy_process_group()
"""


def made(seed: int, tied: bool) -> Any:
    """Return a random llama of a few thousand weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=65,  # odd, so that the shards differ in size
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def assert_is(model: Any, seed: int, tied: bool) -> None:
    import torch

    for name, wanted in made(seed, tied).named_parameters():
        assert torch.equal(dict(model.named_parameters())[name], wanted), name


@pytest.mark.parametrize("tied", [True, False])
def test_one_process(tied: bool, tmp_path: Path) -> None:
    model = made(2, tied)
    assert not load_reference(model, tmp_path)
    assert_is(model, 2, tied)
    save_reference(made(1, tied), tmp_path, main=True)
    assert load_reference(model, tmp_path)
    assert_is(model, 1, tied)
    save_reference(made(3, tied), tmp_path / "worker", main=False)
    assert not (tmp_path / "worker").exists()


def test_a_file_without_the_tied_weights_is_read(tmp_path: Path) -> None:
    """An earlier version stored them once."""
    from safetensors.torch import save_model

    (tmp_path / FOLDER).mkdir()
    save_model(made(1, True), str(tmp_path / FOLDER / FILE))
    model = made(2, True)
    assert load_reference(model, tmp_path)
    assert_is(model, 1, True)


@pytest.mark.parametrize("tied", [True, False])
def test_two_processes_under_fsdp2(tied: bool, tmp_path: Path) -> None:
    """Each holds a shard. The file holds the whole model, which a single process can load."""
    sharded, single = tmp_path / "sharded", tmp_path / "single"
    save_reference(made(3, tied), single, main=True)
    (port,) = free_ports(1)
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    arguments = [
        sys.executable,
        "-c",
        SHARDED,
        str(sharded),
        str(single),
        "tied" if tied else "apart",
    ]
    workers = [
        subprocess.Popen(
            arguments, cwd=ROOT, env={**env, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
    model = made(2, tied)
    assert load_reference(model, sharded)
    assert_is(model, 1, tied)


def test_zero_3_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sharding(400)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    check_sharding(None)
    with pytest.raises(RecipeError, match=r"reference_every .*ZeRO-3.*fsdp\.yaml"):
        check_sharding(400)
