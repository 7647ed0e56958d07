"""Whole runs that are watched: done, failed, killed; with trackers that hang or are not there."""

from __future__ import annotations

import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from factory.build.build import build, is_finished
from factory.cli import cli
from factory.core.errors import QuotaError, RecipeError
from factory.core.files import append_line, read_lines
from factory.core.run_dir import RunDir
from factory.evaluation.evaluate import evaluate
from factory.export.hub.corpus_summary import measure_corpus
from factory.recipe.build import load_recipe
from factory.recipe.evaluation import load_eval
from factory.watch import attach
from factory.watch.watcher import Order, Outcome, Watcher
from tests.ports import free_ports
from tests.recorded import PROMPTS, recipe_file, record
from tests.test_build import corpus_hash
from tests.watch.hooks import Hook, running_hook

N = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "run", N)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as running:
        yield running


def watched(tmp_path: Path, recorded: Path, *settings: str) -> tuple[str, Path]:
    """Build a recipe with these settings; returns what was printed, and the run."""
    stream = io.StringIO()
    run = tmp_path / "run"
    build(load_recipe(recipe_file(tmp_path, recorded, N), settings), run, Console(file=stream))
    return stream.getvalue(), run


@pytest.fixture(scope="module")
def finished(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Hook]]:
    """A finished build that was watched: what was printed, its run and its webhook."""
    with running_hook() as hook, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOK", f"{hook.url}/SECRET")
        folder = tmp_path_factory.mktemp("finished")
        printed, run = watched(folder, recorded, "notify_env=HOOK", "track=[tensorboard]")
        yield printed, run, hook


def test_a_finished_build_is_reported_with_its_rows(
    tmp_path: Path, recorded: Path, finished: tuple[str, Path, Hook]
) -> None:
    printed, run, hook = finished
    (document,) = hook.got
    assert document["text"] == "recorded (build) is done: 46 rows"
    assert document["state"] == "done"
    assert document["exit_code"] == 0
    assert document["directory"] == str(run)
    assert document["metrics"]["sampling/samples"] == 184
    assert document["metrics"]["result/drop/wrong"] == 46
    assert "SECRET" not in printed
    assert not any("SECRET" in file.read_text() for file in run.rglob("*.yaml"))
    # Who watches changes no result: another start with other keys has nothing to do.
    again = load_recipe(recipe_file(tmp_path, recorded, N), ["metrics_port=1"])
    assert is_finished(again, run)
    build(again, run, Console(quiet=True))
    assert len(hook.got) == 1


def test_an_address_in_the_recipe_is_not_published(
    tmp_path: Path, finished: tuple[str, Path, Hook]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    with open(run / "recipe.yaml", "a") as recipe:
        recipe.write("notify: https://hooks.example/SECRET\n")
    facts = measure_corpus(run)
    assert yaml.safe_load(facts.recipe)["name"] == "recorded"
    assert "SECRET" not in facts.recipe


def test_a_failed_build_is_reported_with_its_exit_code(
    tmp_path: Path, recorded: Path, hook: Hook
) -> None:
    with pytest.raises(QuotaError):
        watched(tmp_path, recorded, f"notify={hook.url}", "corpus.min_rows=1000")
    (document,) = hook.got
    assert document["state"] == "failed"
    assert document["exit_code"] == QuotaError.exit_code
    assert "1,000" in document["message"]


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from factory.build.build import build
from factory.core.run_dir import RunDir
from factory.recipe.build import load_recipe

def die(run, sample):
    os.kill(os.getpid(), signal.SIGKILL)

RunDir.append = die
if __name__ == "__main__":
    build(load_recipe(Path(sys.argv[1]), sys.argv[3:]), Path(sys.argv[2]), Console(quiet=True))
"""


def test_a_killed_build_is_reported_by_who_watches_it(
    tmp_path: Path, recorded: Path, hook: Hook
) -> None:
    script, run = tmp_path / "child.py", tmp_path / "run"
    script.write_text(KILLED)
    recipe = recipe_file(tmp_path, recorded, N)
    command = [sys.executable, str(script), str(recipe), str(run), f"notify={hook.url}"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 120
    while not hook.got and time.monotonic() < deadline:
        time.sleep(0.05)
    (document,) = hook.got
    assert document["text"].startswith("recorded (build) has been killed: ")
    assert document["exit_code"] is None


def test_trackers_that_hang_or_are_missing_change_nothing_and_are_said_once(
    tmp_path: Path,
    recorded: Path,
    finished: tuple[str, Path, Hook],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attach, "FLUSH_S", 3.0)
    hang = tmp_path / "hang"
    hang.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid; exec sleep 1000\n")
    hang.chmod(hang.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("WANDB_PYTHON", str(hang))
    monkeypatch.setenv("MLFLOW_PYTHON", "/no/such/python")
    (port,) = free_ports(1)
    dead = f"notify=http://127.0.0.1:{port}/SECRET"
    printed, run = watched(tmp_path, recorded, "track=[wandb, mlflow]", dead)
    assert corpus_hash(run) == corpus_hash(finished[1])
    printed = " ".join(printed.split())
    assert printed.count("the tracker wandb") == 1
    assert printed.count("the tracker mlflow can't be started") == 1
    assert printed.count("http://127.0.0.1/…") == 1
    assert "SECRET" not in printed
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_port_in_use_is_said(tmp_path: Path, hook: Hook) -> None:
    said: list[str] = []
    port = int(hook.url.rpartition(":")[2])
    watcher = Watcher(Order(str(tmp_path), "sums", "build", metrics_port=port), said.append)
    watcher.begin()
    watcher.close(Outcome("done", 0))
    assert len(said) == 1
    assert f"nothing can be served at {port} (Address already in use)" in said[0]


def test_an_evaluation_is_reported_with_its_metrics(
    tmp_path: Path, recorded: Path, hook: Hook
) -> None:
    recipe = tmp_path / "eval.yaml"
    recipe.write_text(
        f"""
kind: eval
name: sums
model: demo
sources:
  - {{kind: files, name: sums, path: {PROMPTS}, language: en, limit: 30}}
engine: {{kind: replay, replay: {recorded}}}
sampling: {{temperature: 0.7, max_tokens: 256}}
bootstrap: {{resamples: 400}}
notify: {hook.url}
"""
    )
    found = evaluate(load_eval(recipe), tmp_path / "run", Console(quiet=True))
    (document,) = hook.got
    assert document["kind"] == "eval"
    value = found.groups["sums"].metrics["pass@1"].value
    assert document["metrics"]["eval/sums/pass@1"] == value
    assert load_eval(recipe).fingerprint() == load_eval(recipe, ["notify=null"]).fingerprint()


def test_the_command_follows_a_run_until_it_ends(tmp_path: Path, hook: Hook) -> None:
    run = tmp_path / "run"
    with RunDir(run) as directory:
        directory.save_manifest(state="running", name="sums")
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "factory.cli", "watch", str(run), "--notify", hook.url]
        command += ["--metrics-port", str(port), "--track", "tensorboard"]
        follower = subprocess.Popen(command, stderr=subprocess.PIPE)
        directory.event("engine_started")
        counts = {"samples": 40, "tokens": 400, "judged": 40, "accepted": 10}
        directory.event("throughput", **counts, seconds=2.0)
        while not (run / "watch" / "tensorboard.json").exists():
            time.sleep(0.05)
        directory.save_manifest(state="done")
    _, trouble = follower.communicate(timeout=120)
    assert follower.returncode == 0, trouble.decode()
    assert trouble == b""
    (document,) = hook.got
    assert document["state"] == "done"
    assert document["metrics"]["sampling/accepted"] == 10


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("track=[wandbb]", "it must be 'trackio', 'wandb', 'mlflow' or 'tensorboard'"),
        ("metrics_port=70000", "write a port from 1 to 65535"),
        ("metrics_port=host", "write a port from 1 to 65535"),
        ("notify=ftp://SECRET", "is no address"),
        ("notify=SECRET", "is no address"),
    ],
)
def test_wrong_values_are_refused_without_secrets(
    setting: str, problem: str, tmp_path: Path, recorded: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file(tmp_path, recorded, N), [setting])
    assert problem in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_variable_that_is_not_set_is_refused_before_the_build(
    tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(RecipeError, match="HOOK, which is not set"):
        watched(tmp_path, recorded, "notify_env=HOOK")
    assert not (tmp_path / "run").exists()


def test_the_command_needs_something_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["watch", str(tmp_path)])
    assert "give --track" in done.output
    append_line(tmp_path / "events.jsonl", {})
    done = CliRunner().invoke(cli, ["watch", str(tmp_path), "--track", "wandb"])
    assert "has no run.json" in str(done.exception)
    assert read_lines(tmp_path / "events.jsonl") == [{}]
