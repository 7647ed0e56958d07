"""The sampling loop: what it reads, and how it ends if everything fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError
from factory.core.files import read_lines
from factory.core.nouns import Failure, Prompt, Sample
from factory.core.run_dir import sample_parts
from factory.recipe.build import load_recipe
from factory.sampling.engines.replay import Replay
from tests.recorded import prompts, recipe_file, record

N = 4


def test_what_had_finished_is_sealed_even_where_the_engine_cannot_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost cluster fails again when it is closed."""
    recipe = load_recipe(recipe_file(tmp_path, record(tmp_path / "recorded", N), N))

    class Lost(Replay):
        def completed(self) -> Iterator[Sample | Failure]:
            yield from super().completed()
            raise EngineError("the cluster is gone")

        def close(self) -> None:
            raise ConnectionError("no cluster to let go of")

    monkeypatch.setattr("factory.sampling.engines.replay.Replay", Lost)
    with pytest.raises(EngineError, match="the cluster is gone"):
        build(recipe, tmp_path / "run", Console(quiet=True))
    assert sample_parts(tmp_path / "run")
    events = [event["event"] for event in read_lines(tmp_path / "run" / "events.jsonl")]
    assert events[-2:] == ["engine_not_closed", "engine_stopped"]


def test_a_prompt_is_read_once_for_all_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_file(tmp_path, record(tmp_path / "recorded", N), N))
    read: list[str] = []
    from_row = Prompt.from_row

    def noted(row: Mapping[str, Any]) -> Prompt:
        read.append(row["id"])
        return from_row(row)

    monkeypatch.setattr("factory.sampling.loop.Prompt.from_row", noted)
    build(recipe, tmp_path / "run", Console(quiet=True))
    assert sorted(read) == sorted(prompt.id for prompt in prompts())
