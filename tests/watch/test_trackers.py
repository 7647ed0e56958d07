"""The real trackers, offline, in their own processes; and processes that hang, die or leak."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import stat
import struct
import subprocess
import time
from pathlib import Path
from typing import get_args

import click
import pytest

from factory.cli.watch import watch as command
from factory.recipe.watching import TrackerName
from factory.watch import trackers
from factory.watch.readings import Reading
from factory.watch.trackers import Tracker

BEGIN = {"name": "sums", "id": "0123456789abcdef", "config": {"model.id": "demo", "sampling.n": 4}}
RESULT = {"result/rows": 7.0, "eval/sums/pass@1": 0.5}


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed (extra `track`)")


def track(name: str, run: Path, steps: range, said: list[str], state: str = "done") -> None:
    """Track steps, and the end."""
    tracker = Tracker(name, run, BEGIN, said.append)
    for step in steps:
        tracker.put(Reading(step, {"sampling/samples": 10.0 * step, "eval/pass@1": 0.5}))
    tracker.finish(RESULT if state == "done" else {}, state)
    tracker.close(time.monotonic() + 90)
    tracker.check()


def log_of(name: str, run: Path) -> str:
    return (run / "watch" / f"{name}.log").read_text()


@needs("tensorboard")
def test_tensorboard_has_every_step_once_after_a_second_start(tmp_path: Path) -> None:
    said: list[str] = []
    track("tensorboard", tmp_path, range(1, 4), said, state="stopped")
    track("tensorboard", tmp_path, range(1, 6), said)
    assert said == [], log_of("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "watch" / "tensorboard"))
    events.Reload()
    found = [(one.step, one.value) for one in events.Scalars("sampling/samples")]
    assert found == [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0), (5, 50.0)]
    assert [one.value for one in events.Scalars("result/rows")] == [7.0]


@needs("wandb")
def test_wandb_offline_keeps_one_run_over_two_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[str] = []
    track("wandb", tmp_path, range(1, 4), said, state="stopped")
    track("wandb", tmp_path, range(1, 6), said)
    assert said == [], log_of("wandb", tmp_path)
    first, second = sorted((tmp_path / "watch" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert first.name == second.name == f"run-{BEGIN['id']}.wandb"
    assert [row["_step"] for row in wandb_rows(first)] == [1, 2, 3]
    rows = wandb_rows(second)
    assert [row["_step"] for row in rows] == [4, 5]
    assert [row["sampling/samples"] for row in rows] == [40.0, 50.0]


def wandb_rows(file: Path) -> list[dict[str, float]]:
    """The history in a run's own file: protocol buffers in LevelDB's log format, all in one block.

    A header of 7 bytes; then per record a checksum of 4 bytes, a length of 2, and its type.
    """
    from wandb.proto import wandb_internal_pb2

    content, place, rows = file.read_bytes(), 7, []
    assert content[:4] == b":W&B"
    assert len(content) < 32768
    while place < len(content):
        length, kind = struct.unpack_from("<HB", content, place + 4)
        assert kind == 1, "a record over several blocks"
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content[place + 7 : place + 7 + length])
        place += 7 + length
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


@needs("trackio")
def test_trackio_keeps_one_run_over_two_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    said: list[str] = []
    track("trackio", tmp_path, range(1, 4), said, state="stopped")
    track("trackio", tmp_path, range(1, 6), said)
    assert said == [], log_of("trackio", tmp_path)
    (database,) = (tmp_path / "trackio").glob("r1-factory*.db")
    with sqlite3.connect(database) as known:
        rows = known.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {row[0] for row in rows} == {"sums"}
    steps = [row[1] for row in rows if "sampling/samples" in json.loads(row[2])]
    assert steps == [1, 2, 3, 4, 5]
    assert any("result/rows" in json.loads(row[2]) for row in rows)


@pytest.mark.skipif(
    "MLFLOW_PYTHON" not in os.environ, reason="MLFLOW_PYTHON names no interpreter with mlflow"
)
def test_mlflow_in_an_environment_of_its_own_keeps_one_run_over_two_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    said: list[str] = []
    track("mlflow", tmp_path, range(1, 4), said, state="stopped")
    track("mlflow", tmp_path, range(1, 6), said)
    assert said == [], log_of("mlflow", tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as known:
        samples = "SELECT step, value FROM metrics WHERE key = 'sampling/samples' ORDER BY step"
        rows = known.execute(samples).fetchall()
        (status,) = known.execute("SELECT status FROM runs").fetchone()
    assert rows == [(step, 10.0 * step) for step in range(1, 6)]
    assert status == "FINISHED"


def interpreter(tmp_path: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script stand where a tracker's own interpreter would."""
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(f"{name.upper()}_PYTHON", str(file))


def test_a_tracker_that_hangs_is_said_once_and_cut_off_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "SLOW_S", 0.2)
    interpreter(tmp_path, "wandb", "echo $$ > pid; exec sleep 1000", monkeypatch)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    tracker = Tracker("wandb", tmp_path, BEGIN, said.append)
    for step in range(trackers.WAITING + 10):  # a put never waits
        tracker.put(Reading(step, {"loss": 1.0}))
    while not (said and (tmp_path / "pid").exists()):
        tracker.check()
        time.sleep(0.05)
    tracker.check()
    tracker.finish({}, "done")
    tracker.close(time.monotonic() + 0.2)
    assert len(said) == 1
    assert "the tracker wandb has not answered" in said[0]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_tracker_that_hangs_is_said_while_the_end_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a `watch` waits for ten minutes: nobody should wonder why."""
    monkeypatch.setattr(trackers, "SLOW_S", 0.2)
    interpreter(tmp_path, "wandb", "exec sleep 1000", monkeypatch)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        raise KeyboardInterrupt  # as a person may do then

    tracker = Tracker("wandb", tmp_path, BEGIN, say)
    tracker.finish({}, "done")
    with pytest.raises(KeyboardInterrupt):
        tracker.close(time.monotonic() + 600)
    assert "the tracker wandb has not answered" in said[0]
    tracker.close(time.monotonic())


def test_a_tracker_that_dies_is_said_once_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    script = 'echo "login with $WANDB_API_KEY at https://me:pw@host/x failed" >&2; exit 3'
    interpreter(tmp_path, "wandb", script, monkeypatch)
    said: list[str] = []
    track("wandb", tmp_path, range(5), said)
    assert len(said) == 1
    assert "ended with exit code 3: login with *** at https://***@host/x failed" in said[0]
    assert log_of("wandb", tmp_path) == "login with *** at https://***@host/x failed\n"


def test_a_tracker_that_is_not_installed_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(empty)], check=True)
    monkeypatch.setenv("MLFLOW_PYTHON", str(empty / "bin" / "python"))
    said: list[str] = []
    track("mlflow", tmp_path, range(1), said)
    assert len(said) == 1
    assert "No module named 'mlflow'" in said[0]
    assert "MLFLOW_PYTHON" in said[0]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "watch").write_text("a file")
    said: list[str] = []
    track("tensorboard", tmp_path, range(1), said)
    assert len(said) == 1
    assert "can't be started" in said[0]


def test_the_command_offers_every_tracker() -> None:
    (track,) = (parameter for parameter in command.params if parameter.name == "track")
    assert isinstance(track.type, click.Choice)
    assert tuple(track.type.choices) == get_args(TrackerName)
