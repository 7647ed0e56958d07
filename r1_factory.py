"""The command `factory`, and what to do where another package of that name hides this one.

This module is outside the package `factory` because it must start when that name belongs to
another package, such as factory_boy's.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "r1-factory"
REMEDY = (
    "Remedy: give R1 Factory an environment of its own: python -m venv factory-env && "
    f"factory-env/bin/pip install {DISTRIBUTION}"
)


def find_others() -> list[tuple[str, Path]]:
    """Return name and version of every other installed package that brings a package `factory`,
    with the place of its `factory/__init__.py`."""
    return [
        (f"{owner.name} {owner.version}", Path(str(owner.locate_file("factory/__init__.py"))))
        for owner in distributions()
        if owner.name.lower().replace("_", "-") != DISTRIBUTION and _brings_factory(owner)
    ]


def _brings_factory(owner: Distribution) -> bool:
    return any(file.as_posix() == "factory/__init__.py" for file in owner.files or ())


def hidden_by() -> str | None:
    """Return the first line for a user whose package `factory` is not this one; None if it is."""
    spec = find_spec("factory")
    origin = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if origin is not None and "R1 Factory" in origin.read_text(encoding="utf-8", errors="replace"):
        return None
    if origin is None:
        return "error: the package `factory` of R1 Factory is missing; install r1-factory again"
    owners = [name for name, file in find_others() if file.resolve() == origin.resolve()]
    owner = owners[0] if owners else "another package"
    return f"error: {owner} lies over R1 Factory: {origin} belongs to it. {REMEDY}"


def main() -> None:
    """Run the command, or say in one line why it cannot start (exit code 8)."""
    trouble = hidden_by()
    if trouble is not None:
        print(trouble, file=sys.stderr)
        sys.exit(8)
    from factory.cli import main as command

    command()
