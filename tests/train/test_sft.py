"""Real fine-tuning of a model with a few thousand weights: killed, stopped, resumed, refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.core.errors import ModelError, RecipeError, Stopped, TrainError
from factory.core.files import read_lines
from factory.core.models import model_path
from factory.core.resources import recipe_path
from factory.recipe.sft import Sft
from factory.train.directory import TrainDir
from factory.train.train import train
from tests.train.tiny import losses, sums, write_corpus, write_model

pytestmark = pytest.mark.real(group="torch")

QUIET = Console(quiet=True)

KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
import factory.train.cpu_loss  # once, for all the processes that are forked below
from factory.train.directory import TrainDir
from factory.train.train import load_training, train

log = TrainDir.log

def log_and_die(run, step, **metrics):
    log(run, step, **metrics)
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

TrainDir.log = log_and_die
for file in sys.argv[1:]:
    child = os.fork()
    if not child:
        train(load_training(Path(file)), Path(file).with_suffix(""), Console(quiet=True))
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), sums(40), validation=4, shards=2)


def keys(base: Path, corpus: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "sft",
        "name": "tiny",
        "model": str(base),
        "data": str(corpus),
        "steps": 8,
        "batch": 4,
        "micro_batch": 2,
        "gradient_checkpointing": False,
        "optimizer": {"learning_rate": 1e-2},
        "checkpoint": {"every": 3, "retain": True},
    } | changes


def recipe(base: Path, corpus: Path, **changes: Any) -> Sft:
    return Sft.model_validate(keys(base, corpus, **changes))


VARIANTS: dict[str, dict[str, Any]] = {
    "mapped": {},
    "packed": {"packing": True, "max_length": 200, "micro_batch": 1, "batch": 2},
    "streamed": {"streaming": True, "shuffle_buffer": 16},
}


def test_killed_trainings_resume_with_the_same_losses(
    base: Path, corpus: Path, tmp_path: Path
) -> None:
    files = []
    for variant, changes in VARIANTS.items():
        files.append(tmp_path / f"{variant}.yaml")
        files[-1].write_text(json.dumps(keys(base, corpus, **changes)))
    command = [sys.executable, "-c", KILLED, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(files)
    for variant, changes in VARIANTS.items():
        assert max(losses(tmp_path / variant)) == 5
        train(recipe(base, corpus, **changes), tmp_path / variant, QUIET)
        train(recipe(base, corpus, **changes), tmp_path / f"{variant}-whole", QUIET)
        whole = losses(tmp_path / f"{variant}-whole")
        assert losses(tmp_path / variant) == whole
        assert sorted(whole) == list(range(1, 9))
        assert whole[8] < whole[1]


def test_ctrl_c_leaves_a_checkpoint(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrainDir.log

    def log_and_press(run: TrainDir, step: int, **metrics: Any) -> None:
        log(run, step, **metrics)
        if step == 4 and "loss" in metrics:
            os.kill(os.getpid(), signal.SIGINT)

    whole = recipe(base, corpus)
    with monkeypatch.context() as patch:
        patch.setattr(TrainDir, "log", log_and_press)
        with pytest.raises(Stopped):
            train(whole, tmp_path / "run", QUIET)
    manifest = json.loads((tmp_path / "run" / "train.json").read_text())
    assert manifest["state"] == "running"
    with TrainDir(tmp_path / "run") as run:
        newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name in ("checkpoint-4", "checkpoint-5")
    train(whole, tmp_path / "run", QUIET)
    assert max(losses(tmp_path / "run")) == 8


def test_killed_at_the_very_end_only_the_model_is_written(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe(base, corpus, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(TrainDir, "result", None)
        with pytest.raises(TypeError):
            train(whole, tmp_path / "run", QUIET)
    before = losses(tmp_path / "run")
    train(whole, tmp_path / "run", QUIET)
    assert losses(tmp_path / "run") == before
    assert json.loads((tmp_path / "run" / "train.json").read_text())["state"] == "done"


def test_the_result_loads_stops_and_starts_the_next_training(
    base: Path, corpus: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    first = train(recipe(base, corpus, steps=2, template="chatml"), tmp_path / "first", QUIET)
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "checkpoints",
        "log.jsonl",
        "model",
        "recipe.yaml",
        "run.lock",
        "train.json",
    ]
    tokenizer = AutoTokenizer.from_pretrained(first)
    model = AutoModelForCausalLM.from_pretrained(first)
    assert str(model.dtype) == "torch.bfloat16"
    assert "generation" in tokenizer.chat_template
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id
    manifest = json.loads((tmp_path / "first" / "train.json").read_text())
    assert manifest["metrics"]["eval_loss"] > 0
    second = recipe(tmp_path / "first", corpus, steps=1, output_precision="fp32")
    train(second, tmp_path / "second", QUIET)
    assert model_path(str(tmp_path / "second")) == str(tmp_path / "second" / "model")


def test_adapters_are_merged_and_layers_are_cut(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    deep = write_model(tmp_path / "deep", layers=5)
    changes = {"lora": {"rank": 4}, "layers": 3, "steps": 2, "output_precision": "fp32"}
    done = train(recipe(deep, corpus, **changes), tmp_path / "run", QUIET)
    model = AutoModelForCausalLM.from_pretrained(done)
    assert model.config.num_hidden_layers == len(model.model.layers) == 3
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    before = AutoModelForCausalLM.from_pretrained(deep)
    name = "self_attn.q_proj.weight"
    moved = [
        (model.model.layers[new].get_parameter(name) - before.model.layers[old].get_parameter(name))
        .abs()
        .max()
        .item()
        for new, old in enumerate((0, 2, 4))
    ]
    assert all(0 < most < 0.2 for most in moved)


def test_the_loss_is_trl_s(base: Path, corpus: Path, tmp_path: Path) -> None:
    """The loss computed here without a GPU equals TRL's up to rounding."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from factory.train.cpu_loss import token_losses

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.randint(0, 200, (3, 40))
    labels = ids.masked_fill(torch.rand(3, 40) < 0.5, -100)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    ours = token_losses(model, inputs).mean()
    add_fused_lm_head(model)
    assert ours.item() == pytest.approx(model(**inputs, fused_lm_head=True).loss.item(), rel=1e-5)


def test_packed_rows_do_not_attend_to_each_other(base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from factory.train.cpu_loss import token_losses

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    rows = [torch.randint(0, 200, (length,)).tolist() for length in (30, 17, 5)]
    alone = [
        token_losses(model, {"input_ids": ids, "labels": ids}).sum().item()
        for ids in (torch.tensor([row]) for row in rows)
    ]
    joined = [token for row in rows for token in row]
    packed = {"input_ids": joined, "labels": joined, "seq_lengths": [len(row) for row in rows]}
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    together = token_losses(model, collate([packed])).sum()
    assert together.item() == pytest.approx(sum(alone), rel=1e-5)


def test_adapters_are_not_trained_on_sharded_weights(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match=r"ddp\.yaml"):
        train(recipe(base, corpus, lora=True), tmp_path / "run", QUIET)


def test_a_nan_loss_stops_the_training(base: Path, corpus: Path, tmp_path: Path) -> None:
    exploding = {"learning_rate": 1e30, "max_grad_norm": 1e30, "schedule": "constant"}
    with pytest.raises(TrainError, match=r"step \d: .* is nan; .*learning_rate") as caught:
        train(recipe(base, corpus, optimizer=exploding), tmp_path / "run", QUIET)
    assert caught.value.exit_code == 11
    logged = read_lines(tmp_path / "run" / "log.jsonl")
    assert "nan" in (logged[-1]["loss"], logged[-1]["grad_norm"])
    assert all(math.isfinite(row["loss"]) for row in logged[:-1])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"args": {"optimm": "sgd"}}, RecipeError, "args.optimm is no key of the installed TRL's"),
        ({"args": {"learning_rate": 1}}, RecipeError, "set optimizer.learning_rate instead"),
        ({"args": {"seed": 1}}, RecipeError, "set seed instead"),
        ({"args": {"save_strategy": "no"}}, RecipeError, "the factory sets it"),
        ({"batch": 3}, RecipeError, "must be a multiple of micro_batch x processes (2 x 1)"),
        ({"max_length": 20}, ModelError, "36 of 36 rows are longer than 20 tokens"),
        ({"max_length": 20, "overlong": "drop"}, ModelError, "36 of 36 rows"),
        ({"max_length": 257}, ModelError, "more than the model's context of 256"),
        ({"eos": "<|nothing|>"}, ModelError, "does not know '<|nothing|>'"),
        (
            {"template": "chatm"},
            ModelError,
            "the shipped templates: chatml, chatml_tools, plain",
        ),
        ({"layers": 9}, ModelError, "the model has 2"),
    ],
)
def test_problems_are_reported_before_training(
    base: Path, corpus: Path, tmp_path: Path, changes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        train(recipe(base, corpus, **changes), tmp_path / "run", QUIET)
    assert message in str(caught.value)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_batch_counts_over_all_processes(
    base: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.train.arguments import accumulation_steps

    monkeypatch.setenv("WORLD_SIZE", "8")
    assert accumulation_steps(recipe(base, corpus, batch=128, micro_batch=2)) == 8
    with pytest.raises(RecipeError, match=r"\(2 x 8\)"):
        accumulation_steps(recipe(base, corpus, batch=8, micro_batch=2))


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp_offload", "deepspeed_zero3"])
def test_launch_files_are_accelerate_s(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    file = recipe_path(f"r1/launch/{name}.yaml")
    config = load_config_from_file(str(file))  # refuses a key it does not know
    assert config.num_processes == 8


def test_two_processes_train_as_one(base: Path, corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(keys(base, corpus, steps=3)))
    script = (
        "import sys\nfrom pathlib import Path\nfrom rich.console import Console\n"
        "from factory.train.train import load_training, train\n"
        "train(load_training(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))\n"
    )
    (tmp_path / "go.py").write_text(script)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--main_process_port=0", str(tmp_path / "go.py")]
    both = [sys.executable, *launch, str(file), str(tmp_path / "both")]
    done = subprocess.run(both, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    train(recipe(base, corpus, steps=3), tmp_path / "alone", QUIET)
    alone = losses(tmp_path / "alone")
    assert losses(tmp_path / "both") == pytest.approx(alone, rel=0.02)
