"""The table of kinds: every loader is there, and reads what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.cli import cli
from factory.core.errors import RecipeError
from factory.recipe.kinds import KINDS, SAMPLES, load
from factory.train.train import KINDS as TRAININGS
from tests.test_recipe import GOOD

RECIPES = {
    SAMPLES: GOOD,
    "assembly": "kind: assembly\nname: mix\nruns: [{path: some/run}]\n",
    "sft": "kind: sft\nname: taught\nmodel: demo\ndata: some/run\n",
    "eval": "kind: eval\nname: asked\nmodel: demo\n"
    "sources: [{kind: gym, task: chain_sum, size: 5}]\n",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_is_read_by_its_kind(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPES[kind], encoding="utf-8")
    recipe = load(kind, file, ["name=other"])
    assert recipe.name == "other"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load(kind, file).to_yaml() == recipe.to_yaml()
    with pytest.raises(RecipeError):
        load(kind, file, ["nonsense=1"])


def test_every_training_is_a_kind() -> None:
    assert TRAININGS.keys() == {name for name, kind in KINDS.items() if kind.command == "train"}


def test_every_kind_has_its_command() -> None:
    assert {kind.command for kind in KINDS.values()} <= cli.commands.keys()
