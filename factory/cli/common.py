"""Shared by the commands: arguments, options, consoles, reading a recipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.build import Recipe

RUNS = Path("runs")

recipe_argument = click.argument("recipe", type=click.Path(dir_okay=False, path_type=Path))
run_argument = click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a recipe key."
)
run_option = click.option(
    "--run",
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run directory; runs/NAME unless given.",
)


def read_recipe(path: Path, assignments: Iterable[str]) -> Recipe:
    from factory.recipe.build import load_recipe

    return load_recipe(path, assignments)


def echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def stdout() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return the console for diagnostics."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    from rich.console import Console

    # A pipe or a file has no width; a fixed one keeps table columns from being cut off.
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 120)
