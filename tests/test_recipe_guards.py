"""A stranger's recipe: what it may not read, how large it may grow, and what null removes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from factory.core.errors import RecipeError
from factory.recipe.build import load_recipe
from factory.recipe.document import load_document
from factory.train.train import load_training

BASE = """
name: base
model: demo
sources: [{kind: gym, task: chain_sum}]
filters:
  format: {}
  language: {}
  length: {max_tokens: 50}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.yaml"
    file.write_text(BASE)
    return file


def over(base: Path, text: str) -> Path:
    file = base.with_name("over.yaml")
    file.write_text(f"extends: base.yaml\n{text}")
    return file


# null


def test_null_removes_a_filter_of_an_extended_recipe(base: Path) -> None:
    recipe = load_recipe(over(base, "filters: {language: null}\n"))
    assert list(recipe.filters) == ["format", "length"]


def test_null_removes_a_filter_by_set(base: Path) -> None:
    assert list(load_recipe(base, ["filters.language=null"]).filters) == ["format", "length"]


def test_what_null_removed_can_be_set_again(base: Path) -> None:
    recipe = load_recipe(over(base, "filters: {language: null}\n"), ["filters.language={}"])
    assert list(recipe.filters) == ["format", "length", "language"]


def test_null_of_a_key_is_its_value(base: Path) -> None:
    assert load_recipe(over(base, "corpus: {shard_bytes: null}\n")).corpus.shard_bytes is None


def test_null_that_removes_nothing_is_named(base: Path) -> None:
    with pytest.raises(RecipeError, match=r"over.yaml:2: filters.safety is empty; write \{\}"):
        load_recipe(over(base, "filters: {safety: null}\n"))


REWARDS = """
kind: grpo
name: rl
model: demo
sources: [{kind: gym, task: chain_sum}]
steps: 1
batch: 16
rewards: {accuracy: {}, format: {}, language: {}}
"""


def test_null_removes_a_reward(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(REWARDS)
    recipe = load_training(over(tmp_path / "base.yaml", "rewards: {language: null}\n"))
    assert list(recipe.rewards) == ["accuracy", "format"]
    changed = load_training(tmp_path / "base.yaml", ["rewards.format=null"])
    assert list(changed.rewards) == ["accuracy", "language"]


# The environment


def test_a_variable_in_a_path_is_read(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_MODELS", "org/model")
    assert load_recipe(over(base, "model: ${MY_MODELS}\n")).model.id == "org/model"
    assert load_recipe(over(base, "model: ${UNSET_HERE:-demo}\n")).model.id == "demo"


SECRETS = ["HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "KEY", "MY_KEY"]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("key", ["model: ", "name: a-"])
def test_a_secret_is_never_read(
    base: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    monkeypatch.setenv(name, "hf_sentinel")
    with pytest.raises(RecipeError, match=r"over.yaml:2: .*looks like a secret") as caught:
        load_recipe(over(base, f"{key}${{{name}}}\n"))
    assert "hf_sentinel" not in str(caught.value)


@pytest.mark.parametrize("name", ["MONKEY", "KEYBOARD", "TURKEY_RUNS"])
def test_other_names_are_no_secrets(base: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "org/model")
    assert load_recipe(over(base, f"model: ${{{name}}}\n")).model.id == "org/model"


def test_a_variable_elsewhere_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_NAME", "somebody")
    text = "sources: [{kind: gym, task: chain_sum, name: '${USER_NAME}'}]\n"
    with pytest.raises(RecipeError, match=r"only in paths, models and addresses.*\$\$\{USER_NAME"):
        load_recipe(over(base, text))
    kept = load_recipe(over(base, "prompting: {system: 'Write $${USER_NAME}.'}\n"))
    assert kept.prompting.system == "Write ${USER_NAME}."


# Size


def bomb(levels: int) -> str:
    lines = ["x-0: &a0 [z, z, z, z, z, z, z, z, z, z]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


HOSTILE = [
    (bomb(12), "expands to more than 200,000 values"),
    ("x-a: &a [1, *a]\n", "is an alias of what contains it"),
    ("x-a: &a {b: {c: *a}}\n", "is an alias of what contains it"),
    ("x-a: " + "[" * 20_000 + "]" * 20_000, "is nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_a_bomb_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    before = time.process_time()
    with pytest.raises(RecipeError, match=message) as caught:
        load_document(file)
    assert time.process_time() - before < 30, "it was expanded"
    assert len(caught.value.problems) == 1


def test_a_large_file_is_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"# \n" * (3 << 20))
    with pytest.raises(RecipeError, match="larger than 8 MiB"):
        load_document(file)


def test_anchors_have_a_home(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("x-limits: &limits {max_tokens: 7}\n" + BASE + "  repetition: {}\n")
    file.write_text(file.read_text().replace("{max_tokens: 50}", "*limits"))
    assert load_recipe(file).filters["length"].max_tokens == 7  # type: ignore[attr-defined]
