"""Recipes: refused values and messages, extends and overrides, effects of changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.core.errors import RecipeError
from factory.core.resources import data_path
from factory.recipe.build import load_recipe
from factory.recipe.document import load_document, override

GOOD = """\
name: good
model: demo
sources:
  - kind: gym
    task: chain_sum
    size: 5
filters:
  format: {}
  length:
    max_tokens: 100
"""


def write(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path, *assignments: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, assignments)
    return [str(problem) for problem in caught.value.problems]


REFUSED = [
    (
        "max_tokens: 100",
        "max_tokns: 100",
        "r.yaml:10: filters.length.max_tokns is not a key here (did you mean max_tokens?)",
    ),
    ("max_tokens: 100", "max_tokens: -1", "r.yaml:10: filters.length.max_tokens"),
    ("kind: gym", "kind: gmy", "r.yaml:4: sources.0.kind is 'gmy'; it must be one of"),
    ("kind: gym", "kind: gmy", "(did you mean gym?)"),
    ("size: 5", "size: five", "r.yaml:6: sources.0.size is 'five'"),
    ("size: 5", "size: 0", "r.yaml:6: sources.0.size is 0; it must be at least 1"),
    ("  format: {}", "  fromat: {}", "r.yaml:8: filters.fromat is no filter"),
    ("name: good", "name: ../evil", "r.yaml:1: name is '../evil'"),
    ("name: good\n", "", "name is missing; add it"),
    ("name: good", "name: good\nname: again", "r.yaml:2: name is given twice"),
    (
        "model: demo",
        "model: demo\nsampling: {policy: until}",
        "sampling does not fit: policy: until needs `accept`",
    ),
    (
        "model: demo",
        "model: demo\nsampling: {temperature: 0, n: 2}",
        "temperature 0 gives the same sample",
    ),
    ("model: demo", "model: demo\nengine: {kind: replay}", "go together"),
    (
        "model: demo",
        "model: demo\nengine: {kind: server, class: recipes/plugin_example/x.py:Y}",
        "kind and class both name the engine; keep one",
    ),
    ("model: demo", "model: demo\njudging: {cpus: 4}", "cpus: these keys need on: ray"),
    ("model: demo", "model: demo\njudging: {on: slurm}", "r.yaml:3: judging.on is 'slurm'"),
    ("model: demo", "model: demo\noff: {}", "r.yaml:3: off is not a key here"),
    (
        "model: demo",
        "model: demo\nsampling: {policy: until, n: 8, accept: 1, give_up_after: 4, escalate: "
        "[{temperature: 1}, {model: larger}]}",
        "r.yaml:3: sampling.escalate.1.model is 'larger', but an embedded engine has one model",
    ),
    (
        "model: demo",
        "model: demo\nselect: {pick: best}",
        "r.yaml:3: select.pick is 'best'; name the metric to sort by",
    ),
    (
        "model: demo",
        "model: demo\nprompting: {template: rewrite}",
        "sources.0.kind is 'gym'; `template: rewrite` needs drafts",
    ),
    ("model: demo", "model: ${NOT_SET_ANYWHERE}", "uses ${NOT_SET_ANYWHERE}, which is not set"),
    ("model: demo", "model: [", "is not YAML"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), REFUSED)
def test_refused_with_place_value_and_remedy(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    found = complaints(write(tmp_path, GOOD.replace(old, new, 1)))
    assert any(complaint in line for line in found), found


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("size: 5", "size: 0").replace("100", "-1") + "nonsense: 1\n"
    assert len(complaints(write(tmp_path, text))) == 3


def test_extends_merges_and_keeps_places(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "base.yaml")
    recipe = load_recipe(
        write(tmp_path, "extends: base.yaml\nname: child\nfilters:\n  length: {max_tokens: 7}\n")
    )
    assert recipe.name == "child"
    assert list(recipe.filters) == ["format", "length"]
    assert recipe.filters["length"].model_dump()["max_tokens"] == 7
    found = complaints(write(tmp_path, "extends: base.yaml\nsampling: {n: 0}\n", "bad.yaml"))
    assert found == [f"{tmp_path / 'bad.yaml'}:2: sampling.n is 0; it must be at least 1"]


def test_extending_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    found = complaints(write(tmp_path, "extends: a.yaml\n", "b.yaml"))
    assert "extends itself" in found[0]


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    source = "  - kind: files\n    path: prompts.jsonl\n"
    base = GOOD.split("sources:")[0] + "sources:\n" + source + "filters: {format: {}}\n"
    write(tmp_path, base, "deep/base.yaml")
    recipe = load_recipe(write(tmp_path, "extends: deep/base.yaml\n"))
    assert recipe.sources[0].model_dump()["path"] == str(tmp_path / "deep" / "prompts.jsonl")


def test_an_evaluation_set_is_a_path_where_it_ends_like_one(tmp_path: Path) -> None:
    text = GOOD.replace("filters:\n", "filters:\n  contamination: {against: [own.jsonl, a/b]}\n", 1)
    loaded = load_recipe(write(tmp_path, text, "deep/recipe.yaml")).filters["contamination"]
    own, published = loaded.model_dump()["against"]
    assert (own["path"], published["hub"]) == (tmp_path / "deep" / "own.jsonl", "a/b")


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_MODEL", "some/model")
    text = GOOD.replace("demo", "${MY_MODEL}")
    assert load_recipe(write(tmp_path, text)).model.id == "some/model"
    text = GOOD.replace("demo", "${MY_OTHER_MODEL:-fallback}")
    assert load_recipe(write(tmp_path, text)).model.id == "fallback"


SETTINGS = [
    ("sampling.n=9", lambda r: r.sampling.n == 9),
    ("sources.0.size=3", lambda r: r.sources[0].model_dump()["size"] == 3),
    ("sampling.stop=[a, b]", lambda r: r.sampling.stop == ("a", "b")),
    ("model=x/y", lambda r: r.model.id == "x/y"),
]


@pytest.mark.parametrize(("assignment", "holds"), SETTINGS)
def test_set_overrides(tmp_path: Path, assignment: str, holds) -> None:  # type: ignore[no-untyped-def]
    assert holds(load_recipe(write(tmp_path, GOOD), [assignment]))


BAD_SETTINGS = [
    ("sampling.n", "has no value"),
    ("sampling.n=0", "--set sampling.n: sampling.n is 0; it must be at least 1"),
    ("sources.7.size=3", "names sources.7, which does not exist"),
    ("sampling.n=[", "YAML cannot read"),
]


@pytest.mark.parametrize(("assignment", "complaint"), BAD_SETTINGS)
def test_bad_overrides_name_the_flag(tmp_path: Path, assignment: str, complaint: str) -> None:
    found = complaints(write(tmp_path, GOOD), assignment)
    assert any(complaint in line for line in found), found


CHANGES = [  # assignment, changes a sample, changes the corpus
    ("sampling.temperature=0.9", True, True),
    ("prompting.prefill=x", True, True),
    ("model=other/model", True, True),
    ("engine.args.dtype=float32", True, True),
    ("sampling.n=9", False, True),
    ("filters.length.max_tokens=50", False, True),
    ("corpus.seed=3", False, True),
    ("engine.args.max_num_seqs=8", False, False),
    ("engine.max_in_flight=8", False, False),
    ("judging.on=ray", False, False),
    ("sampling.prices.per_gpu_hour=2.5", False, False),
]


@pytest.mark.parametrize(("assignment", "sample", "corpus"), CHANGES)
def test_what_a_change_costs(tmp_path: Path, assignment: str, sample: bool, corpus: bool) -> None:
    path = write(tmp_path, GOOD)
    before, after = load_recipe(path), load_recipe(path, [assignment])
    assert (before.params_fp() != after.params_fp()) == sample
    assert (before.fingerprint() != after.fingerprint()) == corpus


def test_a_threshold_changes_no_metric(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    before, after = load_recipe(path), load_recipe(path, ["filters.length.max_tokens=50"])
    assert before.filters["length"].cache_key() == after.filters["length"].cache_key()


def test_a_resolved_recipe_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    again = load_recipe(write(tmp_path, recipe.to_yaml(), "elsewhere/again.yaml"))
    assert again.fingerprint() == recipe.fingerprint()


def test_the_key_on_is_a_word(tmp_path: Path) -> None:
    """YAML 1.1 reads it as true."""
    recipe = load_recipe(write(tmp_path, GOOD + "judging: {on: ray}\n"))
    again = load_recipe(write(tmp_path, recipe.to_yaml(), "again.yaml"))
    assert recipe.judging.on == again.judging.on == "ray"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("2.5E+3", 2500.0), ("-1e2", -100.0), ("1e", "1e"), ("e5", "e5")],
)
def test_a_number_may_have_an_exponent(tmp_path: Path, text: str, value: object) -> None:
    """YAML 1.1 reads 1e-5 as a word."""
    file = tmp_path / "r.yaml"
    file.write_text(f"key: {text}\n")
    document = load_document(file)
    override(document, f"set={text}")
    assert document.data == {"key": value, "set": value}


def test_a_shipped_prompt_file_is_named_without_its_place(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    source = (
        "sources: [{{kind: files, path: {}, language: en}}]\n"
        "name: a\nmodel: demo\nfilters: {{length: {{}}}}\n"
    )
    path.write_text(source.format("factory:prompts/arithmetic.jsonl"))
    assert load_recipe(path).sources[0].path == str(data_path("prompts/arithmetic.jsonl").resolve())
    for wrong in ("factory:prompts/none.jsonl", "factory:../pyproject.toml"):
        path.write_text(source.format(wrong))
        with pytest.raises(RecipeError, match="no such file comes with the factory"):
            load_recipe(path)


def test_paths_of_set_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also deep in a value; what is no path, or names a Hub id or an output, stays as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away").mkdir()
    recipe = tmp_path / "away" / "own.yaml"
    recipe.write_text("name: own\nsources: [{path: a.jsonl}]\n", encoding="utf-8")
    sets = ["engine={kind: replay, replay: runs/a}", "model=org/name", 'x.data="@step"']
    found = load_document(recipe, [*sets, "sources.0.path=b.jsonl"]).data
    assert found["engine"] == {"kind": "replay", "replay": str(tmp_path / "runs" / "a")}
    assert (found["model"], found["x"]["data"]) == ("org/name", "@step")
    assert found["sources"] == [{"path": str(tmp_path / "b.jsonl")}]
