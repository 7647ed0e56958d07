"""Arrows of import point down; `--help` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BELOW = ["factory.types", "factory.text", "factory.errors", "factory.paths", "factory.lookup"]
"""All that `filters` may know of `factory`."""

LEVELS = [  # from the ground up: a module may import its own level and those before it
    "errors lookup hardware text types paths yaml_places diversity review_options leash interrupts",
    "kinds models store shards cot prompting audit references select_options workers reviews",
    "loaders",
    "sampling ask forecast progress serve recipe assembly_recipe",
    "metrics judging live funnel overlay select corpus offences samples",
    "candidates asked quotas statistics choose assemble corpus_facts offers origin",
    "report show explain validate auditing card",
    "drive build",
    "refilter pilot compare rejudge recorder view push export label_studio",
    "train evaluation",
    "pipelines",
    "verify doctor cli docs",
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
def test_filters_know_only_the_nouns_of_the_factory(path: Path) -> None:
    known = {name for name in imports(path) if name.startswith("factory")}
    assert known <= set(BELOW), f"{path} imports {sorted(known - set(BELOW))}"


def level(name: str) -> int:
    """Where a module of the factory stands; a package's modules stand with it."""
    noun = name.split(".")[1]
    found = [number for number, names in enumerate(LEVELS) if noun in names.split()]
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
