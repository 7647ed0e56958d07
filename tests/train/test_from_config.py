"""Pre-training from a config: random weights by seed, changed keys, what is refused, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.core.errors import ModelError, RecipeError, TrainError
from factory.recipe.document import Document
from factory.recipe.sft import Sft
from factory.train.directory import TrainDir
from factory.train.train import train
from tests.train.tiny import losses, sums, write_corpus, write_model

pytestmark = pytest.mark.real(group="torch")

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder without weights."""
    folder = write_model(tmp_path_factory.mktemp("architecture"))
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), sums(32))


def recipe(architecture: Path, corpus: Path, **changes: Any) -> Sft:
    keys = {
        "kind": "sft",
        "name": "fresh",
        "model": str(architecture),
        "from_config": {},
        "data": str(corpus),
        "steps": 4,
        "batch": 8,
        "micro_batch": 8,
        "precision": "fp32",
        "output_precision": "fp32",
        "gradient_checkpointing": False,
        "optimizer": {"learning_rate": 1e-3},
    }
    return Sft.parse(Document({**keys, **changes}))


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_weights_depend_on_the_seed_alone(tmp_path: Path, architecture: Path, corpus: Path) -> None:
    import torch

    made = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # whatever happened before has no effect
        made.append(
            weights(train(recipe(architecture, corpus, seed=seed), tmp_path / str(number), QUIET))
        )
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not any(torch.equal(made[0][name], made[2][name]) for name in made[0] if "proj" in name)


def test_keys_replace_those_of_the_config(tmp_path: Path, architecture: Path, corpus: Path) -> None:
    changes = {"num_hidden_layers": 3, "hidden_size": 48, "max_position_embeddings": 300}
    made = recipe(architecture, corpus, from_config=changes, max_length=300, steps=1)
    folder = train(made, tmp_path / "run", QUIET)
    config = json.loads((folder / "config.json").read_text())
    assert {key: config[key] for key in changes} == changes
    assert config["intermediate_size"] == 64  # as in the folder
    assert sum("down_proj" in name for name in weights(folder)) == 3
    assert (
        json.loads((tmp_path / "run" / "train.json").read_text())["settings"]["from_config"]
        == changes
    )


def test_a_killed_pre_training_goes_on_as_if_nothing_happened(
    tmp_path: Path, architecture: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    keys = {"steps": 6, "checkpoint": {"every": 2}}
    whole = train(recipe(architecture, corpus, **keys), tmp_path / "whole", QUIET)
    log = TrainDir.log

    def fail(run: TrainDir, step: int, **metrics: Any) -> None:
        log(run, step, **metrics)
        if step == 5:
            raise TrainError("stopped here")

    monkeypatch.setattr(TrainDir, "log", fail)
    with pytest.raises(TrainError):
        train(recipe(architecture, corpus, **keys), tmp_path / "killed", QUIET)
    monkeypatch.setattr(TrainDir, "log", log)
    resumed = train(recipe(architecture, corpus, **keys), tmp_path / "killed", QUIET)
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 64}, "has no key 'hiden_size' in its config"),
        ({"vocab_size": 20}, "vocab_size is 20, but the tokenizer has"),
        ({"num_attention_heads": 7}, "no model can be made from the config"),
    ],
)
def test_what_no_model_can_be_made_of(
    tmp_path: Path, architecture: Path, corpus: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        train(recipe(architecture, corpus, from_config=changes), tmp_path / "run", QUIET)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": {}}, "lora has nothing to adapt"),
        ({"layers": 2}, "set from_config.num_hidden_layers instead"),
        ({"context": 512}, "set from_config.max_position_embeddings instead"),
        (
            {"from_config": {"max_position_embeddings": 64}, "max_length": 65},
            "max_length is larger than from_config.max_position_embeddings",
        ),
    ],
)
def test_keys_that_do_not_go_with_random_weights(
    architecture: Path, corpus: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(architecture, corpus, **changes)


def test_without_the_key_a_training_has_the_identity_it_had(
    architecture: Path, corpus: Path
) -> None:
    assert "from_config" not in recipe(architecture, corpus, from_config=None).identity()
    assert recipe(architecture, corpus).identity()["from_config"] == {}


def test_without_the_key_a_folder_without_weights_is_refused(
    tmp_path: Path, architecture: Path, corpus: Path
) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        train(recipe(architecture, corpus, from_config=None), tmp_path / "run", QUIET)
