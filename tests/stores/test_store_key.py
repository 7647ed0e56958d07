"""The recipe's `store`, and commands that take a store's address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from factory import Run
from factory.build.build import build
from factory.cli import cli
from factory.core.errors import RecipeError
from factory.recipe.build import load_recipe
from factory.stores.options import parse_url
from tests.recorded import recipe_file, record
from tests.test_build import QUIET

GOOD = [
    ("s3://bucket/runs/one/", "s3://bucket/runs/one"),
    ("gs://bucket/one", "gs://bucket/one"),
    ("hf://datasets/me/mine/one", "hf://datasets/me/mine/one"),
    ("file:///mnt/runs/one", "file:///mnt/runs/one"),
    ("memory://one", "memory://one"),
    ("s3://bucket/with spaces/ä", "s3://bucket/with spaces/ä"),
]
BAD = [
    ("s3://key:secret@bucket/one", "has a user or a key; give credentials in the environment"),
    ("s3://bucket/one?X-Amz-Signature=1", "has a query"),
    ("s3://bucket/one#part", "has a query or a fragment"),
    ("s3://bucket", "is a whole bucket; add a prefix"),
    ("s3://bucket/", "is a whole bucket"),
    ("s3:///one", "names no bucket"),
    ("memory://", "names no bucket"),
    ("s3:bucket/one", "is no address of a store; begin with one of s3://"),
    ("/mnt/runs", "is no address of a store"),
    ("file://mnt/runs", "is no absolute path; write file:///folder/of/the/run"),
    ("https://bucket/one", "https:// cannot be written; use one of s3://"),
    ("s4://bucket/one", "s4:// cannot be written"),
    ("", "is no address of a store"),
]


@pytest.mark.parametrize(("url", "known"), GOOD)
def test_an_address(url: str, known: str) -> None:
    assert parse_url(url) == known


@pytest.mark.parametrize(("url", "problem"), BAD)
def test_no_address(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a store, whose own folder is gone, and its recipe."""
    folder = tmp_path_factory.mktemp("stored")
    recipe = recipe_file(folder, record(folder / "recorded", 1), 1, f"store: {url(folder)}\n")
    build(load_recipe(recipe), folder / "run", QUIET)
    (folder / "run").rename(folder / "elsewhere")
    return folder


def url(folder: Path) -> str:
    return f"file://{folder}/runs/mine"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_the_key_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, tmp_path, 1)
    plain, stored = load_recipe(path), load_recipe(path, ["store=memory://one"])
    assert plain.store is None
    assert stored.store is not None
    assert (stored.store.url, stored.store.seal_seconds, stored.store.lock) == (
        *("memory://one", 300, True),
    )
    assert stored.fingerprint() == plain.fingerprint()
    assert stored.params() == plain.params()
    with pytest.raises(RecipeError, match=r"store.url.* is a whole bucket"):
        load_recipe(path, ["store={url: s3://bucket}"])


def test_commands_read_a_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(folder / "cache"))
    local, stored = str(folder / "elsewhere"), url(folder)
    assert run("show", stored, "--json").output == run("show", local, "--json").output
    assert run("samples", stored, "--json").output == run("samples", local, "--json").output
    assert run("compare", local, stored, "--json").exit_code == 0
    estimate = [run("rejudge", one, "--estimate", "--json").output for one in (local, stored)]
    assert json.loads(estimate[0])["verdicts"] == json.loads(estimate[1])["verdicts"]
    refused = run("rejudge", stored)
    assert refused.exit_code == 2
    assert "with --diff or --estimate" in " ".join(refused.output.split())
    refused = run("build", "recipe.yaml", "--run", stored)
    assert refused.exit_code == 2
    assert "set `store: {url: …}` in the recipe" in " ".join(refused.output.split())
    frame = Run(stored).corpus()
    assert frame.equals(Run(local).corpus())
    refused = run("show", "s3://bucket")
    assert refused.exit_code == 2
    assert "is a whole bucket" in refused.output
    for command in ("report", "filter", "watch", "push"):  # they would write into the copy
        refused = run(command, stored)
        assert refused.exit_code == 2
        assert "needs a run directory, not an address of a store" in refused.output, command


def test_validate_tries_the_store(folder: Path) -> None:
    said = run("validate", str(folder / "recipe.yaml")).output
    assert f"store: {url(folder)} can be written and read, and is locked by a build" in said
    planned = run("build", str(folder / "recipe.yaml"), "--dry-run", "--run", str(folder / "new"))
    assert f"go on from what {url(folder)} has" in planned.output
