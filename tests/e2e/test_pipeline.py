"""A pipeline of real steps with the real model: sampled, taught, reinforced, evaluated; killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_leash import alive
from tests.test_recipe import write

SUMS = """\
sources:
  - kind: gym
    name: sums
    task: chain_sum
    config: {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}
    size: 8
    verifier: math
    domain: math
engine: {args: {max_model_len: 1024}}
sampling: {temperature: 0.6, top_k: 50, max_tokens: 64}
"""
RECIPES = {
    "cold_start": "name: cold-start\nextends: sums.yaml\nmodel: demo\n"
    'prompting: {template: few_shot, prefill: "<think>\\n"}\nsampling: {n: 4}\n'
    "filters: {format: {}}\n",
    "sft": "kind: sft\nname: sft\nmodel: demo\ndata: nowhere\nsteps: 2\nbatch: 4\nmicro_batch: 4\n"
    "max_length: 256\ngradient_checkpointing: false\n",
    "rl": "kind: grpo\nname: rl\nmodel: nowhere\nsources: [{kind: gym, task: chain_sum, size: 2}]\n"
    "steps: 1\nbatch: 4\nsamples: 2\nmicro_batch: 4\nbeta: 0\ngradient_checkpointing: false\n"
    "rollouts: {kind: none, max_tokens: 16}\nrewards: {accuracy: {}, format: {}}\n",
    "eval": "kind: eval\nname: eval\nextends: sums.yaml\nmodel: nowhere\nk: 1\n",
    "pipeline": """\
kind: pipeline
name: short
steps:
  eval: {recipe: eval.yaml, set: {model: "@rl"}}
  rl: {recipe: rl.yaml, set: {model: "@sft"}}
  sft: {recipe: sft.yaml, set: {data: "@cold-start"}, launch: env HF_HUB_OFFLINE=1 PYTHON}
  cold-start: {recipe: cold_start.yaml}
""",
}


@pytest.mark.real
def test_the_steps_of_r1_in_little(tmp_path: Path) -> None:
    write(tmp_path, SUMS, "sums.yaml")
    for name, text in RECIPES.items():
        write(tmp_path, text.replace("PYTHON", sys.executable), f"{name}.yaml")
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "factory.cli", "run", str(tmp_path / "pipeline.yaml")]
    command += ["--run", str(directory)]

    first = subprocess.Popen(command)
    mark = str(directory / "steps" / "sft")
    while not alive(mark):
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    while alive(mark):  # it ends with the pipeline that started it
        time.sleep(0.05)

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cold-start: done before" in done.stderr
    steps = json.loads((directory / "pipeline.json").read_text())["steps"]
    assert {name: step["state"] for name, step in steps.items()} == dict.fromkeys(
        ("cold-start", "sft", "rl", "eval"), "done"
    )
    assert steps["cold-start"]["facts"]["rows"] > 0
    assert steps["sft"]["facts"]["steps"] == 2
    assert steps["sft"]["inputs"] == {"cold-start": steps["cold-start"]["output"]}
    assert "env HF_HUB_OFFLINE=1" in (directory / "steps" / "sft.log").read_text()
    assert steps["rl"]["facts"]["steps"] == 1
    assert steps["rl"]["inputs"] == {"sft": steps["sft"]["output"]}
    asked = steps["eval"]["facts"]["groups"]["sums"]
    assert 0 <= asked["pass@1"]["low"] <= asked["pass@1"]["high"] <= 1
    assert "pass@1" in (directory / "pipeline.html").read_text()
    assert not alive(str(directory / "steps" / "eval"))
