"""A real evaluation: the demo model through vLLM, zero-shot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from factory.core.resources import recipe_path
from factory.evaluation.result import load_evaluation

pytestmark = pytest.mark.real


def test_an_untrained_model_scores_nothing_and_the_interval_says_how_surely(tmp_path: Path) -> None:
    """It closes no think section. That a killed run goes on is the main job's own test."""
    run = tmp_path / "run"
    changes = ["sources.0.limit=20", "sampling.max_tokens=48", "k=2", "bootstrap.resamples=200"]
    command = [str(Path(sys.executable).parent / "factory"), "eval", recipe_path("eval/mini.yaml")]
    command += ["--run", run, *(word for change in changes for word in ("--set", change))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pass@1" in done.stdout
    found = load_evaluation(run)
    group = found.groups["sums"]
    assert found.left_out > 0  # the quickstart asks them
    assert (group.samples, group.missing, group.undecided) == (2 * group.prompts, 0, 0)
    assert group.metrics["format"].value == 0.0
    rate = group.metrics["pass@1"]
    assert rate.value == 0.0
    assert rate.high is not None
    assert rate.high > 0.05
    assert group.metrics["tokens"].value
