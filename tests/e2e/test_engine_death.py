"""vLLM's own engine process killed mid-run: with GPUs it is always a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factory.core.files import read_lines
from tests.e2e.processes import descendants, first_sample, is_alive, wait_until
from tests.e2e.test_main_job import FACTORY, drawn, recipe

pytestmark = pytest.mark.real


def test_a_killed_engine_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    path, run = recipe(tmp_path, size=12, n=4), tmp_path / "run"
    process = subprocess.Popen(
        [*FACTORY, "build", str(path), "--run", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
    )
    first_sample(process, run)
    started = descendants(process.pid)
    (engine,) = descendants(process.pid, "VLLM::EngineCore")
    os.kill(engine, signal.SIGKILL)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    (death,) = [e for e in read_lines(run / "events.jsonl") if e["event"] == "engine_died"]
    assert death["held"] > 0
    counts = drawn(run)
    assert len(counts) == 4 * pq.read_metadata(run / "prompts.parquet").num_rows
    assert set(counts.values()) == {1}
    wait_until(lambda: not any(map(is_alive, started)), "the engines to end")
