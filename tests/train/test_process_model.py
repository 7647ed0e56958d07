"""Process reward models: labelled steps, what is learnt, how it is measured, and the gate."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.core.errors import GateError, ModelError, RecipeError, SourceError
from factory.core.nouns import Message, Prompt
from factory.recipe.model_rewards import StepScores
from factory.recipe.reward_model import RewardModel
from factory.recipe.search import Search
from factory.sampling.search.values import check_value
from factory.train.reward_models.step_metrics import ScoredAnswer, auc, measure_steps
from factory.train.reward_models.step_rows import tokenize_steps
from factory.train.reward_models.stepwise import NO_LABEL, make_features, pad_features
from factory.train.scoring import Scoring
from factory.train.train import load_training, train
from filters.judges.process_model import ProcessModel, aggregate, encode_steps
from filters.reasoning_steps import cut_response
from filters.steps import Steps
from tests.export.tokenizers import CHATML, write_tokenizer
from tests.train.tiny import write_model


def write_recipe(folder: Path, rows: list[Any], **changes: Any) -> RewardModel:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe: dict[str, Any] = {
        "kind": "reward_model",
        "shape": "stepwise",
        "name": "tiny",
        "model": str(folder / "base"),
        "data": str(data),
        "epochs": 1,
        "batch": 16,
        "micro_batch": 16,
        "max_length": 200,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "validation": 0.3,
        "step_rule": "equations",
        "optimizer": {"learning_rate": 0.01},
        **changes,
    }
    file = folder / "process.yaml"
    file.write_text(yaml.safe_dump(recipe))
    made = load_training(file)
    assert isinstance(made, RewardModel)
    return made


def row(question: str, steps: Any, labels: list[Any], **more: Any) -> dict[str, Any]:
    return {"prompt_id": "p", "question": question, "steps": steps, "labels": labels, **more}


def answers(count: int, *, fair: bool = True) -> list[dict[str, Any]]:
    """Answers whose bad steps say `no`; not `fair`: the labels are drawn and mean nothing."""
    draw = random.Random(3)
    rows = []
    for n in range(count):
        good = [draw.random() < 0.6 for _ in range(4)]
        steps = [f"{draw.randrange(10)} {'yes' if one else 'no'};" for one in good]
        labels = good if fair else [draw.random() < 0.6 for _ in range(4)]
        rows.append(row(f"q {n}", steps, [float(one) for one in labels]))
    return rows


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path / "base", CHATML)
    return AutoTokenizer.from_pretrained(tmp_path / "base")


TEXTS = [
    ["<think>11;", "10;", "5;", "</think>5"],
    ["First, x is 3.\n\n", "Then y is 4.\n\n", "\n So 7."],
    ["  one;", " two ;\n", "three  "],
    ["eins ü;", "zwei €;", "drei"],
]


@pytest.mark.parametrize("steps", TEXTS)
def test_a_step_is_read_at_its_last_visible_character(steps: list[str], tokenizer: Any) -> None:
    ids, places = encode_steps("m", tokenizer, "why?", steps)
    read = 0
    for step, place in zip(steps, places, strict=True):
        text = tokenizer.decode(ids[: place + 1])
        assert text.endswith(step.strip()), "the token ends the step, and nothing behind it"
        assert place > read
        read = place


def test_a_prefix_is_read_like_the_whole_answer(tokenizer: Any) -> None:
    """Labels are of prefixes, scores of whole answers: the same tokens up to the same places."""
    ids, places = encode_steps("m", tokenizer, "why?", TEXTS[0])
    for n in range(1, 4):
        some, own = encode_steps("m", tokenizer, "why?", TEXTS[0][:n])
        assert own == places[:n]
        assert some[: own[-1] + 1] == ids[: own[-1] + 1]


def test_only_labelled_steps_have_a_loss(tokenizer: Any, tmp_path: Path) -> None:
    rows = [row("q", ["1;", "2;", "3;", "4"], [0.75, None, 0.0])]
    for labels, first in (("hard", 1.0), ("soft", 0.75)):
        recipe = write_recipe(tmp_path, rows, validation=0, min_auc=None, labels=labels)
        (one,) = tokenize_steps(recipe, tokenizer).train
        assert one.numbers == [0, 2]
        features = make_features(recipe, one)
        known = [label for label in features["labels"] if label != NO_LABEL]
        assert known == [first, 0.0]
        assert [features["labels"][place] for place in one.places] == known
        short: dict[str, list[Any]] = {"input_ids": [1], "labels": [1.0]}
        batch = pad_features([features, short], 0)
        assert batch["attention_mask"].sum(1).tolist() == [len(one.ids), 1]
        assert (batch["labels"] != NO_LABEL).sum(1).tolist() == [2, 1]


def test_good_is_what_lies_above_the_recipes_bound(tokenizer: Any, tmp_path: Path) -> None:
    rows = [row("q", ["1;", "2;", "3"], [0.5, 0.25, 0.0])]
    for bound, wanted in ((0.0, [1, 1, 0]), (0.25, [1, 0, 0]), (0.5, [0, 0, 0])):
        recipe = write_recipe(tmp_path, rows, validation=0, min_auc=None, good_above=bound)
        (one,) = tokenize_steps(recipe, tokenizer).train
        labels = make_features(recipe, one)["labels"]
        assert [labels[place] for place in one.places] == wanted


UNFIT: list[tuple[list[Any], str]] = [
    ([{"question": "a", "steps": ["1"]}], "rows.jsonl:1: .*labels"),
    ([row("a", ["1;", "2"], [1, 1, 1])], "for 2 steps"),
    ([row("a", ["1"], [1.5])], "a label is 1.5"),
    ([row("a", ["1"], [float("nan")])], "a label is nan"),
    ([row("a", ["1"], ["good"])], "rows.jsonl:1"),
    ([row("a", [" ", ""], [1, 1])], "steps have no text"),
    ([row("a", ["1;", " \n", "2"], [1, 1, 0])], r"labels\[1\] is 1.0, but steps\[1\] has no text"),
    ([row("a", ["1", 2], [1, 1])], "steps is"),
    ([row("a", "1;2", [1])], "steps is"),
    ([row("a", ["1" * 999], [1])], "1 rows are longer"),
    ([], "no row to train on"),
]


@pytest.mark.parametrize(("rows", "message"), UNFIT)
def test_unfit_rows_are_named(
    rows: list[Any], message: str, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        tokenize_steps(write_recipe(tmp_path, rows), tokenizer)


def test_steps_that_the_rule_never_cuts_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    """A model would learn of other steps than those it scores. One row that fits is a warning."""
    halves = [row(f"q {n}", ["1 yes; 2", " yes;"], [1.0, 0.0]) for n in range(9)]
    refused = write_recipe(tmp_path, halves, step_rule="lines")
    with pytest.raises(SourceError, match=r"not one answer has the number of steps.*`step_rule`"):
        tokenize_steps(refused, tokenizer)
    lines = row("q 10", ["1 yes;\n", "2 yes;\n"], [1.0, 0.0])
    found = tokenize_steps(write_recipe(tmp_path, [*halves, lines], step_rule="lines"), tokenizer)
    assert found.cut_otherwise == len(halves)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"shape": "pointwise"}, "only for shape: stepwise"),
    ({"shape": "pairwise", "step_rule": "auto"}, "step_rule"),
    ({"validation": 0}, "min_auc: null"),
    ({"reads": "response"}, "reads"),
    ({"min_auc": 0.5}, "min_auc"),
    ({"step_rule": "words"}, "step_rule"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_keys_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        write_recipe(tmp_path, answers(2), **changes)


def test_other_shapes_keep_their_fingerprint(tmp_path: Path) -> None:
    """A model trained before there was this shape counts as finished."""
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    file = tmp_path / "pairs.yaml"
    data = str(tmp_path / "pairs.jsonl")
    file.write_text(
        yaml.safe_dump({"kind": "reward_model", "name": "n", "model": "m", "data": data})
    )
    settings = load_training(file).identity()
    assert not {"labels", "good_above", "step_rule", "min_auc"} & settings.keys()
    assert settings["shape"] == "pairwise"


def brute_force(scores: list[float], good: list[bool]) -> float:
    pairs = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for one, is_good in zip(scores, good, strict=True)
        for other, other_good in zip(scores, good, strict=True)
        if is_good and not other_good
    ]
    return sum(pairs) / len(pairs) if pairs else float("nan")


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_auc_is_the_share_of_ordered_pairs(steps: list[tuple[int, bool]]) -> None:
    scores, good = [float(one) for one, _ in steps], [one for _, one in steps]
    found = auc(np.array(scores), np.array(good, dtype=bool))
    assert found == pytest.approx(brute_force(scores, good), nan_ok=True)


def scored(question: str, scores: list[float], good: list[int]) -> ScoredAnswer:
    return ScoredAnswer(question, scores, [bool(one) for one in good], list(range(len(good))))


def test_difficulty_flatters_the_pooled_auc_alone() -> None:
    """Scores that know the question but not the step: 0.5 within, more when pooled."""
    easy = scored("easy", [0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0])
    hard = scored("hard", [0.1, 0.1, 0.1, 0.1], [1, 0, 0, 0])
    found = measure_steps([easy, hard])
    assert found["auc_within"] == 0.5
    assert found["auc"] == 0.75
    assert found["auc_position"] == 1.0
    assert found["auc_questions"] == 2


def test_the_first_error_is_found_or_not() -> None:
    found = measure_steps(
        [
            scored("a", [0.9, 0.2, 0.1], [1, 0, 0]),  # found
            scored("b", [0.9, 0.2, 0.1], [1, 1, 0]),  # too early
            scored("c", [0.9, 0.9, 0.9], [1, 0, 0]),  # missed
            scored("d", [0.9, 0.9], [1, 1]),  # nothing to find
        ]
    )
    assert found["first_error"] == pytest.approx(1 / 3)
    assert found["all_good"] == 1.0
    assert found["first_error_f1"] == pytest.approx(0.5)
    assert "auc" not in measure_steps([]), "what is not known is left out"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process")
    write_model(folder / "base")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """A process reward model that has learnt that `no` is bad."""
    output = io.StringIO()
    train(write_recipe(folder, answers(400)), folder / "run", Console(file=output, width=400))
    said = output.getvalue()
    assert "held-out steps: AUC " in said
    assert re.search(
        r"1,\d+ steps of \d+ answers to train on .*, \d+ steps of \d+ answers held", said
    )
    return folder / "run"


@pytest.mark.real(group="torch")
def test_it_learns_and_scores_the_steps_of_an_answer(trained: Path) -> None:
    metrics = json.loads((trained / "train.json").read_text())["metrics"]
    assert metrics["eval_auc"] > 0.95
    assert metrics["eval_auc_within"] > 0.95
    assert metrics["eval_first_error"] > 0.8
    config = json.loads((trained / "model" / "config.json").read_text())
    assert config["step_rule"] == "equations"
    model = ProcessModel(model=str(trained))
    good, mixed, none, long = model.scores(
        [("q 7", "3 yes;4 yes;"), ("q 7", "3 yes;4 no;5 yes;"), ("q", " "), ("q", "1 yes;" * 99)]
    )
    assert good is not None
    assert mixed is not None
    assert min(good) > 0.5
    assert [score > 0.5 for score in mixed] == [True, False, True]
    assert none is None
    assert long is None, "longer than the model's context"
    (alone,) = ProcessModel(model=str(trained), batch=1).scores([("q 7", "3 yes;4 yes;")])
    assert alone == pytest.approx(good, abs=1e-4)
    (lines,) = ProcessModel(model=str(trained), rule="lines").scores([("q 7", "3 yes;4 yes;")])
    assert lines is not None
    assert len(lines) == 1


@pytest.mark.real(group="torch")
def test_the_filter_measures_and_drops_by_one_score(trained: Path, tmp_path: Path) -> None:
    texts = ["3 yes;4 yes;", "3 yes;4 no;5 yes;", "", "1 yes;" * 99]
    samples = pl.DataFrame(
        {"sample_id": [f"s{n}" for n in range(4)], "question": ["q 7"] * 4, "text": texts}
    )
    filter_ = Steps(process_model=ProcessModel(model=str(trained)), min_score=0.5)
    measured = filter_.measure(samples)
    assert measured["steps_count"].to_list() == [2, 3, None, None]
    for row in measured.filter(pl.col("steps_count").is_not_null()).iter_rows(named=True):
        assert 0 <= row["steps_product"] <= row["steps_min"] <= row["steps_mean"] <= 1
        assert row["steps_min"] <= row["steps_last"]
    decided = filter_.decide(measured)
    assert decided["decision"].to_list() == ["keep", "drop", "undecided", "undecided"]
    assert decided["reason"].to_list() == [None, "weak_step", "unscored", "unscored"]
    last = filter_.model_copy(update={"by": "last"})
    assert last.decide(measured)["decision"].to_list()[:2] == ["keep", "keep"]
    assert last.cache_key() == filter_.cache_key(), "another rule measures nothing again"
    assert filter_.measure(samples.head(0)).columns == measured.columns
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    key = Steps(process_model=ProcessModel(model=str(copy))).cache_key()
    (copy / "model.safetensors").write_bytes(b"trained again")
    again = Steps(process_model=ProcessModel(model=str(copy))).cache_key()
    assert again != key, "other weights in the same folder measure again"


@pytest.mark.real(group="torch")
def test_the_reward_is_clipped_step_by_step(trained: Path) -> None:
    prompt = Prompt("t", "general", (Message(role="user", content="q 7"),))

    def score(texts: list[str], **keys: Any) -> list[float]:
        part = StepScores(model=str(trained), **keys)
        n = len(texts)
        scoring = Scoring({"part": part}, [prompt])
        found = scoring.score([prompt.id] * n, texts, [9] * n, [False] * n).parts["part"]
        return [value for value in found if value is not None]

    good, bad, both = "3 yes;4 yes;", "3 no;4 no;", "3 yes;4 no;"
    free = score([good, bad, both, ""], clip=None)
    assert free[0] > 0.6 > free[1]
    assert free[3] == min(free), "nothing to score is never rewarded"
    assert score([good, bad], clip=0.6) == [0.6, pytest.approx(free[1], abs=1e-4)]
    assert score([good], clip=0.6, by="product") == [pytest.approx(0.36)]
    assert score([good], clip=0.6, by="mean") == [pytest.approx(0.6)]
    (mean,), (last,) = score([both], by="mean"), score([both], by="last")
    assert free[2] == pytest.approx(last, abs=1e-4)
    assert last < mean < 0.9


@pytest.mark.real(group="torch")
def test_a_model_that_guesses_is_not_written_until_the_gate_is_open(folder: Path) -> None:
    recipe = write_recipe(folder, answers(200, fair=False))
    run, output = folder / "guess", io.StringIO()
    with pytest.raises(GateError, match=r"AUC .* below min_auc: 0\.6 .*min_auc=null") as caught:
        train(recipe, run, Console(file=output, width=400))
    assert caught.value.exit_code == 13
    assert "held-out steps: AUC 0." in output.getvalue()
    assert not (run / "model").exists()
    assert json.loads((run / "train.json").read_text())["state"] == "running"
    first = next(run.glob("checkpoints/checkpoint-*"))
    opened = write_recipe(folder, answers(200, fair=False), min_auc=None)
    train(opened, run, Console(file=output, width=400))
    assert (run / "model" / "config.json").is_file()
    metrics = json.loads((run / "train.json").read_text())["metrics"]
    assert metrics["eval_auc"] < 0.7
    assert f"resuming from {first.parent}" in output.getvalue(), "it was not trained again"


@pytest.mark.real(group="torch")
def test_adapters_are_merged_and_the_head_is_kept(folder: Path) -> None:
    keys = {"lora": {"rank": 8}, "optimizer": {"learning_rate": 0.005}, "epochs": 8}
    recipe = write_recipe(folder, answers(300), **keys)
    train(recipe, folder / "lora", Console(file=io.StringIO()))
    (scores,) = ProcessModel(model=str(folder / "lora")).scores([("q 7", "3 yes;4 no;")])
    assert scores is not None
    assert scores[0] > 0.8 > 0.2 > scores[1]


@pytest.mark.real(group="torch")
@pytest.mark.parametrize("good", [0.0, 1.0])
def test_labels_of_one_kind_are_refused_before_training(folder: Path, good: float) -> None:
    rows = [row(f"q {n}", ["1;", "2"], [good, good]) for n in range(9)]
    with pytest.raises(SourceError, match=r"of the steps to train on all are (good|bad)"):
        train(write_recipe(folder, rows), folder / "one-sided", Console(file=io.StringIO()))


@pytest.mark.real(group="torch")
def test_models_of_the_other_kind_are_refused(trained: Path, folder: Path, tmp_path: Path) -> None:
    from filters.judges.reward_model import RewardModel as OutcomeModel

    with pytest.raises(ModelError, match=r"no classifier of sequences.*pointwise"):
        next(OutcomeModel(model=str(trained)).scores([("q", "a")]))
    with pytest.raises(ModelError, match=r"no classifier of tokens.*stepwise"):
        ProcessModel(model=str(folder / "base")).scores([("q", "a")])
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "step_rule": None}))
    with pytest.raises(ModelError, match=r"set process_model.rule"):
        ProcessModel(model=str(copy)).scores([("q", "a")])


@pytest.mark.real(group="torch")
def test_a_search_by_another_rule_than_the_models_is_refused(trained: Path, folder: Path) -> None:
    """The model of this file was trained by `equations`; no weights are loaded to say so."""

    def check(ends: str, model: Path, **keys: Any) -> None:
        value = {"process_model": {"model": str(model), **keys}}
        check_value(Search.model_validate({"rule": ends, "value": value}))

    check("equations", trained)
    with pytest.raises(ModelError, match=r"equations, .* by lines; set search.rule"):
        check("lines", trained)
    check("lines", trained, rule="equations")
    check("lines", trained, rule="lines")
    with pytest.raises(ModelError, match=r"no classifier of tokens.*stepwise"):
        check("equations", folder / "base")
    for kind in ("process_model", "reward_model"):
        value = {kind: {"model": str(folder / "nowhere")}}
        with pytest.raises(ModelError, match=r"nowhere: there is no config.json"):
            check_value(Search.model_validate({"value": value}))
    copy = shutil.copytree(trained / "model", folder / "numbered")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "step_rule": "numbered"}))
    with pytest.raises(ModelError, match=r"by lines; set process_model.rule"):
        check("lines", copy)
    (copy / "config.json").write_text(json.dumps({**config, "step_rule": "auto"}))
    check("lines", copy)


@pytest.mark.real(group="torch")
def test_scored_steps_are_those_of_the_cutter(trained: Path) -> None:
    """Reasoning is cut by the rule, and what follows it is one step: as labels are made."""
    text = "<think>3 yes;4 no;</think>So 4 yes;5 no;"
    (found,) = ProcessModel(model=str(trained)).scores([("q 7", text)])
    assert found is not None
    assert [score > 0.5 for score in found[:2]] == [True, False]
    assert len(found) == len(cut_response(text, "equations")) == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_scores_of_an_answer_are_between_those_of_its_steps(scores: list[float]) -> None:
    for how in ("min", "last", "mean"):
        assert min(scores) - 1e-12 <= aggregate(scores, how) <= max(scores) + 1e-12
    assert 0 <= aggregate(scores, "product") <= min(scores)
