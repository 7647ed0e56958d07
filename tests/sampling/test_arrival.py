"""Ids, verdicts, selection and the order of rows do not depend on the order of arrival."""

from __future__ import annotations

import random
from pathlib import Path

from rich.console import Console

from factory.build.build import build
from factory.core.run_dir import RunDir, save_prompts
from factory.recipe.build import load_recipe
from tests.recorded import prompts, recipe_file, record, sample

N = 6


def test_the_corpus_is_the_same_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, record(tmp_path / "recorded", N), N)
    corpora = []
    for number in range(3):
        drawn = [sample(prompt, index) for prompt in prompts() for index in range(N)]
        random.Random(number).shuffle(drawn)
        folder = tmp_path / f"run-{number}"
        save_prompts(folder, prompts())
        with RunDir(folder) as run:
            for part in range(number + 1):
                for one in drawn[part :: number + 1]:
                    run.append(one)
                run.seal()
        build(load_recipe(recipe, ["select.per_prompt=1"]), folder, Console(quiet=True))
        files = sorted((folder / "corpus").iterdir())
        corpora.append({file.name: file.read_bytes() for file in files})
    assert corpora[0]
    assert corpora[0] == corpora[1] == corpora[2]
