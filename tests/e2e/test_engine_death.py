"""vLLM's own engine process killed mid-run: with GPUs it is always a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factory.store import read_lines
from tests.e2e.test_main_job import FACTORY, drawn, recipe

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def engine_processes() -> set[int]:
    found = subprocess.run(["pgrep", "-f", "^VLLM::EngineCore"], capture_output=True, text=True)
    return {int(pid) for pid in found.stdout.split()}


def test_a_killed_engine_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    path, run = recipe(tmp_path, size=12, n=4), tmp_path / "run"
    before = engine_processes()
    process = subprocess.Popen(
        [*FACTORY, "build", str(path), "--run", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
    )
    deadline = time.monotonic() + 400
    while process.poll() is None and not any((run / "samples").glob("journal-*")):
        assert time.monotonic() < deadline, "no sample came"
        time.sleep(0.1)
    (engine,) = engine_processes() - before
    os.kill(engine, signal.SIGKILL)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    (death,) = [e for e in read_lines(run / "events.jsonl") if e["event"] == "engine_died"]
    assert death["held"] > 0
    counts = drawn(run)
    assert len(counts) == 4 * pq.read_metadata(run / "prompts.parquet").num_rows
    assert set(counts.values()) == {1}
    assert not engine_processes() - before
