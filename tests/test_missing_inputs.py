"""`factory validate` and every kind of recipe: a path that is read is there, or is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from factory.cli import cli
from factory.core.errors import RecipeError
from factory.recipe.pipeline import load_pipeline

SOURCES = "sources: [{kind: files, path: rows.jsonl, verifier: {kind: math}}]\n"
BUILD = f"name: a\nmodel: demo\n{SOURCES}filters: {{format: {{}}, correctness: {{}}}}\n"
SFT = "kind: sft\nname: a\nmodel: demo\ndata: here\n"
GRPO = f"kind: grpo\nname: a\nmodel: demo\n{SOURCES}rewards: {{accuracy: {{}}}}\n"
EVAL = f"kind: eval\nname: a\nmodel: demo\nk: 1\n{SOURCES}"
SCORER = "kind: reward_model\nname: a\nmodel: demo\ndata: here\n"

CASES = [
    (SFT, "here", "gone", "data"),
    (SFT, "data:", "template: ./gone.jinja\ndata:", "template"),
    (SCORER, "here", "gone", "data"),
    (GRPO, "rows.jsonl", "gone*.jsonl", "sources.0.path"),
    (GRPO, "rewards:", "exclude: [gone]\nrewards:", "exclude.0.path"),
    (GRPO, "rewards:", "contamination: {against: [gone.jsonl]}\nrewards:", "contamination.against"),
    (GRPO, "{accuracy: {}}", "{m: {kind: model, model: ./gone}}", "rewards.m.model"),
    (EVAL, "rows.jsonl", "gone.jsonl", "sources.0.path"),
    (EVAL, "sources", "against: [gone]\nsources", "against.0.path"),
    (EVAL, "sources", "exclude: [{path: gone.yaml}]\nsources", "exclude.0.path"),
    (BUILD, "rows.jsonl", "[rows.jsonl, gone.jsonl]", "sources.0.path"),
    (BUILD, "{format: {}", "{contamination: {against: [gone.jsonl]}", "filters.contamination"),
    (
        BUILD,
        "kind: files, path: rows.jsonl, verifier: {kind: math}",
        "kind: run, path: gone",
        "sources.0.path",
    ),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the recipes read; the commands run in another one."""
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    (tmp_path / "here").mkdir()
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    pl.DataFrame({"messages": [turns]}).write_parquet(tmp_path / "here" / "rows.parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def validate(recipe: Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["validate", str(recipe)])
    return done.exit_code, done.output + str(done.exception or "")


def test_a_folder_without_rows_to_train_on(home: Path) -> None:
    (home / "empty").mkdir()
    (home / "recipe.yaml").write_text(SFT)
    assert "data: 1 rows in split train" in validate(home / "recipe.yaml")[1]
    (home / "recipe.yaml").write_text(SFT.replace("here", "empty"))
    code, said = validate(home / "recipe.yaml")
    assert code != 0
    assert "holds no corpus: there is no Parquet file in it" in said


@pytest.mark.parametrize("text", [SFT, SCORER, GRPO, EVAL])
def test_inputs_that_are_there_are_valid(home: Path, text: str) -> None:
    (home / "recipe.yaml").write_text(text)
    code, said = validate(home / "recipe.yaml")
    assert code == 0, said
    assert "valid; run it with" in said
    assert ("1 + 1?" in said) == ("sources" in text)  # the first prompts are shown


@pytest.mark.parametrize(("text", "old", "new", "key"), CASES)
def test_an_input_that_is_not_there_is_named(
    home: Path, text: str, old: str, new: str, key: str
) -> None:
    assert old in text
    (home / "recipe.yaml").write_text(text.replace(old, new, 1))
    code, said = validate(home / "recipe.yaml")
    assert code != 0, said
    assert f"recipe.yaml:{line_of(home / 'recipe.yaml')}: {key}" in said
    assert str(home / "gone") in said
    assert "make the file or run first" in said or "Name a folder with a" in said


def line_of(recipe: Path) -> int:
    lines = recipe.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if "gone" in line)


PIPELINE = """\
kind: pipeline
name: p
steps:
  lessons: {recipe: build.yaml}
  taught:
    recipe: sft.yaml
    set: {data: "@lessons"}
  scored:
    recipe: scorer.yaml
"""


def write_steps(home: Path, text: str = PIPELINE) -> Path:
    for name, recipe in (("build", BUILD), ("sft", SFT), ("scorer", SCORER)):
        (home / f"{name}.yaml").write_text(recipe)
    (home / "p.yaml").write_text(text)
    return home / "p.yaml"


def test_what_an_earlier_step_writes_is_not_missing(home: Path) -> None:
    code, said = validate(write_steps(home))
    assert code == 0, said
    assert "taught (sft of lessons)" in said


def test_a_pipeline_names_inputs_that_no_step_writes(home: Path) -> None:
    recipe = write_steps(home, PIPELINE.replace('"@lessons"', "gone"))
    shutil.rmtree(home / "here")
    code, said = validate(recipe)
    assert code != 0, said
    assert (
        f"p.yaml:7: steps.taught.set.data is '{home}/gone', which is the output of no step" in said
    )
    assert "p.yaml:9: steps.scored.recipe is scorer.yaml, whose data is" in said


def test_a_pipeline_is_refused_before_its_first_step(home: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from factory.pipelines.run import run_pipeline

    shutil.rmtree(home / "here")
    loaded, out = load_pipeline(write_steps(home)), StringIO()
    run_pipeline(loaded, home / "run", Console(file=out, width=200), dry=True)
    assert "missing: " in out.getvalue()
    with pytest.raises(RecipeError, match="whose data is"):
        run_pipeline(loaded, home / "run", Console(file=out))
    assert not list((home / "run" / "steps").glob("*.log"))
    done = run_pipeline(loaded, home / "run", Console(file=out), until="lessons", dry=True)
    assert done is None
