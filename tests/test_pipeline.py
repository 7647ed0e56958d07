"""Pipelines of real steps (a replayed build, an assembly): killed, changed, failed, run again."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.core.errors import FactoryError, RecipeError, RunError, RunLocked
from factory.core.run_dir import lock_directory, sample_parts
from factory.pipelines.run import run_pipeline
from factory.pipelines.state import (
    PipelineState,
    content_version,
    input_versions,
    resolve_settings,
)
from factory.recipe.pipeline import PlannedStep, load_pipeline
from tests.corpora import corpus, row
from tests.recorded import record
from tests.test_build import drawn
from tests.test_leash import alive, ancestors
from tests.test_pipeline_recipe import SFT
from tests.test_recipe import write

PIPELINE = """\
kind: pipeline
name: small
steps:
  mix:
    recipe: mix.yaml
    set: {{runs: [{{path: "@sums"}}, {{path: {folder}/written}}]}}
  sums:
    recipe: sums.yaml
    set: {{engine: {{kind: replay, replay: {folder}/recorded}}}}
"""
SUMS = """\
name: sums
model: demo
sources: [{kind: run, path: recorded}]
prompting: {template: few_shot}
sampling: {n: 2}
filters: {length: {}}
"""
MIX = "kind: assembly\nname: mix\nruns: []\nnear_duplicates: null\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pipeline's recipes and their inputs."""
    folder = tmp_path_factory.mktemp("pipeline")
    record(folder / "recorded", 2)
    corpus(folder / "written", [row(f"m{n}") for n in range(5)])
    for name, text in (("sums", SUMS), ("mix", MIX), ("sft", SFT)):
        write(folder, text, f"{name}.yaml")
    write(folder, PIPELINE.format(folder=folder), "p.yaml")
    return folder


@pytest.fixture(scope="module")
def built(home: Path) -> Path:
    """The directory of the finished pipeline."""
    run(home, home / "run")
    return home / "run"


def run(home: Path, directory: Path, *assignments: str, **options: Any) -> str:
    """Run the pipeline; returns what it printed."""
    console = Console(file=io.StringIO(), record=True, width=200)
    run_pipeline(load_pipeline(home / "p.yaml", assignments), directory, console, **options)
    return console.export_text()


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "pipeline.json").read_text())
    return found


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for step in ("sums", "mix")
        for file in sorted((directory / "steps" / step / "corpus").iterdir())
    }


def test_each_step_takes_what_the_others_made(built: Path) -> None:
    found = manifest(built)
    assert found["state"] == "done"
    sums, mix = found["steps"]["sums"], found["steps"]["mix"]
    assert {sums["state"], mix["state"]} == {"done"}
    version = content_version(built / "steps" / "sums" / "corpus")
    assert mix["inputs"] == {"sums": sums["output"]} == {"sums": version}
    assert mix["facts"]["rows"] == sums["facts"]["rows"] + 5
    assert mix["recipe"]["runs"][0] == {"path": "@sums"}
    assert "rows selected" in (built / "steps" / "mix.log").read_text()
    assert (built / "steps" / "mix.yaml").exists()


def test_finished_steps_are_not_touched(built: Path, home: Path) -> None:
    files = [path for path in (built / "steps").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files if path.name != "run.lock"}
    output = run(home, built)
    assert output.count("done before") == 2
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_pipeline_may_be_moved(built: Path, home: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(built, tmp_path / "moved"))
    assert run(home, moved).count("done before") == 2
    assert run(home, moved, dry=True).count(": done\n") == 2


def test_only_affected_steps_run_again(built: Path, home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    changed = ["mix.quotas={math: 7}"]
    assert "mix (assembly of sums): its recipe changed (quotas)" in run(
        home, copy, *changed, dry=True
    )
    before = {file: file.stat().st_mtime_ns for file in (copy / "steps/sums").rglob("*")}
    output = run(home, copy, *changed)
    assert "sums: done before" in output
    assert "7 rows" in output
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_failed_step_shows_why_and_resumes_once_the_cause_is_fixed(
    built: Path, home: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()  # a path that is not there would be refused before the first step
    broken = [f"mix.runs=[{{path: '@sums'}}, {{path: {nowhere}}}]"]
    with pytest.raises(RunError) as caught:
        run(home, copy, *broken)
    message = str(caught.value)
    assert "step mix ended with exit code 4" in message
    assert "is neither a finished run" in message
    assert str(copy / "steps" / "mix.log") in message
    assert (manifest(copy)["state"], manifest(copy)["steps"]["mix"]["state"]) == (
        "stopped",
        "failed",
    )
    output = run(home, copy)
    assert "sums: done before" in output
    assert "mix (assembly): its recipe changed (runs)" in output


def test_a_second_pipeline_process_is_refused(built: Path, home: Path) -> None:
    with lock_directory(built), pytest.raises(RunLocked):
        run(home, built)


@pytest.mark.parametrize("options", [{"until": "mixx"}, {"redo": ["mixx"]}])
def test_flags_name_steps(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="'mixx'; the steps are sums, mix"):
        run(home, tmp_path, **options)


def test_a_killed_pipeline_resumes(built: Path, home: Path, tmp_path: Path) -> None:
    """After Ctrl-C, kill -9 of the pipeline and kill -9 of a step, the corpora equal `built`'s."""
    directory = tmp_path / "run"
    mark = str(directory / "steps" / "sums")

    def start() -> tuple[subprocess.Popen[str], int]:
        """Start the pipeline; returns its process and the PID of a step's process."""
        command = [sys.executable, "-m", "factory.cli", "run", str(home / "p.yaml")]
        process = subprocess.Popen(
            [*command, "--run", str(directory)], stderr=subprocess.PIPE, text=True
        )
        while not (own := [pid for pid in alive(mark) if process.pid in ancestors(pid)]):
            assert process.poll() is None
            time.sleep(0.01)
        return process, max(own)

    process, _ = start()
    process.send_signal(signal.SIGINT)
    _, output = process.communicate()
    assert process.returncode == 130
    assert "Run the same command to continue" in output
    assert not alive(mark)

    process, _ = start()
    while not sample_parts(directory / "steps" / "sums"):
        time.sleep(0.01)
    process.kill()
    process.communicate()

    process, worker = start()  # at once, while processes of the killed pipeline are still running
    os.kill(worker, signal.SIGKILL)
    _, output = process.communicate()
    assert process.returncode == 1
    assert "step sums was killed by signal 9 (SIGKILL: out of memory?)" in output

    run(home, directory)
    assert contents(directory) == contents(built)
    assert set(drawn(directory / "steps" / "sums").values()) == {1}


# The status of a step that comes again. These tests start no process.


class Case:
    """A pipeline whose steps have outputs, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        for name, text in (("mix", MIX), ("sft", SFT)):
            write(self.home, text, f"{name}.yaml")
        self.state = PipelineState(folder / "run")
        for step in self.plan():
            self.make(step, step.name)

    def plan(self, *assignments: str) -> list[PlannedStep]:
        text = (
            "kind: pipeline\nname: c\nsteps:\n"
            "  first: {recipe: mix.yaml, set: {runs: [{path: elsewhere}]}}\n"
            "  a: {recipe: mix.yaml, set: {runs: [{path: elsewhere}]}}\n"
            "  b: {recipe: mix.yaml, set: {runs: [{path: '@a'}]}}\n"
            "  taught: {recipe: sft.yaml, set: {data: '@b'}}\n"
            "  again: {recipe: sft.yaml, set: {data: '@a', model: '@taught'}}\n"
        )
        return load_pipeline(write(self.home, text, "p.yaml"), assignments).plan(
            self.folder / "run"
        )

    def step(self, name: str) -> PlannedStep:
        return next(step for step in self.plan() if step.name == name)

    def make(self, step: PlannedStep, text: str) -> None:
        write(step.product, text, "data")
        self.state.record(
            step,
            state="done",
            recipe=resolve_settings(step),
            inputs=input_versions(step),
            output=content_version(step.product),
        )

    def check(self, *assignments: str) -> dict[str, tuple[str, str]]:
        return {step.name: self.state.check(step) for step in self.plan(*assignments)}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_nothing_changed(case: Case) -> None:
    assert {status[0] for status in case.check().values()} == {"done"}


def test_a_changed_recipe_starts_the_step_in_its_own_directory(case: Case) -> None:
    found = case.check("taught.optimizer={floor: 0.2}", "taught.epochs=2")
    assert found["taught"] == ("start", "its recipe changed (optimizer, epochs)")
    assert found["again"][0] == "done"


def test_a_changed_input_is_refused_unless_the_step_is_cheap(case: Case) -> None:
    case.make(case.step("a"), "something else")
    found = case.check()
    assert found["a"][0] == "done"
    assert found["b"] == ("start", "its inputs changed (a)")
    assert found["taught"][0] == "done"
    assert found["again"][0] == "refuse"
    assert found["again"][1].startswith("  a: ")
    assert case.check("again.model=demo")["again"][0] == "refuse"


def test_a_refusal_comes_before_anything_runs(case: Case) -> None:
    case.make(case.step("taught"), "another")
    case.state.record(case.step("first"), state="running")
    with pytest.raises(RunError, match="step again: its inputs have changed") as caught:
        run(case.home, case.state.directory)
    assert "taught: " in str(caught.value)
    assert "--redo again" in str(caught.value)
    assert not list((case.state.directory / "steps").glob("*.log"))


def test_a_training_is_started_by_its_launcher(case: Case) -> None:
    case.state.record(case.step("taught"), state="running")
    with pytest.raises(FactoryError, match="step taught ended with exit code 127") as caught:
        run(case.home, case.state.directory, "steps.taught.launch=no-such-launcher --here")
    assert "no-such-launcher --here -m factory.cli train" in str(caught.value)
    assert "no-such-launcher cannot be started" in str(caught.value)


def test_missing_or_changed_outputs_are_made_again(case: Case) -> None:
    taught = case.step("taught")
    write(taught.product, "altered", "data")
    assert case.check()["taught"] == ("start", "its output is missing or was changed")
    shutil.rmtree(taught.product)
    assert case.check()["taught"][0] == "start"
    assert case.check()["again"][0] == "refuse"
    shutil.rmtree(taught.folder)
    assert case.check()["taught"] == ("start", "")


def test_an_unfinished_step_resumes(case: Case) -> None:
    case.state.record(case.step("taught"), state="running")
    assert case.check()["taught"] == ("start", "resumes")


def test_redo_moves_a_step_and_what_follows_from_it(case: Case) -> None:
    plan = case.plan()
    assert case.state.set_aside(["taught"], plan) == ["taught", "again"]
    assert {name for name, found in case.check().items() if found[0] == "done"} == {
        "first",
        "a",
        "b",
    }
    replaced = case.state.directory / "replaced"
    assert (replaced / "taught-1" / "model" / "data").read_text() == "taught"
    assert (replaced / "again-1").is_dir()


def test_redo_after_a_kill_keeps_started_steps(case: Case) -> None:
    plan = case.plan()
    case.state.set_aside(["taught"], plan)
    case.make(case.step("taught"), "begun")
    killed = PipelineState(case.state.directory)
    assert killed.set_aside(["taught"], plan) == []
    assert killed.set_aside(["taught"], case.plan("taught.epochs=3")) == ["taught", "again"]
    killed.save(redo=[])  # as at the end of a run
    case.state = killed
    case.make(case.step("taught"), "made")
    assert killed.set_aside(["taught"], plan) == ["taught", "again"]
    assert (case.state.directory / "replaced" / "taught-3" / "model" / "data").exists()


@pytest.mark.parametrize(("text", "words"), [("{", "is damaged"), ('{"format": 99}', "layout 99")])
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text, "pipeline.json")
    with pytest.raises(RunError, match=words):
        PipelineState(tmp_path)
