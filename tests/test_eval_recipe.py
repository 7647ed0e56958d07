"""Eval recipes: what is refused with which message, and what a valid one resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.core.errors import RecipeError
from factory.core.resources import recipe_path
from factory.recipe.build import load_run_recipe
from factory.recipe.evaluation import load_eval

GOOD = """\
kind: eval
name: good
model: demo
sources:
  - {kind: gym, name: sums, task: chain_sum, size: 5, verifier: math}
  - {kind: gym, name: gcd, task: gcd, size: 5, verifier: math}
k: {sums: 4, gcd: 2}
sampling: {max_tokens: 64}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_valid_recipe(tmp_path: Path) -> None:
    found = load_eval(write(tmp_path, GOOD))
    assert found.columns == (
        *("pass@1", "pass@4", "pass@2", "cons@4", "cons@2"),
        *("tokens", "truncated", "format", "language"),
    )
    assert (found.k_of("sums"), found.k_of("gcd"), found.recipe.sampling.n) == (4, 2, 4)
    assert list(found.recipe.filters) == ["format", "language", "correctness"]


def test_the_sampling_recipe_is_an_ordinary_recipe(tmp_path: Path) -> None:
    found = load_eval(write(tmp_path, GOOD))
    (tmp_path / "recipe.yaml").write_text(found.recipe.to_yaml(), encoding="utf-8")
    assert load_run_recipe(tmp_path).fingerprint() == found.recipe.fingerprint()
    (tmp_path / "e.yaml").write_text(found.to_yaml(), encoding="utf-8")
    assert load_eval(tmp_path / "e.yaml").fingerprint() == found.fingerprint()


REFUSED = [
    ("kind: eval", "kind: evil", "e.yaml:1: kind is 'evil'; an evaluation needs kind: eval"),
    ("k: {sums: 4, gcd: 2}", "k: 0", "e.yaml:7: k is 0; it must be at least 1"),
    ("gcd: 2}", "gcd: 0}", "e.yaml:7: k.gcd is 0; it must be at least 1"),
    ("gcd: 2}", "gdc: 2}", "k names gdc, sums; it must name each source: gcd, sums"),
    ("k: {", "kk: {", "e.yaml:7: kk is not a key here (did you mean k?)"),
    ("max_tokens", "max_tokns", "e.yaml:8: sampling.max_tokns is not a key here"),
    ("max_tokens: 64", "n: 4", "e.yaml:8: sampling.n is not allowed in an evaluation"),
    ("max_tokens: 64", "early_stop: {}", "sampling.early_stop is not allowed in an evaluation"),
    ("max_tokens: 64", "temperature: 0", "temperature 0 gives the same sample every time"),
    ("model: demo", "model: demo\nmetrics: [pas@1]", "'pas@1' is not a metric"),
    ("model: demo", "model: demo\nmetrics: [pass@0]", "'pass@0' is not a metric"),
    ("model: demo", "model: demo\nmetrics: [cons@8]", "metrics has cons@8, but no prompt has more"),
    ("model: demo", "model: demo\nfilters: {format: {}}", "filters has no correctness"),
    (
        "model: demo",
        "model: demo\nmetrics: [format]\nfilters: {correctness: {}}",
        "metrics has format, which needs filters.format; add it",
    ),
    (
        "model: demo",
        "model: demo\nfilters: {correctness: {unverifiable: keep}}",
        "neither correct nor wrong",
    ),
    (
        "model: demo",
        "model: demo\nfilters: {correctness: {judge: engine, combine: judge}}",
        "the model would judge its own answers",
    ),
    ("model: demo", "model: demo\nbootstrap: {resamples: 5}", "resamples is 5; it must be at"),
    ("model: demo", "model: demo\nstep: -1", "step is -1; it must be at least 0"),
    ("model: demo", "model: demo\nselect: {per_prompt: 1}", "select is not a key here"),
    ("task: gcd", "tsk: gcd", "sources.1.tsk is not a key here (did you mean task?)"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), REFUSED)
def test_refused_with_place_value_and_remedy(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_eval(write(tmp_path, GOOD.replace(old, new, 1)))
    found = [str(problem) for problem in caught.value.problems]
    assert any(complaint in line for line in found), found


def test_problems_of_both_halves_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("task: gcd", "tsk: gcd").replace("gcd: 2}", "gcd: 0}")
    with pytest.raises(RecipeError) as caught:
        load_eval(write(tmp_path, text))
    keys = {problem.place.rpartition(": ")[2] for problem in caught.value.problems}
    assert keys == {"k.gcd", "sources.1.tsk", "sources.1.task"}


SETTINGS = [
    ("k=3", lambda e: (e.max_k, e.recipe.sampling.n) == (3, 3)),
    ("k.gcd=6", lambda e: e.recipe.sampling.n == 6),
    ("against=[runs/before]", lambda e: e.against[0].path == Path("runs/before").absolute()),
    ("exclude=[{path: runs/x}]", lambda e: e.exclude[0].path == Path("runs/x").absolute()),
    ("metrics=[pass@1]", lambda e: e.columns == ("pass@1",)),
    ("filters={correctness: {}}", lambda e: "format" not in e.columns),
]


@pytest.mark.parametrize(("assignment", "holds"), SETTINGS)
def test_set_overrides(tmp_path: Path, assignment: str, holds) -> None:  # type: ignore[no-untyped-def]
    assert holds(load_eval(write(tmp_path, GOOD), [assignment]))


CHANGES = [
    ("k.gcd=1", True),
    ("bootstrap.seed=1", True),
    ("against=[runs/before]", True),
    ("sampling.temperature=0.9", True),
    ("engine.args.max_num_seqs=8", False),
]


@pytest.mark.parametrize(("assignment", "differs"), CHANGES)
def test_the_fingerprint_changes_with_the_result(
    tmp_path: Path, assignment: str, differs: bool
) -> None:
    path = write(tmp_path, GOOD)
    same = load_eval(path).fingerprint() == load_eval(path, [assignment]).fingerprint()
    assert same != differs


@pytest.mark.parametrize("path", sorted(recipe_path("eval").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes(path: Path) -> None:
    found = load_eval(path)
    assert found.recipe.sampling.temperature == 0.6
