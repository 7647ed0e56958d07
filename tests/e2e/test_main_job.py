"""The main job on the real thing: the demo model through vLLM, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from factory.core.run_dir import sample_parts
from tests.e2e.processes import first_sample

pytestmark = pytest.mark.real

FACTORY = [str(Path(sys.executable).parent / "factory")]

RECIPE = """
name: real
model: {model}
sources:
  - kind: gym
    name: sums
    task: chain_sum
    config: {{min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}
    size: {size}
    verifier: math
    domain: math
    language: en
prompting: {{template: {template}, prefill: "<think>\\n"}}
engine: {{args: {{max_num_seqs: 64, max_model_len: {context}}}}}
sampling: {{n: {n}, temperature: 0.5, top_k: 50, max_tokens: 120}}
filters:
  format: {{}}
  length: {{}}
  repetition: {{}}
  language: {{}}
  readability: {{}}
  correctness: {{}}
"""


def recipe(folder: Path, **changes: object) -> Path:
    fields = {"model": "demo", "size": 24, "n": 4, "template": "few_shot", "context": 1024}
    path = folder / "real.yaml"
    path.write_text(RECIPE.format(**{**fields, **changes}))
    return path


def factory(*arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FACTORY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def drawn(run: Path) -> Counter[tuple[str, int]]:
    tables = [pq.read_table(part, columns=["prompt_id", "index"]) for part in sample_parts(run)]
    return Counter((r["prompt_id"], r["index"]) for table in tables for r in table.to_pylist())


def test_killed_resumed_and_finished(tmp_path: Path) -> None:
    """Killed while the engine samples; the same command ends with every sample once."""
    path, run = recipe(tmp_path, n=5), tmp_path / "run"
    command = [*FACTORY, "build", str(path), "--run", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    first_sample(process, run)  # and no later: a fast machine is soon done with all
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    prompts = pq.read_metadata(run / "prompts.parquet").num_rows

    done = factory("build", path, "--run", run)
    assert done.returncode == 0, done.stderr
    assert "corpus" in done.stdout
    counts = drawn(run)
    assert len(counts) == prompts * 5
    assert set(counts.values()) == {1}
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["engine_starts"] == 2

    funnel = json.loads((run / "funnel.json").read_text())
    assert funnel["drawn"]["samples"] == prompts * 5
    # Few-shot, the demo model solves a fifth of these; none at all would mean a broken path.
    assert funnel["kept"]["samples"] >= 0.05 * prompts * 5

    rows = pl.read_parquet(run / "corpus" / "*.parquet")
    assert rows.height
    assert all(row["extracted_answer"] for row in rows.rows(named=True))

    log_size = (run / "engine.log").stat().st_size
    again = factory("build", path, "--run", run, "--set", "filters.length.max_tokens=60")
    assert again.returncode == 0, again.stderr
    assert (run / "engine.log").stat().st_size == log_size  # no engine was started
    explained = factory("explain", run, rows["id"][0])
    assert explained.returncode == 0, explained.stderr
    assert "correctness_state" in explained.stdout
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import datasets, sys; print(len(datasets.load_dataset('parquet', "
            "data_files=sys.argv[1], cache_dir=sys.argv[2])['train']))",
            str(run / "corpus" / "*.parquet"),
            str(tmp_path / "cache"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(loaded.stdout) == pl.read_parquet(run / "corpus" / "*.parquet").height


def test_interrupted_once_it_stops_cleanly(tmp_path: Path) -> None:
    path, run = recipe(tmp_path), tmp_path / "run"
    process = subprocess.Popen(
        [*FACTORY, "build", str(path), "--run", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first_sample(process, run)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 130, said
    assert "Run the same command to continue" in said
    assert sample_parts(run)


BAD = [
    ({"model": "/nowhere/at/all"}, 7, "there is no config.json"),
    ({"template": "chat", "model": "{baseless}"}, 7, "no chat template"),
]


@pytest.mark.parametrize(("changes", "code", "message"), BAD)
def test_a_bad_model_is_named(
    tmp_path: Path, changes: dict[str, object], code: int, message: str
) -> None:
    changes = {
        key: str(without_template(tmp_path)) if value == "{baseless}" else value
        for key, value in changes.items()
    }
    done = factory("build", recipe(tmp_path, **changes), "--run", tmp_path / "run")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def without_template(folder: Path) -> Path:
    """The demo model as a base model: no chat template."""
    import shutil

    from factory.core.models import demo_model

    copy = folder / "base-model"
    shutil.copytree(demo_model(), copy)
    (copy / "chat_template.jinja").unlink()
    return copy


def test_prompts_longer_than_the_context_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ("--set", "sampling.max_tokens=20")
    done = factory("build", recipe(tmp_path, context=64, size=3), "--run", run, *short)
    assert done.returncode == 4, done.stderr
    assert "no sample was generated (12 prompt_too_long)" in done.stderr
    failures = (run / "failures.jsonl").read_text().splitlines()
    assert failures
    assert "raise engine.args.max_model_len" in json.loads(failures[0])["detail"]
