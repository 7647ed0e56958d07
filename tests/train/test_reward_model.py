"""Reward models: their training rows, what they learn, and their use as a reward."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from factory.build.build import build
from factory.core.content_hash import content_hash
from factory.core.errors import ModelError, SourceError
from factory.core.nouns import Message, Prompt
from factory.core.think import join_think
from factory.recipe.build import load_recipe as build_recipe
from factory.recipe.model_rewards import RewardModelScore
from factory.recipe.reward_model import RewardModel
from factory.train.reward_models.rows import read_rows, tokenize
from factory.train.scoring import Scoring
from factory.train.train import load_training, train
from tests.export.tokenizers import CHATML, write_tokenizer
from tests.replayed import write_recipe as write_replay
from tests.train.tiny import write_model

QUIET = Console(file=io.StringIO())
GOOD, BAD = "<think>\nwell\n</think>\n\nyes, gladly", "<think>\nwell\n</think>\n\nno"


def write_recipe(folder: Path, rows: list[Any], **changes: Any) -> RewardModel:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe: dict[str, Any] = {
        "kind": "reward_model",
        "name": "tiny",
        "model": str(folder / "base"),
        "data": str(data),
        "epochs": 1,
        "batch": 8,
        "micro_batch": 8,
        "max_length": 200,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "validation": 0.2,
        "optimizer": {"learning_rate": 0.01},
        **changes,
    }
    file = folder / "reward.yaml"
    file.write_text(yaml.safe_dump(recipe))
    made = load_training(file)
    assert isinstance(made, RewardModel)
    return made


def pairs(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {n}", "chosen": GOOD, "rejected": BAD, "margin": 2.0}
        for n in range(count)
    ]


def labelled(count: int) -> list[dict[str, Any]]:
    texts = ((GOOD, True), (BAD, False))
    return [
        {"prompt": [{"role": "user", "content": f"q {n}"}], "text": text, "label": label}
        for n in range(count)
        for text, label in texts
    ]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path / "base", CHATML)
    return AutoTokenizer.from_pretrained(tmp_path / "base")


def test_rows_are_rendered_as_rewards_are_asked(tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(write_recipe(tmp_path, pairs(1), validation=0, reads="response"), tokenizer)
    (row,) = rows.train
    text = tokenizer.decode(row["chosen_ids"])
    assert text.rstrip().endswith("assistant\nyes, gladly<|im_end|>"), "no reasoning is read"
    rows = tokenize(write_recipe(tmp_path, pairs(1), validation=0), tokenizer)
    assert "<think>" in tokenizer.decode(rows.train[0]["rejected_ids"])


def test_a_question_is_held_out_with_all_its_answers(tokenizer: Any, tmp_path: Path) -> None:
    rows = labelled(40)
    recipe = write_recipe(tmp_path, rows, shape="pointwise")
    found = tokenize(recipe, tokenizer)
    held = {tokenizer.decode(row["input_ids"]).split("assistant")[0] for row in found.validation}
    seen = {tokenizer.decode(row["input_ids"]).split("assistant")[0] for row in found.train}
    assert held
    assert not held & seen
    assert len(found.train) + len(found.validation) == len(rows)
    assert found == tokenize(recipe, tokenizer)


UNFIT: list[tuple[str, list[Any], str]] = [
    ("pairwise", [{"prompt": "a", "chosen": "b"}], "rows.jsonl:1: .*rejected"),
    ("pairwise", [*pairs(2), {"prompt": "a", "chosen": "b", "rejected": 3}], "rows.jsonl:3: "),
    ("pairwise", [], "no row to train on"),
    ("pairwise", [{"prompt": "a", "chosen": "b" * 999, "rejected": "c"}], "1 rows are longer"),
    ("pointwise", [{"prompt": "a", "text": "b", "label": "good"}], "label is 'good'"),
    ("pointwise", [{"prompt": "a", "text": "b", "label": 0.5}], "label is 0.5"),
    ("pointwise", [{"prompt": 3, "text": "b", "label": 1}], "prompt, text and label"),
]


@pytest.mark.parametrize(("shape", "rows", "message"), UNFIT)
def test_unfit_rows_are_named(
    shape: str, rows: list[Any], message: str, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        tokenize(write_recipe(tmp_path, rows, shape=shape), tokenizer)


def test_a_judged_run_is_labelled_answers(tokenizer: Any, tmp_path: Path) -> None:
    """Of a run the samples that `correctness` decided."""
    rows: list[dict[str, Any]] = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(6)]

    def text(prompt: Prompt, index: int) -> str:
        answer = prompt.verifier["answer"] if prompt.verifier and index else "77"
        return join_think("Let me see.", f"\\boxed{{{answer}}}")

    (tmp_path / "build").mkdir()
    path = write_replay(tmp_path / "build", rows, text, filters="{correctness: {}}", n=2)
    build(build_recipe(path), tmp_path / "judged", QUIET)
    recipe = write_recipe(tmp_path, [], shape="pointwise", data=str(tmp_path / "judged"))
    found = tokenize(recipe, tokenizer)
    every = found.train + found.validation
    assert sorted(row["labels"] for row in every) == [[0.0]] * 6 + [[1.0]] * 6
    for row in every:
        assert ("{77}" in tokenizer.decode(row["input_ids"])) == (row["labels"] == [0.0])
    before = content_hash(recipe.inputs()["data"])
    (tmp_path / "judged" / "events.log").write_text("looked at")
    assert content_hash(recipe.inputs()["data"]) == before, "only the verdicts count"
    for shape, message in (("pairwise", "no pairs"), ("stepwise", "kind prefixes")):
        other = write_recipe(tmp_path, [], shape=shape, data=str(tmp_path / "judged"))
        with pytest.raises(SourceError, match=message):
            list(read_rows(other))
    shutil.rmtree(tmp_path / "judged" / "verdicts")
    with pytest.raises(SourceError, match="no sample was judged"):
        tokenize(recipe, tokenizer)


def test_a_base_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "base", template=None)
    with pytest.raises(ModelError, match="no chat template"):
        train(write_recipe(tmp_path, pairs(3)), tmp_path / "run", QUIET)


SHAPES: list[tuple[str, list[Any], bool]] = [
    ("pairwise", pairs(160), False),
    ("pointwise", labelled(80), True),
]


@pytest.mark.real(group="torch")
@pytest.mark.parametrize(("shape", "rows", "sigmoid"), SHAPES)
def test_it_learns_what_is_preferred_and_rewards_it(
    shape: str, rows: list[Any], sigmoid: bool, tmp_path: Path
) -> None:
    write_model(tmp_path / "base")
    run = tmp_path / "run"
    train(write_recipe(tmp_path, rows, shape=shape), run, QUIET)
    metrics = json.loads((run / "train.json").read_text())["metrics"]
    assert metrics["eval_accuracy"] == 1.0
    prompt = Prompt("t", "general", (Message(role="user", content="another question"),))
    part = RewardModelScore(model=str(run), reads="text", sigmoid=sigmoid)
    scoring = Scoring({"part": part}, [prompt])
    texts = [GOOD, BAD, "<think>\nwell"]
    scores = scoring.score([prompt.id] * 3, texts, [9] * 3, [False] * 3).parts["part"]
    good, bad, _ = (score or 0.0 for score in scores)
    assert good > bad
    if sigmoid:
        assert 0 < bad < 0.5 < good < 1
    summary = part.model_copy(update={"reads": "response"})
    unanswered = Scoring({"part": summary}, [prompt]).score(
        [prompt.id] * 3, texts, [9] * 3, [False] * 3
    )
    scores = unanswered.parts["part"]
    assert scores[2] == min(score for score in scores if score is not None)
