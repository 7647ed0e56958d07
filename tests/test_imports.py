"""Arrows of import point down; `--help` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = [  # from the ground up: an import never runs up
    "core",
    "prompts",
    "recipe",
    "sampling judging",
    "corpus report",
    "build view export pipelines",
    "train evaluation",
    "cli",
]


def imports(path: Path) -> set[str]:
    """Modules a file imports when it is imported (not those for type checking alone)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "filters").rglob("*.py")), ids=lambda path: module(path)
)
def test_filters_know_only_the_core_of_the_factory(path: Path) -> None:
    known = {name for name in imports(path) if name.startswith("factory")}
    above = {name for name in known if not name.startswith("factory.core")}
    assert not above, f"{path} imports {sorted(above)}"


def level(name: str) -> int:
    """Where a module of the factory stands; a package's modules stand with it."""
    noun = name.split(".")[1]
    found = [number for number, names in enumerate(FLOORS) if noun in names.split()]
    assert found, f"{name} has no level; give it the lowest that its imports allow"
    return found[0]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "factory").rglob("*.py")), ids=lambda path: module(path)
)
def test_no_import_points_up(path: Path) -> None:
    name = module(path)
    if name != "factory":
        known = {other for other in imports(path) if other.startswith("factory.")}
        above = {other for other in known if level(other) > level(name)}
        assert not above, f"{name} imports {sorted(above)}"


@pytest.mark.parametrize("command", ["cli", "build --help"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\nfrom factory.cli import cli\n"
        f"cli({command.split()[1:]!r}, standalone_mode=False) if ' ' in {command!r} else None\n"
        "heavy = {'polars', 'pyarrow', 'pydantic', 'datasets', 'torch', 'vllm', 'numba', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_using_a_filter_imports_no_engine() -> None:
    code = (
        "import sys\nfrom filters import FILTERS, filter_class\n"
        "[filter_class(name) for name in FILTERS]\n"
        "print(sorted({'torch', 'vllm', 'transformers', 'ray', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
