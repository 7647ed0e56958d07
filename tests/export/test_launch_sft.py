"""`factory export` as a user calls it: a run for a trainer, or a recipe with its settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from factory.cli import cli
from factory.core.errors import CapacityError, RecipeError
from factory.export.sft_launch import export_sft
from factory.export.trainer_configs import ExportInfo, Settings, verl
from factory.recipe.sft import Sft
from factory.train.train import load_training
from tests.export import tokenizers as t
from tests.export.runs import small_run

RECIPE = """
kind: sft
name: taught
model: {model}
data: {run}
epochs: 3
batch: 64
max_length: 512
packing: true
seed: 7
optimizer: {{learning_rate: 1e-4, floor: 0.2, warmup: 0.05, weight_decay: 0.1, max_grad_norm: 0.5}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    # The tokenizer's folder is used as the model's: an export reads nothing else of the model.
    model = Path(t.write_tokenizer(tmp_path / "model", t.CHATML))
    (model / "config.json").write_text('{"max_position_embeddings": 2048}')
    file = tmp_path / "sft.yaml"
    file.write_text(RECIPE.format(model=model, run=small_run(tmp_path / "run")))
    return file


SETTINGS = {  # the recipe's settings, by their keys in a trainer's config
    "trl": {
        "learning_rate": 1e-4,
        "lr_scheduler_kwargs.min_lr_rate": 0.2,
        "warmup_steps": 0.05,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "num_train_epochs": 3,
        "max_steps": -1,
        "gradient_accumulation_steps": 8,
        "seed": 7,
        "packing": True,
    },
    "llama-factory": {
        "learning_rate": 1e-4,
        "lr_scheduler_kwargs.min_lr_rate": 0.2,
        "warmup_ratio": 0.05,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "num_train_epochs": 3,
        "max_steps": -1,
        "gradient_accumulation_steps": 8,
        "seed": 7,
        "packing": True,
    },
    "axolotl": {
        "learning_rate": 1e-4,
        "cosine_min_lr_ratio": 0.2,
        "warmup_ratio": 0.05,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "num_epochs": 3,
        "gradient_accumulation_steps": 8,
        "seed": 7,
        "sample_packing": True,
    },
    "verl": {
        "optim.lr": 1e-4,
        "optim.min_lr_ratio": 0.2,
        "optim.lr_warmup_steps_ratio": 0.05,
        "optim.weight_decay": 0.1,
        "optim.clip_grad": 0.5,
        "trainer.total_epochs": 3,
        "trainer.total_training_steps": None,
        "data.train_batch_size": 64,
        "trainer.seed": 7,
    },
}
STEPS = {"trl": "max_steps", "llama-factory": "max_steps", "axolotl": "max_steps"}
STEPS |= {"verl": "trainer.total_training_steps"}


def at(config: Any, place: str) -> Any:
    for key in place.split("."):
        config = config[key]
    return config


@pytest.mark.parametrize("trainer", SETTINGS)
def test_a_recipe_goes_to_a_trainer_with_its_settings(
    trainer: str, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(
        cli, ["export", str(recipe), "--launch", trainer, "--out", str(out)], catch_exceptions=False
    )
    assert "12 train rows, 3 validation rows" in done.stdout
    config = yaml.safe_load((out / "sft.yaml").read_text())
    assert {place: at(config, place) for place in SETTINGS[trainer]} == SETTINGS[trainer]


@pytest.mark.parametrize("trainer", SETTINGS)
def test_steps_replace_epochs(trainer: str, recipe: Path, tmp_path: Path) -> None:
    loaded = load_training(recipe, ["steps=10", "optimizer.warmup=4"])
    assert isinstance(loaded, Sft)
    export_sft(loaded, trainer, tmp_path / "out")
    config = yaml.safe_load((tmp_path / "out" / "sft.yaml").read_text())
    assert at(config, STEPS[trainer]) == 10
    warmup = "optim.lr_warmup_steps" if trainer == "verl" else "warmup_steps"
    assert at(config, warmup) == 4


def test_a_run_goes_to_a_trainer(recipe: Path, tmp_path: Path) -> None:
    command = ["export", str(tmp_path / "run"), "--format", "trl", "--max-length", "512"]
    command += ["--tokenizer", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "12 train rows, 3 validation rows in layout" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["RUN", "--launch", "trl"], "training recipe with --launch"),
        (["RECIPE", "--format", "trl"], "training recipe with --launch"),
        (["RUN", "--format", "trl"], "--tokenizer"),
        (["RECIPE"], "training recipe with --launch"),
    ],
)
def test_conflicting_arguments_are_refused(
    arguments: list[str], complaint: str, recipe: Path, tmp_path: Path
) -> None:
    names = {"RUN": str(tmp_path / "run"), "RECIPE": str(recipe)}
    command = ["export", *(names.get(word, word) for word in arguments), "--out", "nowhere"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2
    assert complaint in done.output


@pytest.mark.parametrize("unsupported", ["lora={}", "layers=4", "context=4096"])
def test_what_a_config_cannot_express_is_refused(
    unsupported: str, recipe: Path, tmp_path: Path
) -> None:
    loaded = load_training(recipe, [unsupported])
    assert isinstance(loaded, Sft)
    with pytest.raises(RecipeError, match=unsupported.partition("=")[0]):
        export_sft(loaded, "trl", tmp_path / "out")


def test_sft_of_a_model_with_experts_by_megatron() -> None:
    settings = Settings(batch=128, gpus=256, floor=0.1)
    target = SimpleNamespace(model="deepseek-ai/DeepSeek-V3-Base", max_length=32768, template=None)
    info = ExportInfo("v3", target, "messages", {"train": ["a.parquet"]}, settings)  # type: ignore[arg-type]
    text = verl(info)["sft.yaml"]
    config = yaml.safe_load(text)
    assert {"override engine@engine": "megatron"} in config["defaults"]
    assert config["engine"]["expert_model_parallel_size"] > 1
    assert config["optim"]["min_lr"] == pytest.approx(5e-6)
    assert "--nnodes=32" in text
    with pytest.raises(CapacityError):
        verl(replace(info, settings=Settings(gpus=8)))
