"""`kind: batch` without a URL: vLLM's own batch runner answers the files, as on another machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory.core.models import DEMO_NAME, model_path
from tests.e2e.test_main_job import drawn, factory

RECIPE = """\
name: batch-files
model: demo
sources:
  - {kind: files, path: prompts.jsonl, language: en, verifier: {kind: math}}
prompting: {template: chat}
engine: {kind: batch, server: {api: chat}, batch: {fill_s: 0}}
sampling: {n: 2, temperature: 0.7, top_k: 50, max_tokens: 48}
filters: {length: {}}
"""


def run_batch(requests: Path, results: Path) -> None:
    """As the documentation says; its process group is killed with whatever it leaves behind."""
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.run_batch"),
        *("-i", str(requests), "-o", str(results), "--model", model_path("demo")),
        *("--served-model-name", DEMO_NAME, "--max-model-len", "2048", "--enforce-eager"),
    ]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | settings,
            start_new_session=True,
        ) as process,
    ):
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]


@pytest.mark.real
def test_vllms_batch_runner_answers_the_files(tmp_path: Path) -> None:
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(6)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    build = ("build", tmp_path / "recipe.yaml", "--run", tmp_path / "run")
    waiting = factory(*build)
    assert waiting.returncode == 3, waiting.stderr
    assert "00001.requests.jsonl" in waiting.stderr
    folder = tmp_path / "run" / "batches"
    run_batch(folder / "00001.requests.jsonl", folder / "00001.results.jsonl")
    done = factory(*build)
    assert done.returncode in (0, 9), done.stderr  # the demo model may have nothing right
    counts = drawn(tmp_path / "run")
    assert len(counts) == 12
    assert set(counts.values()) == {1}
