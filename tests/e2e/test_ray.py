"""The main job over Ray on this machine: two replicas of the demo model, one of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factory.errors import EngineError
from factory.recipe import load_recipe
from factory.sampling.engine import open_engine
from factory.store import read_lines, sample_parts
from tests.e2e.processes import descendants, first_replica, first_sample, is_alive, wait_until
from tests.e2e.test_main_job import FACTORY, drawn, recipe

pytestmark = pytest.mark.real


def over_ray(folder: Path, **changes: object) -> Path:
    path = recipe(folder, **changes)
    engine = "engine: {kind: ray, ray: {replicas: 2, cpus: 1}, args: {max_num_seqs: 32, "
    path.write_text(path.read_text().replace("engine: {args: {max_num_seqs: 64, ", engine))
    return path


def test_a_killed_replica_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    path, run = over_ray(tmp_path, size=20, n=4), tmp_path / "run"
    command = [*FACTORY, "build", str(path), "--run", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first_sample(process, run)
    started = descendants(process.pid)
    os.kill(first_replica(run), signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    (death,) = [e for e in read_lines(run / "events.jsonl") if e["event"] == "replica_died"]
    assert death["held"] > 0
    prompts = pq.read_metadata(run / "prompts.parquet").num_rows
    counts = drawn(run)
    assert len(counts) == prompts * 4
    assert set(counts.values()) == {1}
    texts = [str(text) for part in sample_parts(run) for text in pq.read_table(part)["text"]]
    # Replicas with equal seeds would have drawn the same texts in pairs.
    assert len(set(texts)) > len(texts) / 2
    wait_until(lambda: not any(map(is_alive, started)), "Ray's processes to end")


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = over_ray(tmp_path)
    path.write_text(path.read_text().replace("cpus: 1", "cpus: 1, address: '127.0.0.1:1'"))
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1 cannot be reached"):
        open_engine(load_recipe(path), tmp_path, 0)
