"""The main job with two embedded engines in processes of their own, one of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from factory.core.files import read_lines
from factory.core.run_dir import sample_parts
from tests.e2e.processes import descendants, first_replica, first_sample, is_alive, wait_until
from tests.e2e.test_main_job import FACTORY, drawn, recipe

pytestmark = pytest.mark.real


def test_a_killed_replica_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    path = recipe(tmp_path, size=30, n=8)
    path.write_text(path.read_text().replace("engine: {args", "engine: {replicas: 2, args"))
    death = survives_a_killed_replica(path, tmp_path / "run", n=8)
    assert "status -9" in death["why"]


def survives_a_killed_replica(path: Path, run: Path, n: int) -> dict[str, Any]:
    """Build with one replica killed at work. Every sample exists once. Returns the death event."""
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
    assert len(counts) == prompts * n
    assert set(counts.values()) == {1}
    texts = [str(text) for part in sample_parts(run) for text in pq.read_table(part)["text"]]
    # Replicas with equal seeds would have generated equal texts in pairs.
    assert len(set(texts)) > len(texts) / 2
    wait_until(lambda: not any(map(is_alive, started)), "the replicas' processes to end")
    return death
