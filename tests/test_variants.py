"""Wordings of a prompt: what a sample gets, what is recorded, and how the spread is reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.core.run_dir import RunDir, read_manifest, save_prompts
from factory.evaluation.estimators import Resampling
from factory.evaluation.evaluate import evaluate
from factory.evaluation.result import load_evaluation
from factory.evaluation.table import format_markdown, print_evaluation
from factory.evaluation.variants import describe_spread, summarize_variants
from factory.prompts.templates import Prompting
from factory.prompts.variants import pick_variant
from factory.recipe.build import load_recipe
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine, Model, ServerOptions
from factory.recipe.evaluation import load_eval
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Request
from factory.sampling.engines.exchange import Exchange
from factory.train.train import load_training
from tests.recorded import PROMPTS, prompts
from tests.recorded import sample as recorded_sample

VARIANTS = {"plain": {}, "boxed": {"instruction": "boxed"}, "kind": {"system": "Be kind."}}
ASKED = Prompt("t", "math", (Message(role="user", content="2+2?"),))

SHOTS = """
- {question: "1+1?", thinking: "Two.", response: "\\\\boxed{2}"}
"""


def prompting(**keys: Any) -> Prompting:
    return Prompting.model_validate(keys)


def test_a_variant_overrides_what_it_sets_and_nothing_else(tmp_path: Path) -> None:
    shots = tmp_path / "shots.yaml"
    shots.write_text(SHOTS)
    base = prompting(
        instruction="Be brief.",
        instructions={"math": "Show your work."},
        variants={**VARIANTS, "shots": {"exemplars": str(shots), "instruction": None}},
    )
    contents = {
        name: [turn["content"] for turn in base.with_variant(name).messages_for(ASKED)]
        for name in base.variants
    }
    assert contents["plain"] == ["2+2?\nShow your work."]
    assert contents["boxed"][0].startswith("2+2?\nPlease reason step by step")
    assert contents["kind"] == ["Be kind.", "2+2?\nShow your work."]
    assert contents["shots"] == ["1+1?", "\\boxed{2}", "2+2?"]


def test_few_shot_variants_render_their_own_examples(tmp_path: Path) -> None:
    shots = tmp_path / "shots.yaml"
    shots.write_text(SHOTS)
    base = prompting(template="few_shot", variants={"own": {}, "short": {"exemplars": str(shots)}})
    own, short = (base.with_variant(name).render(ASKED).prompt_text for name in base.variants)
    assert base.render(ASKED).prompt_text == own, "rendered before the variants are"
    assert "Question: 1+1?" in short
    assert "Question: 1+1?" not in own


def test_a_recipe_without_variants_keeps_its_fingerprints() -> None:
    assert "variants" not in prompting(instruction="boxed").identity()
    assert prompting().with_variant(None).identity() == prompting().identity()


def test_a_variant_without_changes_is_the_recipe_itself() -> None:
    base = prompting(instruction="boxed", variants=VARIANTS)
    assert base.with_variant("plain").identity() == prompting(instruction="boxed").identity()


@given(st.text(min_size=1), st.integers(0, 4096), st.integers(2, 6))
def test_the_draw_is_a_pure_function(prompt_id: str, index: int, count: int) -> None:
    names = [str(number) for number in range(count)]
    assert pick_variant(names, prompt_id, index) == pick_variant(names, prompt_id, index)


def test_the_draw_is_even() -> None:
    names = ["a", "b", "c"]
    drawn = Counter(pick_variant(names, f"{n:016x}", index) for n in range(500) for index in (0, 1))
    assert set(drawn) == set(names)
    assert max(drawn.values()) - min(drawn.values()) < 100


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"variants": {"one": {}}}, "two or more"),
    ({"variants": {"a": {}, "b": {"template": "few_shot"}}}, "template"),
    ({"template": "r1_zero", "variants": {"a": {}, "b": {"system": "x"}}}, "system"),
    ({"template": "r1_zero", "variants": {"a": {}, "b": {"exemplars": "x.yaml"}}}, "exemplars"),
    ({"variants": {"a": {}, "b": {"exemplars": None}}}, "null"),
]


@pytest.mark.parametrize(("keys", "what"), WRONG)
def test_what_no_variant_can_be(keys: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        prompting(**keys)


def test_a_training_refuses_variants(tmp_path: Path) -> None:
    file = tmp_path / "grpo.yaml"
    recipe = {
        "kind": "grpo",
        "name": "g",
        "model": "demo",
        "sources": [{"kind": "files", "path": str(PROMPTS)}],
        "rewards": {"format": {}},
        "prompting": {"variants": VARIANTS},
    }
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match="variants"):
        load_training(file)


RECIPE: dict[str, Any] = {
    "kind": "eval",
    "name": "worded",
    "model": "demo",
    "sources": [
        {"kind": "files", "name": "sums", "path": str(PROMPTS), "language": "en", "limit": 30}
    ],
    "prompting": {"variants": VARIANTS},
    "sampling": {"temperature": 0.7, "max_tokens": 256},
    "k": 6,
    "bootstrap": {"resamples": 400},
}


def record_worded(folder: Path, recipe: Path) -> None:
    """Record samples with the settings of their variants; `boxed` is always right."""
    spec = load_eval(recipe).recipe.engine_spec
    asked = prompts()
    save_prompts(folder, asked)
    with RunDir(folder) as run:
        for prompt in asked:
            for index in range(6):
                variant = spec.prompting.pick_variant(prompt.id, index)
                text = recorded_sample(prompt, 0 if variant == "boxed" else 1).text
                made = replace(recorded_sample(prompt, index), text=text)
                run.append(replace(made, params_fp=spec.params_fp(0, variant)))


def test_an_evaluation_reports_the_spread(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    keys = {**RECIPE, "engine": {"kind": "replay", "replay": str(recorded)}}
    file = tmp_path / "eval.yaml"
    file.write_text(yaml.safe_dump(keys))
    record_worded(recorded, file)
    found = evaluate(load_eval(file), tmp_path / "run", Console(quiet=True))
    assert found.variants is not None
    assert {name: one.mean.value for name, one in found.variants.variants.items()} == {
        "plain": 0.0,
        "boxed": 1.0,
        "kind": 0.0,
    }
    assert found.variants.spread == pytest.approx(1, abs=0.25), "paired on common prompts"
    assert found.variants.spread > found.variants.chance_high
    boxed = found.variants.variants["boxed"].difference
    assert boxed.low is not None
    assert boxed.low > 0.3
    assert load_evaluation(tmp_path / "run").variants == found.variants
    assert "Wordings of the prompt" in format_markdown(found)
    print_evaluation(found, Console(quiet=True))
    params = read_manifest(tmp_path / "run")["params"]
    assert {one["prompting.variant"] for one in params.values()} == set(VARIANTS)


def test_an_evaluation_without_variants_has_no_spread(tmp_path: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "prompting": {}}))
    spec = load_eval(file).recipe.engine_spec
    assert spec.params() == {spec.params_fp(): spec.identity()}
    assert "prompting.variant" not in spec.identity()


def test_a_server_gets_each_sample_its_own_wording() -> None:
    options = ServerOptions(urls=("http://127.0.0.1:9/v1",), api="chat")
    base = prompting(variants=VARIANTS)
    engine = Engine(kind="server", server=options)
    spec = EngineSpec(Model(id="demo"), engine, base, Sampling(n=8))
    exchange = Exchange(spec, options)
    seen = {}
    for index in range(40):
        request = Request(ASKED, index)
        variant = base.pick_variant(ASKED.id, index)
        assert variant is not None
        contents = tuple(turn["content"] for turn in exchange.render(request).messages)
        assert seen.setdefault(variant, contents) == contents
        assert exchange.settings(request)[1] == spec.params_fp(0, variant)
    assert len(set(seen.values())) == len(seen) == 3


def rows(seed: int, effect: float, count: int = 300, k: int = 4) -> pl.DataFrame:
    """Samples of prompts of different difficulty; variant `b` is right more often by `effect`."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        ease = draw.uniform(0, 1 - effect)
        for index in range(k):
            variant = pick_variant(["a", "b"], f"{number}", index)
            chance = ease + effect * (variant == "b")
            found.append((f"{number:04d}", variant, float(draw.random() < chance)))
    return pl.DataFrame(found, schema=["prompt_id", "variant", "right"], orient="row")


def test_no_effect_is_within_chance_and_a_real_one_is_not() -> None:
    """Twenty fresh seeds each: false alarms at about the stated 5%, a 15-point effect found."""
    draws = Resampling(200, 0, 0.95)
    alarms = found = covered = 0
    for seed in range(20):
        none = summarize_variants(rows(seed, 0.0), ["a", "b"], draws)
        some = summarize_variants(rows(1000 + seed, 0.15), ["a", "b"], draws)
        assert none is not None
        assert some is not None
        alarms += none.spread > none.chance_high
        found += some.spread > some.chance_high
        interval = some.variants["b"].difference
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.075 <= interval.high
    assert alarms <= 4
    assert found >= 18
    assert covered >= 16


def test_the_sentence_says_whether_it_is_more_than_chance() -> None:
    draws = Resampling(200, 0, 0.95)
    some = summarize_variants(rows(5, 0.4), ["a", "b"], draws)
    assert some is not None
    assert "more than chance" in describe_spread(some)
    assert "no more than chance" not in describe_spread(some)


def test_prompts_with_one_variant_say_nothing() -> None:
    table = pl.DataFrame({"prompt_id": ["1", "1"], "variant": ["a", "a"], "right": [1.0, 0.0]})
    assert summarize_variants(table, ["a", "b"], Resampling(100, 0, 0.95)) is None


@pytest.mark.usefixtures("trusted_code")
def test_an_engine_of_ones_own_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "engine.py"
    engine.write_text("class Mine:\n    pass\n")
    recipe = {
        "name": "b",
        "model": "demo",
        "sources": [{"kind": "files", "path": str(PROMPTS)}],
        "prompting": {"variants": VARIANTS},
        "engine": {"class": f"{engine}:Mine"},
        "filters": {},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match="variants"):
        load_recipe(file)
