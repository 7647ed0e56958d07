"""The house: rooms a newcomer can hold in the head, and laws of import that no module may break."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("factory", "filters")

MODULES_PER_FOLDER = 20
LINES_PER_MODULE = 450
FLOORS = 9

LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"


def modules(root: Path = ROOT) -> list[Path]:
    return sorted(path for name in PACKAGES for path in (root / name).rglob("*.py"))


def folders() -> list[Path]:
    return sorted({path.parent for path in modules()})


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [LINT_IMPORTS, ROOT / "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_holds_few_modules(folder: Path) -> None:
    found = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(found) <= MODULES_PER_FOLDER, found


def test_no_module_is_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules()}
    assert {path: n for path, n in lengths.items() if n > LINES_PER_MODULE} == {}


def test_no_module_has_the_name_of_one_of_the_standard_library() -> None:
    """`import profile` next to a profile.py reads the wrong file as soon as a script runs there."""
    top = {path for path in modules() if path.parent.name in PACKAGES}
    assert not {path.stem for path in top if path.stem in sys.stdlib_module_names}
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [path for path in modules() if path.stem in vague - {"common"}]


def test_few_floors() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (floors,) = (c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert len(floors["layers"]) <= FLOORS
    standing = {room.strip() for floor in floors["layers"] for room in floor.split("|")}
    rooms = {f"factory.{path.name}" for path in (ROOT / "factory").iterdir() if path.is_dir()}
    rooms -= {"factory.__pycache__", "factory._data", "factory._recipes"}
    assert standing == rooms | {"filters"}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in modules()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_the_laws_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


BROKEN = [
    ("factory/core/errors.py", "def late() -> None:\n    import factory.cli\n", "runs up"),
    ("filters/base.py", "from factory.prompts import load\n", "runs up"),
    (
        "factory/sampling/loop.py",
        "if TYPE_CHECKING:\n    from factory.judging import audit\n",
        "runs up",
    ),
    ("factory/core/journal.py", "import factory.core.run_dir\n", "No circles"),
]


@pytest.mark.parametrize(("file", "line", "law"), BROKEN)
def test_an_import_that_breaks_a_law_fails_by_its_name(
    tmp_path: Path, file: str, line: str, law: str
) -> None:
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__", "templates", "static")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    with open(tmp_path / file, "a", encoding="utf-8") as stream:
        stream.write(f"\n\n{line}")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = [found for found in done.stdout.splitlines() if "BROKEN" in found]
    text = " ".join(done.stdout.split())
    assert broken
    assert law in text
