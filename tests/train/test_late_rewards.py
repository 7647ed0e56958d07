"""Rewards from verdicts that other processes give: the same as those that are given here."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from factory.core.errors import RunError, TrainError
from factory.core.files import read_lines
from factory.core.nouns import Message, Prompt
from factory.core.run_dir import save_prompts
from factory.judging.late import drain, judge_waiting
from factory.judging.late_rewards import LateRewards
from factory.judging.ledger import FOLDER, QUEUE
from factory.recipe.rewards import AccuracyReward
from factory.train.scoring import Scoring
from factory.train.train import load_training, train
from tests.train.policy import RECIPE, log_of, write_policy

QUIET = Console(file=io.StringIO())
LATE = {"think": "optional", "later": ["math"]}


def prompts() -> list[Prompt]:
    return [
        Prompt(
            "sums",
            "math",
            (Message(role="user", content=f"What is {k} + {k}?"),),
            verifier={"kind": "math", "answer": str(2 * k)},
        )
        for k in range(3)
    ]


def training(folder: Path, **accuracy: object) -> Path:
    """A training's directory, as `factory judge` sees it."""
    save_prompts(folder, prompts())
    recipe = {**RECIPE, "model": "demo", "rewards": {"accuracy": {**LATE, **accuracy}}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    (folder / "train.json").write_text(json.dumps({"state": "running", "format": 1}))
    return folder


def score(scoring: Scoring, *answers: tuple[int, str]) -> list[float | None]:
    ids = [prompts()[k].id for k, _ in answers]
    texts = [text for _, text in answers]
    n = len(answers)
    return scoring.score(ids, texts, [9] * n, [False] * n).parts["accuracy"]


def test_verdicts_are_waited_for_and_given_once(tmp_path: Path) -> None:
    run = training(tmp_path)
    late = LateRewards(run)
    reward = AccuracyReward.model_validate(LATE)
    scoring = Scoring({"accuracy": reward}, prompts(), await_verdicts=late)
    ended = threading.Event()

    def judge() -> None:
        while not ended.is_set():
            judge_waiting(run)
            time.sleep(0.05)

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        answers = [(0, "0"), (1, "2"), (1, "2"), (1, "3"), (2, " ")]
        assert score(scoring, *answers) == [1.0, 1.0, 1.0, 0.0, 0.0]
        assert score(scoring, *reversed(answers)) == [0.0, 0.0, 1.0, 1.0, 1.0]
    finally:
        ended.set()
        thread.join()
    rows = [row for file in (run / FOLDER).glob("*.jsonl") for row in read_lines(file)]
    assert len(rows) == 3  # an answer that is the same is judged once, a blank one by nobody
    again = Scoring({"accuracy": reward}, prompts(), await_verdicts=LateRewards(run))
    assert score(again, (1, "3"), (0, "0")) == [0.0, 1.0]  # a resumed training finds them
    late.close()
    assert not list((run / QUEUE).glob("*.jsonl"))


def test_what_does_not_come_in_time_earns_nothing(tmp_path: Path) -> None:
    run = training(tmp_path)
    late = LateRewards(run)
    reward = AccuracyReward.model_validate({**LATE, "wait_s": 0.5})
    scoring = Scoring({"accuracy": reward}, prompts(), await_verdicts=late)
    with pytest.raises(TrainError, match=r"factory judge .* --watch"):
        score(scoring, (0, "0"))
    assert judge_waiting(run) == 1
    assert score(scoring, (0, "0"), (1, "9")) == [1.0, None]
    unasked = Scoring({"accuracy": reward}, prompts())  # tried before a training
    assert score(unasked, (0, "0")) == [None]
    late.close()


def test_a_training_without_such_rewards_has_none_to_judge(tmp_path: Path) -> None:
    run = training(tmp_path, later=[])
    with pytest.raises(RunError, match=r"rewards\.accuracy\.later"):
        drain(run, 1, watch=False, say=lambda line: None)
    dumped = AccuracyReward().model_dump()
    assert not {"later", "wait_s"} & dumped.keys()  # trainings from before go on


@pytest.mark.real(group="torch")
def test_a_training_learns_the_same_from_another_process(tmp_path: Path) -> None:
    """Once judged here, once by `factory judge --watch`, while the policy is updated."""
    rollouts = {**RECIPE["rollouts"], "asynchronous": True}
    logs = {}
    for name, accuracy in (("here", {"think": "optional"}), ("late", LATE)):
        rewards = {**RECIPE["rewards"], "accuracy": accuracy}
        file = write_policy(tmp_path, rollouts=rollouts, rewards=rewards)
        run = tmp_path / name
        command = [sys.executable, "-m", "factory.cli", "judge", str(run), "--watch"]
        judge = None
        if name == "late":
            run.mkdir()
            wait = f"until [ -e {run}/train.json ]; do sleep 0.1; done; exec "
            judge = subprocess.Popen(["sh", "-c", wait + " ".join(command)])
        try:
            train(load_training(file), run, QUIET)
            assert judge is None or judge.wait(timeout=120) == 0  # it ends with the training
        finally:
            if judge is not None:
                judge.kill()
                judge.wait()
        logs[name] = [row for row in log_of(run) if "loss" in row]
    for here, late in zip(logs["here"], logs["late"], strict=True):
        assert not math.isnan(here["reward"])
        for key in ("loss", "reward", "rewards/accuracy/mean"):
            assert here[key] == late[key], key
    assert (tmp_path / "late" / FOLDER).is_dir()
