"""Pipelines: what is refused with which message, the order of steps, resolved references."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import RecipeError
from factory.core.resources import recipe_path
from factory.recipe.assembly import Assembly
from factory.recipe.build import Recipe
from factory.recipe.pipeline import load_pipeline
from factory.recipe.sft import Sft
from factory.recipe.step_graph import find_cycle, sort_steps
from tests.test_recipe import GOOD, write

PIPELINE = """\
kind: pipeline
name: small
steps:
  mix:
    recipe: mix.yaml
    title: One corpus
    set:
      runs: [{path: "@sums"}, {path: "@few/corpus"}]
  sums:
    recipe: sums.yaml
  few:
    recipe: sums.yaml
    set: {sampling: {n: 2}, sources.0.size: 3}
"""
MIX = "kind: assembly\nname: mix\nruns: [{path: elsewhere}]\n"
SFT = "kind: sft\nname: taught\nmodel: demo\ndata: elsewhere\n"


def pipeline(folder: Path, text: str = PIPELINE) -> Path:
    for name, content in (("sums.yaml", GOOD), ("mix.yaml", MIX), ("sft.yaml", SFT)):
        write(folder, content, name)
    return write(folder, text, "p.yaml")


def complaints(path: Path, *assignments: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_pipeline(path, assignments)
    return str(caught.value)


REFUSED = [
    ("title:", "titel:", "p.yaml:6: steps.mix.titel is not a key here (did you mean title?)"),
    ('"@sums"', '"@smus"', "p.yaml:8: steps.mix.set.runs.0.path is '@smus': there is no step"),
    ('"@sums"', '"@smus"', "did you mean sums?"),
    ('"@sums"', '"@sums/model"', "the step sums (build) produces a corpus, not a model"),
    ("recipe: sums.yaml\n  few", "recipe: sum.yaml\n  few", "p.yaml:10: steps.sums.recipe is"),
    ("n: 2", "n: 0", "p.yaml:13: steps.few.set.sampling.n is 0; it must be at least 1"),
    ("n: 2", "m: 2", "p.yaml:13: steps.few.set.sampling.m is not a key here"),
    (
        "0.size: 3",
        "7.size: 3",
        "p.yaml:13: steps.few.set.sources.7.size names sources.7, which does not exist",
    ),
    ('"@few/corpus"', '"@few", x: 1', "p.yaml:8: steps.mix.set.runs.1.x is not a key here"),
    ("  few:\n", "  few:\n    skip: true\n", "the step few is skipped (skip: true)"),
    (
        "  few:\n",
        "  few:\n    after: [mixx]\n",
        "steps.few.after.0 is 'mixx': there is no such step",
    ),
    (
        "  few:\n",
        "  few:\n    after: [mix]\n",
        "p.yaml:3: steps form a cycle: mix needs few needs",
    ),
    ("  sums:\n", "  sums:\n    set: {model: '@few'}\n", "(build) produces a corpus, not a model"),
    ("  few:\n", "  a b:\n", "steps.a b is not a valid name of a step"),
    ("  few:\n", "  few:\n    launch: torchrun\n", "p.yaml:12: steps.few.launch is for trainings"),
    ("name: small", "nmae: small", "p.yaml:2: nmae is not a key here"),
    (PIPELINE.partition("  mix")[2], "{}: {}\n", "steps"),
]


@pytest.mark.parametrize(("before", "after", "words"), REFUSED)
def test_refused_with_file_and_line(before: str, after: str, words: str, tmp_path: Path) -> None:
    assert before in PIPELINE
    assert words in complaints(pipeline(tmp_path, PIPELINE.replace(before, after, 1)))


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """Problems of the graph, of `set` and of the steps' recipes."""
    path = pipeline(tmp_path, PIPELINE.replace("@sums", "@smus").replace("n: 2", "n: 0"))
    write(tmp_path, MIX + "near_duplicates: 7\n", "mix.yaml")
    message = complaints(path)
    assert "p.yaml:8: steps.mix.set.runs.0.path is '@smus'" in message
    assert "p.yaml:13: steps.few.set.sampling.n is 0" in message
    assert "mix.yaml:4: near_duplicates is 7" in message


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            "kind: pipeline\nname: x\nsteps: {}\n",
            "kind is 'pipeline'; a step's recipe must be of kind",
        ),
        ("kind: sftt\n", "sums.yaml:1: kind is 'sftt'"),
        ("a: [", "sums.yaml:1"),
    ],
)
def test_a_step_is_a_recipe_of_a_known_kind(recipe: str, words: str, tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    write(tmp_path, recipe, "sums.yaml")
    assert words in complaints(path)


def test_references_are_resolved_to_paths(tmp_path: Path) -> None:
    few, mix = load_pipeline(pipeline(tmp_path)).plan(tmp_path / "run")[1:]
    assert isinstance(mix.recipe, Assembly)
    steps = tmp_path / "run" / "steps"
    assert [run.path for run in mix.recipe.runs] == [steps / "sums", steps / "few" / "corpus"]
    assert mix.inputs == {"sums": steps / "sums" / "corpus", "few": steps / "few" / "corpus"}
    assert isinstance(few.recipe, Recipe)
    assert (few.recipe.sampling.n, few.recipe.sources[0].model_dump()["size"]) == (2, 3)
    assert few.folder == steps / "few"


def test_set_reaches_a_steps_recipe(tmp_path: Path) -> None:
    path = pipeline(tmp_path)
    chosen = [
        "few.sampling.n=7",
        "name=larger",
        "mix.runs=[{path: '@few'}]",
        "steps.sums.skip=true",
    ]
    loaded = load_pipeline(path, chosen)
    few, mix = loaded.plan(tmp_path)
    assert loaded.name == "larger"
    assert isinstance(few.recipe, Recipe)
    assert few.recipe.sampling.n == 7
    assert list(mix.inputs) == ["few"]
    assert "--set few.sampling.n: steps.few.set.sampling.n is 0" in complaints(
        path, "few.sampling.n=0"
    )


def test_a_reference_needs_no_quotes_on_the_command_line(tmp_path: Path) -> None:
    text = PIPELINE + "  taught: {recipe: sft.yaml, set: {data: '@mix'}}\n"
    assert "the step taught (sft) produces a model, not a corpus" in complaints(
        pipeline(tmp_path, text + "  again: {recipe: sft.yaml}\n"), "again.data=@taught"
    )
    loaded = load_pipeline(tmp_path / "p.yaml", ["again.data=@sums", "again.model=@taught"])
    assert loaded.plan(tmp_path)[-1].inputs.keys() == {"sums", "taught"}


def test_paths_are_relative_to_the_pipelines_file(tmp_path: Path) -> None:
    """A path that is no reference is relative to the file that names it."""
    text = PIPELINE.replace('"@sums"', "../other").replace(
        "sources.0.size: 3", "engine.replay: r, engine.kind: replay"
    )
    few, mix = load_pipeline(pipeline(tmp_path / "here", text)).plan(tmp_path / "run")[:2]
    assert isinstance(mix.recipe, Assembly)
    assert mix.recipe.runs[0].path.resolve() == tmp_path / "other"
    assert isinstance(few.recipe, Recipe)
    assert few.recipe.engine.replay == tmp_path / "here" / "r"


@pytest.mark.parametrize("name", ["r1/pipeline.yaml", "r1/mini/pipeline.yaml", "r1/mini/data.yaml"])
def test_shipped_pipelines_are_consistent(name: str, tmp_path: Path) -> None:
    """All recipes of the shipped pipelines are valid, and all trained models are evaluated."""
    plan = load_pipeline(recipe_path(name)).plan(tmp_path)
    evaluated = {other for step in plan if step.kind == "eval" for other in step.inputs}
    trained = {step.name for step in plan if step.kind in ("sft", "grpo")}
    assert trained == evaluated


names = st.sampled_from("abcdefgh")
graphs = st.dictionaries(names, st.lists(names, max_size=4), max_size=8)


@given(graphs)
def test_order_and_circles(edges: dict[str, list[str]]) -> None:
    """Either there is a circle, or each comes after all it needs; and nothing is lost."""
    ordered = sort_steps(edges)
    assert sorted(ordered) == sorted(edges)
    round_trip = find_cycle(edges)
    place = {name: number for number, name in enumerate(ordered)}
    kept = all(place[n] < place[name] for name in edges for n in edges[name] if n in edges)
    assert kept == (not round_trip)
    for name, needed in pairwise(round_trip):
        assert needed in edges[name]
    if round_trip:
        assert round_trip[0] == round_trip[-1]


@given(st.lists(names, unique=True), st.data())
def test_a_valid_order_is_kept(ordered: list[str], data: st.DataObject) -> None:
    edges = {
        name: data.draw(st.lists(st.sampled_from(ordered[:number]), max_size=3)) if number else []
        for number, name in enumerate(ordered)
    }
    assert sort_steps(edges) == ordered


SEEDS = """\
kind: pipeline
name: seeds
seeds: [3, 11]
steps:
  world: {recipe: sums.yaml, once: true}
  own: {recipe: sums.yaml, set: {sampling: {seed: "{seed}"}}}
  base: {recipe: sft.yaml, set: {data: "@world", seed: "{seed}", name: "base-{seed}"}}
  next: {recipe: sft.yaml, set: {model: "@base", data: "@own/corpus"}, after: [world, own]}
"""


def test_steps_are_repeated_for_every_seed(tmp_path: Path) -> None:
    plan = {step.name: step for step in load_pipeline(pipeline(tmp_path, SEEDS)).plan(tmp_path)}
    assert list(plan) == [
        "world", "own-3", "base-3", "next-3", "own-11", "base-11", "next-11",
    ]  # fmt: skip
    third = plan["next-11"]
    assert set(third.inputs) == {"base-11", "own-11"}
    assert third.step.after == ("world", "own-11")
    base, own = plan["base-3"].recipe, plan["own-3"].recipe
    assert isinstance(base, Sft)
    assert isinstance(own, Recipe)
    assert (base.seed, base.name, own.sampling.seed) == (3, "base-3", 3)
    assert plan["base-3"].inputs == {"world": tmp_path / "steps" / "world" / "corpus"}


def test_seeds_may_be_added_and_set_by_hand(tmp_path: Path) -> None:
    few = load_pipeline(pipeline(tmp_path, SEEDS), ["seeds=[3]", "base.steps=5"])
    names = [step.name for step in few.plan(tmp_path)]
    assert names == ["world", "own-3", "base-3", "next-3"]
    base = few.plan(tmp_path)[2].recipe
    assert isinstance(base, Sft)
    assert base.steps == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sums.yaml, once: true", "sums.yaml, once: true, after: [base]", "uses base, which runs"),
        ("seeds: [3, 11]", "seeds: []", "steps.world.once is true: needs seeds"),
        ("seeds: [3, 11]", "seeds: [3, 3]", "p.yaml:3: seeds names a seed twice"),
        ("seeds: [3, 11]", "seeds: [-1]", "p.yaml:3: seeds.0 is -1"),
        ("  own: {recipe", "  base-3: {recipe: sums.yaml, once: true}\n  own: {recipe", "becomes"),
        ('"@own/corpus"', '"@owm/corpus"', "p.yaml:8: steps.next-3.set.data is '@owm/corpus'"),
    ],
)
def test_what_seeds_refuse(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SEEDS
    assert message in complaints(pipeline(tmp_path, SEEDS.replace(old, new)))


def test_a_model_that_no_step_writes_is_named(tmp_path: Path) -> None:
    text = PIPELINE + '  taught: {recipe: sft.yaml, set: {model: "./nowhere", data: "@sums"}}\n'
    said = complaints(pipeline(tmp_path, text))
    assert "p.yaml:14: steps.taught.set.model" in said
    assert "nowhere" in said
    assert "No step writes it" in said
    # Written by a step, it is not there yet either.
    written = text.replace("./nowhere", "@first") + "  first: {recipe: sft.yaml}\n"
    assert load_pipeline(pipeline(tmp_path, written))


def test_a_merge_key_is_named(tmp_path: Path) -> None:
    text = PIPELINE.replace("set: {sampling: {n: 2}", "set: {<<: {n: 3}, sampling: {n: 2}")
    said = complaints(pipeline(tmp_path, text))
    assert "p.yaml:13: steps.few.set.<< is a merge key" in said
    assert "use extends" in said
