"""reasoning-gym: every family loads, fits into JSON, and is the same for the same seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reasoning_gym.factory import DATASETS

from factory.core.errors import MissingDependency, SourceError
from factory.core.nouns import Prompt
from factory.prompts import gym
from factory.prompts.gym import Gym
from factory.prompts.load import load_prompts, preview

FAMILIES = tuple(sorted(set(DATASETS) - {"composite"}))  # a mixture of the others
TUPLES = {"arc_agi", "rearc"}  # their scorers compare with a tuple of tuples
IDS = """
import sys
from factory.prompts.gym import Gym
from factory.core.nouns import Prompt
source = Gym(task=tuple(sys.argv[1].split()), size=2, seed=7)
print(*(row.id for row in source.rows() if isinstance(row, Prompt)))
"""


@pytest.fixture(scope="module")
def items() -> dict[str, list[Prompt]]:
    """Two prompts of every family, all made by one process."""
    found: dict[str, list[Prompt]] = {}
    for row in Gym(task=FAMILIES, size=2, seed=7).rows():
        assert isinstance(row, Prompt), row
        found.setdefault(row.meta["task"], []).append(row)
    return found


def as_tuples(value: Any) -> Any:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("family", FAMILIES)
def test_family(items: dict[str, list[Prompt]], family: str) -> None:
    assert len(items[family]) == 2
    task, config = DATASETS[family]
    scorer = task(config=config())
    for prompt in items[family]:
        row = json.loads(json.dumps(prompt.to_row(), allow_nan=False))
        assert Prompt.from_row(row) == prompt
        entry = json.loads(row["verifier"])["entry"]
        assert entry.keys() == {"question", "answer", "metadata"}
        if family in TUPLES:
            entry["metadata"] = {key: as_tuples(value) for key, value in entry["metadata"].items()}
        if entry["answer"] is not None:  # five families have no one right answer
            assert scorer.score_answer(entry["answer"], entry) == 1.0


def test_a_seed_gives_the_same_prompts_whatever_the_hash_seed(
    items: dict[str, list[Prompt]],
) -> None:
    """Five families iterate over sets of strings; a resumed run must find its prompts again."""
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", IDS, " ".join(FAMILIES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [prompt.id for family in items.values() for prompt in family]


def test_numeric_answers_can_be_verified_as_mathematics() -> None:
    loaded = load_prompts([Gym(task="chain_sum", size=5, verifier="math", config={"min_terms": 2})])
    prompt = loaded.prompts[0]
    assert prompt.verifier == {"kind": "math", "answer": str(int(prompt.verifier["answer"]))}  # type: ignore[index]
    assert (prompt.domain, prompt.language, prompt.source) == ("math", "en", "chain_sum")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"task": "chainsum"}, "did you mean chain_sum"),
        ({"task": "composite"}, r"list them as `task: \[a, b\]`"),
        ({"task": ("chain_sum", "gcd"), "config": {"terms": 2}}, "does not accept these settings"),
        ({"task": "chain_sum", "config": {"min_terms": 0}}, "does not accept these settings"),
        ({"task": "knights_knaves", "size": 2, "verifier": "math"}, "answer_not_a_number"),
    ],
)
def test_refusals(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        load_prompts([Gym(**keys)])


def test_stopping_early_ends_the_generator() -> None:
    assert len(preview(Gym(task="chain_sum", size=1_000_000), 2)) == 2


@pytest.mark.parametrize("text", ["__import__('os')", "print(1)", "[1]", '"x"', "{x}", "a\\b"])
def test_settings_that_could_be_code_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no brackets and no quotes"):
        Gym(task="basic_arithmetic", config={"operators": ["+", text]})


def test_a_process_that_is_killed_as_it_writes_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "python"
    killed.write_text('#!/bin/sh\nprintf \'{"place": "x[0]\'\nkill -9 $$\n')
    killed.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(SourceError, match="reasoning-gym failed: it ended with status -9"):
        list(Gym(task="chain_sum", size=1).rows())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"chain_sum needs reasoning-gym.*extra `gym`"):
        list(Gym(task="chain_sum").read())
