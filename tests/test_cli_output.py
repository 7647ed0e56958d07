"""What commands print: JSON on request, nothing but warnings with --quiet, unwrapped lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from factory.build.build import build
from factory.cli import SECTIONS, cli
from factory.core.think import join_think
from factory.recipe.build import load_recipe
from tests.recorded import recipe_file, record
from tests.replayed import write_recipe


def factory(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, list(map(str, words)))
    assert done.exit_code == code, f"{done.output}{done.exception!r}"
    return done


def parsed(*words: object) -> Any:
    return json.loads(factory(*words, "--json").stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    recorded = record(folder / "recorded", 4)
    build(load_recipe(recipe_file(folder, recorded, 4)), folder / "run", Console(quiet=True))
    return folder / "run"


def contents(run: Path) -> dict[str, str]:
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


SILENT = {
    "init",
    "serve",
    "view",
    "watch",
    "review",
    "verify",
    "export-tasks",
    "import-annotations",
}
"""Commands that print no result, or always print JSON lines."""


def test_every_command_that_prints_results_prints_json() -> None:
    for command in (command for commands in SECTIONS.values() for command in commands):
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {"--quiet", "--log-level"} <= flags, command.name
        assert ("--json" in flags) == (command.name not in SILENT), command.name


def test_json_of_a_run(run: Path) -> None:
    recipe = run.parent / "recipe.yaml"
    kept = parsed("show", run)["kept"]["samples"]
    assert parsed("build", recipe, "--run", run)["kept"]["samples"] == kept
    assert parsed("build", recipe, "--run", run, "--dry-run")["plan"]
    assert parsed("report", run)["page"].endswith("report.html")
    assert parsed("compare", run, run)["same_samples"] == 4 * kept
    (sample,) = parsed("samples", run, "--reason", "wrong", "--show", 1)
    assert sample["correctness_extracted"] == "987654321"
    explained = parsed("explain", run, sample["sample_id"])
    assert explained["question"] == sample["question"]
    assert explained["correctness_verdict"]["reason"] == "wrong"
    assert parsed("repair", run, "--dry-run") == []
    assert {check["name"] for check in parsed("doctor")} >= {"python", "sandbox"}
    assert parsed("audit", run, "-n", 5)["false_negatives"]["n"] >= 0


def test_a_preview_writes_nothing(run: Path) -> None:
    before = contents(run)
    changed = ("--set", "filters.length.max_tokens=25")
    done = factory("filter", run, *changed, "--preview")
    assert "keep -> too_long" in done.stdout
    facts = parsed("filter", run, *changed, "--preview")
    assert facts["after"]["kept"]["samples"] < facts["before"]["kept"]["samples"]
    assert {row["now"] for row in facts["moved"]} == {"too_long"}
    assert contents(run) == before


def test_question_reference_and_what_was_read_stand_together(run: Path) -> None:
    shown = factory("samples", run, "--reason", "wrong", "--show", "1").stdout
    lines = [line.strip().split(None, 1) for line in shown.splitlines()[1:4]]
    assert [line[0] for line in lines] == ["question", "reference", "read"]
    assert lines[2][1] == "987654321"
    name = shown.split()[1]
    explained = factory("explain", run, name).stdout
    for line in lines:
        assert f"{line[0]:<9}  {line[1]}" in explained


def test_all_rows_are_surveyed(tmp_path: Path) -> None:
    rows = [
        {"question": "How many apples are in three bags of two?", "answer": "6", "level": 1},
        {"question": "How many apples are in three bags of two?", "answer": "6"},
        {"question": "Wie viele Äpfel sind in drei Säcken mit je zwei?", "answer": "6"},
        {"question": "How many are left, then?", "answer": "see solution"},
        {"question": "How many are left,\nthen?", "answer": "6"},
        {"question": "How many are left,\nthen?", "answer": "8"},
    ]
    recipe = write_recipe(tmp_path, rows, lambda *_: "")
    recipe.write_text(
        recipe.read_text()
        .replace(", language: en", ", max_reject_rate: 0.5")
        .replace("model: demo", "model: owner/name")
    )
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"question": "Broken"\n')
    said = factory("validate", recipe, "--all-rows").stdout
    for words in (
        "    question   How many apples",
        "    reference  6",
        "rows: 5 prompts from 7 rows, 1 repeated, 1 malformed (bad_json)",
        "fields not used: level (1 rows)",
        "  references: 1 fail their own verifier, 0 prompts have none",
        "  references: 1 question(s) have several that differ",
        "  languages: en 4, de 1",
        " characters, median ",
        "rows.jsonl:7: bad_json (Expecting",
        "bad reference: 'see solution' is no answer: it points elsewhere; question How many are",
    ):
        assert words in said
    (source,) = parsed("validate", recipe, "--all-rows")["sources"]
    assert "an empty text" not in said
    assert (source["repeated"], source["rejected"]) == (1, {"bad_json": 1})
    assert (source["bad_references"], source["conflicting"]) == (1, 1)
    assert source["lengths"]["unit"] == "characters"


def test_lines_in_a_file_are_not_wrapped_and_quiet_is_quiet(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"question": f"{n} + 0?", "answer": str(n)} for n in range(4)]
    for row in rows:
        row |= {f"a_field_with_a_long_name_{number}": 1 for number in range(8)}
    bare = [{"question": f"{n} - 0?", "answer": "-"} for n in range(4)]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    source = """{kind: files, path: rows.jsonl, language: en, verifier: {kind: math}}
  - {kind: files, path: bare.jsonl, language: en, verifier: {kind: text}}"""
    recipe = write_recipe(
        tmp_path,
        rows,
        lambda prompt, index: join_think(f"See {index}.", f"\\boxed{{{prompt.question[0]}}}"),
        source=source,
        extra="references: {bad: sample}",
    )
    done = factory("build", recipe, "--run", tmp_path / "run")
    line = next(line for line in done.stderr.splitlines() if line.startswith("rows: "))
    assert len(line) > 250
    assert line.endswith("`keep` stores them with the prompt")
    quiet = factory("build", recipe, "--run", tmp_path / "quiet", "--quiet")
    assert quiet.stderr.startswith("NOTHING KEPT: none of 8 samples of bare is kept.")
    assert "corpus: 8 rows" in quiet.stdout
