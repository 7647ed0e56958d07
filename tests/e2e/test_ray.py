"""The main job over Ray on this machine: two replicas of the demo model, one of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factory.errors import EngineError
from factory.recipe import load_recipe
from factory.sampling.engine import open_engine
from tests.e2e.test_main_job import drawn, recipe

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def over_ray(folder: Path, **changes: object) -> Path:
    path = recipe(folder, **changes)
    engine = "engine: {kind: ray, ray: {replicas: 2, cpus: 1}, args: {max_num_seqs: 32, "
    path.write_text(path.read_text().replace("engine: {args: {max_num_seqs: 64, ", engine))
    return path


def replicas() -> list[int]:
    """Process ids of this machine's replica actors, by their titles."""
    found = subprocess.run(["pgrep", "-f", "ray::Replica"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def test_a_killed_replica_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    path, run = over_ray(tmp_path, size=20, n=4), tmp_path / "run"
    before = set(replicas())
    command = [str(Path(sys.executable).parent / "factory"), "build", str(path), "--run", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        if any((run / "samples").glob("journal-*")):
            break
        time.sleep(0.2)
    own = sorted(set(replicas()) - before)
    assert own, "no replica was seen"
    os.kill(own[0], signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    prompts = pq.read_metadata(run / "prompts.parquet").num_rows
    counts = drawn(run)
    assert len(counts) == prompts * 4
    assert set(counts.values()) == {1}
    texts = [t for part in (run / "samples").glob("part-*") for t in pq.read_table(part)["text"]]
    # Replicas with equal seeds would have drawn the same texts in pairs.
    assert len({str(text) for text in texts}) > len(texts) / 2
    assert not set(replicas()) - before


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = over_ray(tmp_path)
    path.write_text(path.read_text().replace("cpus: 1", "cpus: 1, address: '127.0.0.1:1'"))
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1 cannot be reached"):
        open_engine(load_recipe(path), tmp_path, 0)
