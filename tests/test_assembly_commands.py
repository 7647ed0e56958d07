"""Commands on an assembly: its preview, its report, and the origin of its samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from factory.build.build import build
from factory.cli import cli
from factory.core.errors import RunError
from factory.corpus.assembly.assemble import build_assembly
from factory.corpus.assembly.preview import preview_assembly
from factory.recipe.assembly import load_assembly
from factory.recipe.build import load_recipe
from tests.corpora import row, run
from tests.recorded import prompts, recipe_file, record

QUIET = Console(quiet=True)
MATHS = [row(f"m{n}", i) for n in range(6) for i in range(2)]
CHAT = [row(f"g{n}", domain="general", model="model-b") for n in range(3)]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def written(folder: Path, runs: list[str], **keys: Any) -> Path:
    file = folder / "corpus.yaml"
    document = {"kind": "assembly", "name": "mix", "runs": [{"path": path} for path in runs]}
    file.write_text(yaml.safe_dump(document | keys, sort_keys=False))
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    run(tmp_path / "maths", MATHS, {"math": 8})
    run(tmp_path / "chat", CHAT, {"general": 4})
    return tmp_path


def test_what_the_runs_offer_is_told_before_anything_is_built(runs: Path) -> None:
    quotas = {"math": 9, "general": 5, "code": {"tokens": 100}, "stem": 1}
    lines = list(
        preview_assembly(load_assembly(written(runs, ["maths", "chat", "absent"], quotas=quotas)))
    )
    assert lines == [
        f"absent: {runs / 'absent'} does not exist; build that run first, or correct its path",
        "maths: math 12; model-a 12",
        "chat: general 3; model-b 3",
        "quota math: 9 rows of 12 offered",
        "quota general: 5 rows of 3 offered: cannot be filled by any selection",
        "quota code: 100 tokens of 0 offered: cannot be filled by any selection",
        "quota stem: 1 rows of 0 offered: cannot be filled by any selection",
        "1 of 3 runs are not counted",
    ]
    checked = command("validate", written(runs, ["maths", "chat"], quotas={"math": 9}))
    assert checked.exit_code == 0
    assert "quota math: 9 rows of 12 offered\nvalid; run it with `factory build" in checked.stdout


def test_a_recipe_whose_runs_are_all_to_come(runs: Path) -> None:
    lines = list(preview_assembly(load_assembly(written(runs, ["one", "two"]))))
    assert len(lines) == 3
    assert lines[-1] == "no run has rows yet, so the quotas were not checked"


def test_models_mixed_by_mistake(runs: Path) -> None:
    file = written(runs, ["maths", "chat"], models=["model-a"])
    complaint = r"`models` does not list:\n  chat: 3 rows of model-b\nAdd the models to the list"
    with pytest.raises(RunError, match=complaint):
        build_assembly(load_assembly(file), runs / "out", QUIET)
    assert not (runs / "out" / "corpus").exists()
    with pytest.raises(RunError, match=complaint):
        list(preview_assembly(load_assembly(file)))
    named = load_assembly(file, ["models=[model-a, model-b]"])
    assert build_assembly(named, runs / "out", QUIET).models == {"model-a": 12, "model-b": 3}


def test_show_prints_its_table_five(runs: Path) -> None:
    build_assembly(load_assembly(written(runs, ["maths", "chat"])), runs / "out", QUIET)
    shown = command("show", runs / "out")
    assert shown.exit_code == 0
    assert "395,285" in shown.stdout
    assert "rows of 2 models: model-a 12, model-b 3" in shown.stdout


@pytest.mark.parametrize("asked", ["samples", "audit", "filter"])
def test_what_only_a_run_has_is_asked_of_the_runs(runs: Path, asked: str) -> None:
    build_assembly(load_assembly(written(runs, ["maths", "chat"])), runs / "out", QUIET)
    said = command(asked, runs / "out")
    assert isinstance(said.exception, RunError)
    assert "is an assembly, which has no samples of its own; use the runs" in str(said.exception)


def test_a_row_is_explained_by_the_run_that_drew_it(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, record(tmp_path / "recorded", 4), 4)
    for name in ("one", "two"):
        build(load_recipe(recipe, [f"name={name}"]), tmp_path / name, QUIET)
    keys = {"select": {"drop_exact_duplicates": False}}
    build_assembly(
        load_assembly(written(tmp_path, ["one", "two"], **keys)), tmp_path / "mix", QUIET
    )
    build_assembly(load_assembly(written(tmp_path, ["mix"])), tmp_path / "again", QUIET)
    name = f"{prompts()[0].id}-0"
    for mixture, row_id, drawn_in in (
        ("mix", name, "one"),
        ("mix", f"{name}@two", "two"),
        ("again", name, "one"),
    ):
        lines = command("explain", tmp_path / mixture, row_id)
        assert lines.stdout.splitlines()[0] == f"run       {tmp_path / drawn_in}"
        assert "verdict   keep" in lines.stdout
    absent = command("explain", tmp_path / "mix", "nothing-0")
    assert "no run of the assembly" in str(absent.exception)
