"""A finished run that lost something, and samples that a change leaves unused: never silent."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.build.repair import repair
from factory.cli import main
from factory.core.errors import RunError
from factory.core.run_dir import sample_parts
from factory.recipe.build import Recipe, load_recipe
from tests.recorded import PROMPTS, recipe_file, record

N = 2


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("losses")
    return recipe_file(folder, record(folder / "recorded", N), N)


@pytest.fixture(scope="module")
def built(recipe: Path) -> Path:
    run = recipe.parent / "run"
    build(load_recipe(recipe), run, Console(quiet=True))
    return run


def say(recipe: Recipe, run: Path) -> str:
    """Build; return what was said."""
    said = Console(record=True, file=io.StringIO(), width=1000)
    build(recipe, run, said)
    return said.export_text()


def corpus(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "corpus").iterdir()}


def part_of(run: Path) -> Path:
    (part,) = sample_parts(run)
    return part


def shard_of(run: Path) -> Path:
    return min((run / "corpus").glob("train-*"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 64
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, 1000)


def test_a_finished_run_that_lost_nothing_says_nothing(recipe: Path, built: Path) -> None:
    assert say(load_recipe(recipe), built) == ""


@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_part_of_a_finished_run_is_named_and_refused(
    damage: Callable[[Path], None], recipe: Path, built: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    damage(part_of(run))
    said = Console(record=True, file=io.StringIO(), width=1000)
    with pytest.raises(RunError, match="factory repair"):
        build(load_recipe(recipe), run, said)
    assert "was finished, but samples/part-00000.parquet is damaged" in said.export_text()
    assert repair(run)
    build(load_recipe(recipe), run, Console(quiet=True))
    assert corpus(run) == corpus(built)


LOSSES: list[tuple[Callable[[Path], None], str]] = [
    (lambda run: part_of(run).unlink(), "samples/part-00000.parquet is gone"),
    (lambda run: flip(shard_of(run)), "-00000-of-00002.parquet is damaged"),
    (lambda run: truncate(shard_of(run)), "-00000-of-00002.parquet is damaged"),
    (lambda run: shard_of(run).unlink(), "-00000-of-00002.parquet is gone"),
    (lambda run: shutil.rmtree(run / "corpus"), "-00000-of-00002.parquet is gone"),
]


@pytest.mark.parametrize(("lose", "named"), LOSSES)
def test_what_a_finished_run_lost_is_named_and_made_again(
    lose: Callable[[Path], None], named: str, recipe: Path, built: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    lose(run)
    said = say(load_recipe(recipe), run)
    assert "was finished, but" in said
    assert named in said
    assert corpus(run) == corpus(built)
    assert say(load_recipe(recipe), run) == ""


def factory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str]:
    """Run a command here; return its exit code and what it said on standard error."""
    monkeypatch.setattr("sys.argv", ["factory", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("command", ["samples", "explain", "audit", "export-tasks"])
def test_a_damaged_part_is_named_by_commands_that_read_it(
    command: str,
    built: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    truncate(part_of(run))
    more = {"explain": ["0" * 16 + "-0"], "export-tasks": ["--out", tmp_path / "tasks.json"]}
    code, said = factory(capsys, monkeypatch, command, run, *more.get(command, []))
    assert code == 4, said
    assert "factory repair RUN" in said


def test_samples_of_prompts_that_are_no_longer_asked_are_counted(
    recipe: Path,
    built: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    few = tmp_path / "few.jsonl"
    few.write_text("".join(PROMPTS.read_text().splitlines(keepends=True)[:20]))
    less = load_recipe(recipe, [f"sources.0.path={few}"])
    assert "the sources changed: 52 samples of 26 prompts that are no longer asked" in say(
        less, run
    )
    _, said = factory(capsys, monkeypatch, "show", run)
    assert "52 more samples are of prompts that the sources no longer have" in said
    assert json.loads((run / "funnel.json").read_text())["drawn"]["samples"] == 20 * N
    assert "no longer" not in say(load_recipe(recipe), run)  # they count again
    assert corpus(run) == corpus(built)


def test_a_run_of_the_same_recipe_elsewhere_is_named_before_a_new_one_begins(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    code, said = factory(capsys, monkeypatch, "build", recipe)
    assert (code, "new run" in said) == (0, False)
    monkeypatch.chdir(there)
    old = here / "runs" / "recorded"
    for words in (["--dry-run"], []):
        monkeypatch.setattr("sys.argv", ["factory", "build", str(recipe), *words])
        main()
        shown = "".join(capsys.readouterr())
        assert f"a new run begins in {there / 'runs' / 'recorded'}" in shown
        assert f"with 92 samples in {old}; to go on there instead, give --run {old}" in shown
    _, said = factory(capsys, monkeypatch, "build", recipe)  # this one goes on
    assert "new run" not in said
