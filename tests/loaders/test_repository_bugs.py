"""Bugs made in projects: found by their tests, the same for the same seed, judged when repaired."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.repositories import projects
from factory.prompts.repositories.bugs import RepositoryBugs
from factory.prompts.repositories.mutations import KINDS, Kind, apply_edits, find_edits
from factory.prompts.repositories.projects import find_projects
from filters.verify.repository.verifier import RepositoryVerifier
from filters.verify.sandbox import available

PROJECTS = Path(__file__).parents[1] / "data" / "projects"
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(PROJECTS.rglob("*.py"))]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def source(**keys: Any) -> RepositoryBugs:
    return RepositoryBugs(path=str(PROJECTS), **{"bugs": 3, **keys})


@pytest.fixture(scope="module")
def prompts(cache: Path) -> list[Prompt]:
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    rows = list(source().rows())
    assert all(isinstance(row, Prompt) for row in rows), rows
    return [row for row in rows if isinstance(row, Prompt)]


MUTATIONS: list[tuple[Kind, str, list[str]]] = [
    ("operator", "return a + b", ["return a - b"]),
    ("operator", "a += b", ["a -= b"]),
    ("operator", "return '%s' % b", []),
    ("comparison", "return a < b", ["return a <= b"]),
    ("comparison", "return 0 < a <= b", ["return 0 <= a <= b", "return 0 < a < b"]),
    ("comparison", "return a not in b", ["return a in b"]),
    ("condition", "return not a", ["return a"]),
    ("condition", "return a and b", ["return a or b"]),
    ("off_by_one", "return a[1:]", ["return a[2:]", "return a[0:]"]),
    ("off_by_one", "return True", []),
    ("swapped_arguments", "return max(a,  b)  # c", ["return max(b,  a)  # c"]),
    ("swapped_arguments", "return max(*a, b)", []),
    ("removed_check", "if a:\n        raise ValueError", ["pass"]),
    ("removed_check", "if a:\n        raise ValueError\n    else:\n        a = 1", []),
    ("wrong_variable", "return a", ["return b"]),
    ("returns_none", "return a", ["return None"]),
    ("returns_none", "return None", []),
]


@pytest.mark.parametrize(("kind", "line", "expected"), MUTATIONS)
def test_each_kind_of_bug(kind: Kind, line: str, expected: list[str]) -> None:
    text = f"def f(a, b):\n    {line}\n"
    edits = find_edits(text, [kind])
    assert sorted(apply_edits(text, [edit]) or "" for edit in edits) == sorted(
        f"def f(a, b):\n    {new}\n" for new in expected
    )


def test_defaults_change_too() -> None:
    text = "def f(a=None, b=True, *, c=3, d='x'):\n    pass\n"
    found = [apply_edits(text, [edit]) for edit in find_edits(text, ["wrong_default"])]
    assert found == [
        text.replace(*change)
        for change in (("None", "0"), ("True", "False"), ("3", "4"), ("'x'", "''"))
    ]


@given(st.data())
@settings(max_examples=60)
def test_edits_change_one_place_and_stay_python(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SOURCES))
    edits = find_edits(text)
    if not edits:
        return
    edit = data.draw(st.sampled_from(edits))
    changed = apply_edits(text, [edit])
    if changed is None:
        return
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    raw, new = text.encode(), changed.encode()
    assert new[: edit.start] == raw[: edit.start]
    assert new[edit.start + len(edit.new.encode()) :] == raw[edit.end :]


def test_prompts_of_bugs(prompts: list[Prompt]) -> None:
    assert len(prompts) == 6
    assert {prompt.license for prompt in prompts} == {"BSD-3-Clause", "MIT"}
    for prompt in prompts:
        spec = prompt.verifier
        assert spec is not None
        assert prompt.domain == "code"
        (path, text), *_ = spec["changes"].items()
        assert text in prompt.question or text.rstrip() in prompt.question
        assert spec["fail_to_pass"]
        assert not set(spec["fail_to_pass"]) & set(spec["pass_to_pass"])
        assert path.startswith(tuple(f"{package}/" for package in spec["packages"]))
    known = {name for prompt in prompts for name in (prompt.verifier or {})["pass_to_pass"]}
    assert "tests/test_queue.py::test_order" in known
    for unfit in ("test_flaky", "test_skipped", "test_writes_next_to_itself"):
        assert f"tests/test_queue.py::{unfit}" not in known


def test_the_prompts_pass_their_own_check(prompts: list[Prompt]) -> None:
    verifier = RepositoryVerifier(workers=2)
    try:
        specs = [prompt.verifier or {} for prompt in prompts[::2]]
        assert verifier.check(specs) == [None] * len(specs)
    finally:
        verifier.close()


def test_the_same_seed_gives_the_same_prompts(
    prompts: list[Prompt], cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    again = [row.id for row in source().rows() if isinstance(row, Prompt)]  # from what was kept
    assert again == [prompt.id for prompt in prompts]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = [row.id for row in source().rows() if isinstance(row, Prompt)]
    assert fresh == again


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no Python project there"):
        find_projects(tmp_path)
    with pytest.raises(SourceError, match="is no folder"):
        find_projects(tmp_path / "nothing")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'empty'\n")
    with pytest.raises(SourceError, match="no package there"):
        find_projects(tmp_path)


def test_a_project_without_tests_that_pass_is_refused(tmp_path: Path) -> None:
    if available() is not None:
        pytest.skip("no sandbox")
    shutil.copytree(PROJECTS / "textkit" / "textkit", tmp_path / "p" / "textkit")
    (tmp_path / "p" / "setup.py").write_text("")
    with pytest.raises(SourceError, match="pytest finds no test in it"):
        list(RepositoryBugs(path=str(tmp_path / "p")).rows())


def test_sources_are_fetched_only_if_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build script is code: pip is not even started before it is trusted."""
    monkeypatch.delenv("FACTORY_TRUST_CODE", raising=False)
    monkeypatch.setattr(projects.subprocess, "run", lambda *a, **k: pytest.fail("pip was started"))
    with pytest.raises(SourceError, match="not trusted yet"):
        list(RepositoryBugs(sdists=("tinydb==4.8.2",)).rows())
    with pytest.raises(ValueError, match="not pinned"):
        RepositoryBugs(sdists=("tinydb",))
    with pytest.raises(ValueError, match="names no project"):
        RepositoryBugs()


def test_every_kind_is_made_somewhere() -> None:
    assert {edit.kind for text in SOURCES for edit in find_edits(text)} == set(KINDS)
