"""Policies that are really trained: with vLLM inside the process, killed and resumed, failing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.core.errors import RecipeError, SourceError, TrainError
from factory.prompts.chain_of_thought import COT
from factory.prompts.templates import BOXED
from factory.recipe.grpo import Grpo
from factory.train.directory import TrainDir
from factory.train.policy.grpo import load_questions
from factory.train.tokenizer import training_tokenizer
from factory.train.train import load_training, train
from tests.train.policy import RECIPE, log_of, write_policy

ROOT = Path(__file__).parent.parent.parent
QUIET = Console(file=io.StringIO())
RUN = """
import sys
from pathlib import Path
from rich.console import Console
from factory.train.train import load_training, train
train(load_training(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
"""


def start(recipe: Path, run: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, recipe, run], cwd=ROOT, stderr=subprocess.DEVNULL
    )


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    while not file.exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)


@pytest.mark.real(group="torch")
def test_a_killed_training_resumes_to_the_same_result(tmp_path: Path) -> None:
    """It restores steps, optimizer, random state and a replaced reference model."""
    recipe = write_policy(
        tmp_path,
        steps=6,
        beta=0.1,
        reference_every=2,
        checkpoint={"every": 2, "retain": True},
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(recipe, killed)
    try:
        wait_for(killed / "checkpoints" / "checkpoint-2" / "trainer_state.json", process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (killed / "model").exists()
    train(load_training(recipe), killed, QUIET)
    train(load_training(recipe), whole, QUIET)
    assert (whole / "checkpoints" / "checkpoint-4" / "reference").is_dir()
    keys = ("step", "loss", "reward", "kl", "completions/mean_length")
    ours, theirs = ([[row[key] for key in keys] for row in log_of(r)] for r in (killed, whole))
    assert ours == theirs
    assert len(ours) == 6
    samples = (killed / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in samples] == [1, 1, 3, 3, 5, 5]
    assert (killed / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()


@pytest.mark.real(group="torch")
def test_failing_rollouts_name_the_checkpoint_to_resume_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    calls = []
    generate = LlamaForCausalLM.generate

    def dies_at_the_third(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the worker is gone")
        return generate(self, *args, **kwargs)

    recipe = load_training(write_policy(tmp_path, checkpoint={"every": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "generate", dies_at_the_third)
        with pytest.raises(TrainError, match=r"step 3: .*worker is gone.*checkpoint-2"):
            train(recipe, tmp_path / "run", QUIET)
    assert (train(recipe, tmp_path / "run", QUIET) / "config.json").exists()
    assert [row["step"] for row in log_of(tmp_path / "run")] == [1, 2, 3, 4]


@pytest.mark.real(group="torch")
def test_a_collapse_stops_the_training(tmp_path: Path) -> None:
    """Random weights never think: accuracy alone gives them nothing to learn from."""
    recipe = write_policy(tmp_path, steps=9, rewards={"accuracy": {}}, stop={"no_signal": 3})
    with pytest.raises(TrainError, match=r"step 3: .*since step 1 .*earns 0.*cold-start"):
        train(load_training(recipe), tmp_path / "run", QUIET)
    assert len(log_of(tmp_path / "run")) == 3


@pytest.mark.real
def test_vllm_inside_the_process_follows_the_policy(tmp_path: Path) -> None:
    """Two steps with rollouts by vLLM on this machine. That the engine has each step's weights
    shows in its log probabilities, which are those of the policy."""
    recipe = write_policy(
        tmp_path,
        steps=3,
        rollouts={"kind": "colocate", "max_tokens": 8},
        optimizer={"learning_rate": 0.05},
    )
    run = tmp_path / "run"
    # A separate process, since an engine is only released at the end of its process.
    process = start(recipe, run)
    assert process.wait() == 0
    rows = log_of(run)
    assert len(rows) == 3
    for row in rows:
        assert {"reward", "rewards/accuracy/mean", "rewards/short/mean", "entropy"} <= row.keys()
        assert {"cut", "undecided", "frac_reward_zero_std", "clip_ratio/region_mean"} <= row.keys()
        parts = [row[f"time/{part}"] for part in ("rollout", "sync", "reward", "update", "save")]
        assert sum(parts) == pytest.approx(row["time/step"], abs=0.01)
        assert row["sampling/sampling_logp_difference/mean"] < 0.05
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert AutoTokenizer.from_pretrained(run / "model").chat_template
    assert model.config.num_hidden_layers == 2
    assert {file.name for file in run.glob("curves*")} >= {"curves.html", "curves.json"}
    sample = json.loads((run / "samples.jsonl").read_text().splitlines()[0])
    assert sample["rewards"].keys() == {"accuracy", "short"}


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_length": 12}, SourceError, "no room"),
    ({"batch": 64, "micro_batch": 64}, RecipeError, "needs 16 questions, but there are 12"),
    (
        {"rewards": {"accuracy": {"prompts": "unverified"}, "format": {}}},
        RecipeError,
        "rewards.accuracy applies to none",
    ),
    ({"args": {"beta": 1}}, RecipeError, "set beta instead"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED)
def test_problems_are_reported_before_a_model_is_loaded(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    recipe = load_training(write_policy(tmp_path, **changes))
    with pytest.raises(error, match=message):
        train(recipe, tmp_path / "run", QUIET)


@pytest.mark.parametrize(
    ("cot", "marks"), [(None, {None}), ({"rule": "never"}, {False}), ({"rule": "always"}, {True})]
)
def test_questions_get_the_marks_of_the_recipe(
    cot: dict[str, str] | None, marks: set[bool | None], tmp_path: Path
) -> None:
    recipe = load_training(write_policy(tmp_path, prompting={"template": "chat", "cot": cot}))
    assert isinstance(recipe, Grpo)
    with closing(TrainDir(tmp_path / "run")) as run:
        questions = load_questions(recipe, run, training_tokenizer(recipe), QUIET)
    found = {one.prompt.meta.get(COT, {}).get("asked") for one in questions}
    assert found == marks


def test_questions_get_the_instruction_of_their_domain(tmp_path: Path) -> None:
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"question": "Hello!", "domain": "general"}\n')
    sums = {**RECIPE["sources"][0], "domain": "math"}
    prompting = {"instruction": "boxed", "instructions": {"general": None}}
    sources = [sums, {"kind": "files", "path": str(talk)}]
    recipe = load_training(write_policy(tmp_path, sources=sources, prompting=prompting))
    assert isinstance(recipe, Grpo)
    with closing(TrainDir(tmp_path / "run")) as run:
        questions = load_questions(recipe, run, training_tokenizer(recipe), QUIET)
    boxed = [BOXED in one.text for one in questions]
    assert boxed == [one.prompt.domain == "math" for one in questions]
    assert sum(boxed) == 12


def test_an_instruction_for_no_question_is_refused(tmp_path: Path) -> None:
    recipe = load_training(write_policy(tmp_path, prompting={"instructions": {"genral": None}}))
    with pytest.raises(RecipeError, match=r"prompting\.instructions\.genral"):
        train(recipe, tmp_path / "run", QUIET)


@pytest.mark.real(group="torch")
@pytest.mark.parametrize("iterations", [1, 2])
def test_general_questions_come_in_with_a_whole_rollout(iterations: int, tmp_path: Path) -> None:
    """Two batches a rollout; the last rollout is needed in part."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text("".join(f'{{"question": "Hello {n}!"}}\n' for n in range(40)))
    span = 2 * iterations
    recipe = write_policy(
        tmp_path,
        sources=[*RECIPE["sources"], {"kind": "files", "path": str(talk)}],
        rollouts={"kind": "none", "max_tokens": 8, "batches": 2},
        iterations=iterations,
        optimizer={"learning_rate": 1e-6},
        stop={"empty": None},
        steps=3 * span - 1,
        unverified_from=2 * span + 1,
        log_samples_every=1,
        log_samples=99,
    )
    train(load_training(recipe), tmp_path / "run", QUIET)
    assert len(log_of(tmp_path / "run")) == 3 * span - 1
    asked: dict[int, set[str]] = {}
    for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines():
        row = json.loads(line)
        asked.setdefault(row["step"], set()).add(row["question"])
    assert sorted(asked) == [1, span + 1, 2 * span + 1]  # once a rollout, at its first step
    assert all(len(questions) == 4 for questions in asked.values())
    talks = [any("Hello" in one for one in asked[step]) for step in sorted(asked)]
    assert talks == [False, False, True]
    assert asked[1].isdisjoint(asked[span + 1])


WORDS = "abcdefghijkl"


def write_words(folder: Path) -> dict[str, Any]:
    """Write three questions of twelve words, and return them as a source."""
    file = folder / "words.jsonl"
    rows = [
        {"question": " ".join(letter + n for n in WORDS), "answer": "7", "domain": "math"}
        for letter in "abc"
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "files", "path": str(file), "verifier": {"kind": "math"}}


def questions_of(recipe: Path, run: Path) -> tuple[list[str], str]:
    """Return the questions that a recipe trains on, by their first word, and what is printed."""
    loaded, console = load_training(recipe), Console(file=io.StringIO(), width=200)
    assert isinstance(loaded, Grpo)
    with closing(TrainDir(run)) as directory:
        found = load_questions(loaded, directory, training_tokenizer(loaded), console)
    assert isinstance(console.file, io.StringIO)
    return [one.prompt.question.split()[0] for one in found], console.file.getvalue()


def test_questions_of_evaluations_are_left_out(tmp_path: Path) -> None:
    source = write_words(tmp_path)
    sets = tmp_path / "set"
    sets.mkdir()
    shared = " ".join(["so", *("b" + n for n in WORDS[:10]), "end"])  # ten words of the second
    near = " ".join(["so", *("c" + n for n in WORDS[:9]), "end"])  # nine of the third
    lines = [json.dumps({"asked": text}) + "\n" for text in (shared, near)]
    (sets / "test5.jsonl").write_text("".join(lines))
    against = [{"hub": str(sets), "files": "test*.jsonl", "column": "asked"}]
    recipe = write_policy(
        tmp_path, sources=[source], contamination={"ngram": 10, "against": against}
    )
    found, printed = questions_of(recipe, tmp_path / "one")
    assert found == ["aa", "ca"]
    assert "0 questions excluded, 1 overlap" in printed


def test_questions_of_another_recipe_are_left_out(tmp_path: Path) -> None:
    source = write_words(tmp_path)
    other = tmp_path / "held_out.jsonl"
    row = {"question": " ".join("A" + n for n in WORDS) + " "}  # case and space don't count
    other.write_text(json.dumps(row) + "\n")
    evaluation = tmp_path / "eval.yaml"
    evaluation.write_text(f"kind: eval\nsources: [{{kind: files, path: {other}}}]\n")
    recipe = write_policy(tmp_path, sources=[source], exclude=[str(evaluation)])
    found, printed = questions_of(recipe, tmp_path / "one")
    assert found == ["ba", "ca"]
    assert "1 questions excluded, 0 overlap" in printed
    plain = load_training(write_policy(tmp_path, sources=[source]))
    assert "exclude" not in plain.identity()
    changed = load_training(write_policy(tmp_path, sources=[source], exclude=[str(evaluation)]))
    assert changed.identity() != plain.identity()
