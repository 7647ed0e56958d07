"""A run's logs as numbers: over several starts, torn lines, lines that a resume took back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from factory.core.files import append_line, write_atomic
from factory.watch.readings import LineTail, Reading, Readings, read_result


def log(run: Path, **event: Any) -> None:
    append_line(run / "events.jsonl", {"at": 1000.0, **event})


def throughput(run: Path, seconds: float, samples: int, accepted: int) -> None:
    counts = {"samples": samples, "tokens": 10 * samples, "judged": samples, "accepted": accepted}
    log(run, event="throughput", **counts, occupancy=0.5, seconds=seconds)


def test_the_counts_of_several_starts_add_up(tmp_path: Path) -> None:
    log(tmp_path, event="engine_started")
    throughput(tmp_path, 12.0, 100, 25)
    throughput(tmp_path, 24.0, 220, 55)  # killed here
    log(tmp_path, event="engine_started")
    throughput(tmp_path, 11.0, 50, 5)
    log(tmp_path, event="engine_stopped", samples=60, tokens=600, seconds=13.0, workers=[])
    found, troubles = Readings(tmp_path).poll()
    assert troubles == []
    assert [reading.step for reading in found] == [12, 24, 35, 37]
    assert [reading.metrics["sampling/samples"] for reading in found] == [100, 220, 270, 280]
    assert found[1].metrics["sampling/samples_per_second"] == 10.0
    assert found[2].metrics["sampling/samples_per_second"] == pytest.approx(50 / 11)
    assert found[3].metrics["sampling/acceptance"] == 60 / 270
    assert found[3].metrics["sampling/tokens_per_accepted"] == 2800 / 60


def test_readings_of_a_build_are_ten_seconds_apart(tmp_path: Path) -> None:
    log(tmp_path, event="engine_started")
    for tick in range(1, 31):
        throughput(tmp_path, 2.0 * tick, tick, 0)
    found, _ = Readings(tmp_path).poll()
    assert [reading.step for reading in found] == [2, 12, 22, 32, 42, 52]


def test_reading_in_pieces_gives_what_reading_at_once_gives(tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for folder in (whole, pieces):
        folder.mkdir()
    log(whole, event="engine_started")
    for tick in range(1, 20):
        throughput(whole, 7.0 * tick, 3 * tick, tick)
    content = (whole / "events.jsonl").read_bytes()
    readings, found = Readings(pieces), list[Reading]()
    for end in range(0, len(content) + 37, 37):
        (pieces / "events.jsonl").write_bytes(content[:end])
        found += readings.poll()[0]
    assert found == Readings(whole).poll()[0]


def test_a_trouble_is_news_only_if_it_came_after_the_start(tmp_path: Path) -> None:
    log(tmp_path, event="engine_died", why="old")
    readings = Readings(tmp_path)
    log(tmp_path, event="replica_died", name="replica 1", why="killed", at=time.time() + 1)
    log(tmp_path, event="replica_ready", at=time.time() + 1)
    _, troubles = readings.poll()
    assert [(one.event, one.what) for one in troubles] == [
        ("replica_died", "a replica died: killed")
    ]
    assert readings.poll() == ([], [])


def test_a_training_is_read_by_its_steps_and_skips_what_is_no_number(tmp_path: Path) -> None:
    append_line(tmp_path / "log.jsonl", {"step": 1, "loss": 2.5, "why": "x", "nan": "NaN"})
    append_line(tmp_path / "log.jsonl", {"step": 2, "loss": 2.25, "ok": True})
    readings = Readings(tmp_path)
    assert readings.poll()[0] == [Reading(1, {"loss": 2.5}), Reading(2, {"loss": 2.25})]
    lines = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}]  # resumed from step 1
    write_atomic(tmp_path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert readings.poll()[0] == [Reading(1, {"loss": 2.5}), Reading(2, {"loss": 2.0})]


def test_a_torn_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    tail = LineTail(file)
    assert list(tail.read()) == []
    file.write_bytes(b'{"a": 1}\n{"b"')
    assert list(tail.read()) == [{"a": 1}]
    with open(file, "ab") as stream:
        stream.write(b": 2}\nnonsense\n[1]\n")
    assert list(tail.read()) == [{"b": 2}]


def test_the_result_of_a_run_without_results_is_empty(tmp_path: Path) -> None:
    (tmp_path / "funnel.json").write_text("{torn")
    assert read_result(tmp_path) == {}
