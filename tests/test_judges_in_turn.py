"""Models on one machine, one after another: the sampling model, then each judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import ModelError, RecipeError
from factory.core.nouns import Failure, Sample
from factory.recipe.build import Recipe, load_recipe
from factory.recipe.engines.options import ENGINES
from factory.sampling.engine import Request
from tests.recorded import prompts, recipe_file, record

CONSOLE = Console(file=StringIO())


class Judge:
    """An engine whose model likes everything; it notes when it starts and stops, and with what."""

    capacity = 4
    diary: list[str]

    def __init__(self, recipe: Recipe, run: Path, start: int) -> None:
        self.name = recipe.model.id.rpartition("/")[2]
        self.waiting: list[Request] = []
        self.asked = 0
        assert recipe.sampling.temperature == 0
        self.diary.append(f"{self.name} starts {json.dumps(recipe.engine.args)}")

    def submit(self, request: Request) -> None:
        self.asked += 1
        self.waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            grading = "score" in request.prompt.messages[0]["content"]
            opinion = {"score": 7} if grading else {"verdict": "correct"}
            text = f"Well.\n{json.dumps(opinion)}"
            yield Sample(
                prompt_id=request.prompt.id,
                index=0,
                text=text,
                prompt_text="",
                finish_reason="stop",
                n_tokens=9,
                n_prompt_tokens=9,
                model=self.name,
                params_fp="",
                created_at=0,
            )

    def close(self) -> None:
        self.diary.append(f"{self.name} stops after {self.asked}")


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Judge.diary = []
    monkeypatch.setitem(ENGINES, "vllm", f"{__name__}:Judge")
    return Judge.diary


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path


def recipe(folder: Path, **filters: str) -> Recipe:
    file = recipe_file(folder, record(folder / "recorded", 4), 4)
    return load_recipe(file, [f"filters.{name}={value}" for name, value in filters.items()])


def test_every_judge_ends_before_the_next_begins(models: Path, diary: list[str]) -> None:
    wanted = recipe(
        models,
        correctness=f"{{combine: rule_or_judge, canaries: 0, judge: {{start: {models}/large, "
        "args: {tensor_parallel_size: 8}}}",
        quality=f"{{judge: {{start: {models}/small}}}}",
    )
    funnel = build(wanted, models / "run", CONSOLE)
    asked = len(prompts())  # one of a prompt's four samples has a wrong answer in a box
    assert diary == [
        'large starts {"tensor_parallel_size": 8}',
        f"large stops after {asked}",
        "small starts {}",
        f"small stops after {3 * asked}",  # the fourth has no answer after its thoughts
    ]
    rows = pl.read_parquet(models / "run" / "corpus" / "*.parquet")
    assert funnel.kept.samples == rows.height == 2 * asked
    build(
        load_recipe(models / "run" / "recipe.yaml", ["select.per_prompt=1"]),
        models / "run",
        CONSOLE,
    )
    assert len(diary) == 4, "a judge was started for what it had judged already"


def test_one_model_that_judges_twice_is_started_once(models: Path, diary: list[str]) -> None:
    judge = f"{{start: {models}/large}}"
    build(
        recipe(
            models,
            correctness=f"{{combine: rule_and_judge, canaries: 0, judge: {judge}}}",
            quality=f"{{judge: {judge}}}",
        ),
        models / "run",
        CONSOLE,
    )
    assert diary == ["large starts {}", f"large stops after {4 * len(prompts())}"]


def test_a_judge_with_nothing_to_judge_is_not_started(models: Path, diary: list[str]) -> None:
    folder = models / "right"
    folder.mkdir()
    file = recipe_file(folder, record(folder / "recorded", 1), 1)  # right answers alone
    judge = f"{{combine: rule_or_judge, judge: {{start: {models}/large}}}}"
    build(load_recipe(file, [f"filters.correctness={judge}"]), folder / "run", CONSOLE)
    assert diary == []


def test_a_judge_that_is_not_there_is_told_before_anything_is_sampled(models: Path) -> None:
    wanted = recipe(models, quality=f"{{judge: {{start: {models}/huge}}}}")
    with pytest.raises(ModelError, match="there is no config"):
        build(wanted, models / "run", CONSOLE)
    assert not (models / "run").exists()


def test_a_judge_beside_the_recipe(models: Path) -> None:
    file = recipe_file(models, models / "recorded", 4)
    text = file.read_text().replace("correctness: {}", "quality: {judge: {start: ./large}}")
    file.write_text(text)
    judge = load_recipe(file).filters["quality"].model_dump()["judge"]
    assert judge == {"start": str(models / "large"), "args": {}, "replicas": 1}


MISTAKEN = [
    ("{strat: ./large}", ["judge.start is missing; add it", "judge.strat is not a key here"]),
    ("{start: ./large, arg: {}}", ["judge.arg is not a key here"]),
    ("{base_url: http://here, modle: m}", ["judge.model is missing", "judge.modle is not a key"]),
    ("oracle", ["judge is 'oracle'; it must be 'engine'"]),
]


@pytest.mark.parametrize(("judge", "complaints"), MISTAKEN)
def test_a_mistaken_judge(tmp_path: Path, judge: str, complaints: list[str]) -> None:
    file = recipe_file(tmp_path, tmp_path / "recorded", 4)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [f"filters.quality={{judge: {judge}}}"])
    found = str(caught.value).splitlines()
    assert len(found) == len(complaints)
    assert all(complaint in line for complaint, line in zip(complaints, found, strict=True))
