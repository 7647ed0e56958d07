"""`--help` stays light, and so do the filters."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
