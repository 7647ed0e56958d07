"""Shared by the commands: arguments, options, consoles, reading a recipe."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from factory.core.trust import Code
    from factory.recipe.build import Recipe
    from filters.base import Filter

RUNS = Path("runs")

recipe_argument = click.argument("recipe", type=click.Path(dir_okay=False, path_type=Path))


class RunFolder(click.Path):
    """A run directory on this machine; `new`: one that may be made."""

    name = "directory"

    def __init__(self, *, new: bool = False) -> None:
        super().__init__(exists=not new, file_okay=False, path_type=Path)
        self._remedy = (
            "name a directory here; to keep its run at an address, set `store: {url: …}` in the "
            "recipe"
            if new
            else "name the one where the run is built, or make one with `factory build RECIPE "
            "--run DIR`"
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" in str(value):
            self.fail(
                "this command needs a run directory, not an address of a store; " + self._remedy,
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


run_argument = click.argument("run", type=RunFolder())


class StoredRun(click.Path):
    """A run directory, or the address of a store that has the run: then a copy of it.

    `STORE` of the context's `meta` is the address. `or_file`: a file of another kind will do too.
    """

    name = "directory"

    def __init__(self, *, exists: bool = True, or_file: bool = False) -> None:
        super().__init__(exists=exists, file_okay=or_file, path_type=Path)
        if or_file:
            self.name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" not in str(value):
            return super().convert(value, param, ctx)
        from factory.stores.fetch import fetch_copy
        from factory.stores.options import parse_url

        try:
            url = parse_url(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if ctx is not None:
            ctx.meta[STORE] = url
        return fetch_copy(url)


STORE = "factory.store"

stored_run_argument = click.argument("run", metavar="RUN", type=StoredRun())
"""For commands that only read: RUN may also be s3://bucket/prefix."""

set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a recipe key, as in sampling.n=8; may be repeated.",
)
run_option = click.option(
    "--run",
    "run",
    type=RunFolder(new=True),
    help="Run directory; runs/NAME unless given.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def print_json(value: Any) -> None:
    """Print a result as one JSON document. Dataclasses and named tuples become objects."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, indent=2, default=str))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return value


LEVELS = ("debug", "info", "warning", "error")
_LIBRARIES = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""Environment variables that keep the libraries' bars out of the terminal, here and in the
processes that are started. They must be set before the libraries are imported."""


def _set_quiet(context: click.Context, parameter: click.Parameter, quiet: bool) -> None:
    context.meta[QUIET] = quiet


def _set_level(context: click.Context, parameter: click.Parameter, level: str | None) -> None:
    """Set what libraries log. A variable that the user has set stays."""
    known = level or "warning"
    logging.basicConfig(level=known.upper(), format="%(message)s", stream=sys.stderr)
    strict = level or "error"
    variables = {"TRANSFORMERS_VERBOSITY": strict, "DATASETS_VERBOSITY": strict}
    variables["VLLM_LOGGING_LEVEL"] = strict.upper()
    for name, value in (_LIBRARIES | variables).items():
        os.environ.setdefault(name, value)


QUIET = "factory.quiet"

output_options = (
    click.Option(
        ["--quiet", "-q"],
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Print results, warnings and errors only.",
    ),
    click.Option(
        ["--log-level"],
        type=click.Choice(LEVELS),
        expose_value=False,
        callback=_set_level,
        help="Level of libraries' messages on standard error. Default: warning; some: error.",
    ),
)
"""Options of every command."""


def _trust(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    from factory.core.trust import trust_everything

    if given:
        trust_everything()


trust_option = click.option(
    "--trust-code",
    is_flag=True,
    expose_value=False,
    callback=_trust,
    help="Run the code that the recipe names (class:, trust_remote_code) without asking.",
)


def ask_on_terminal() -> None:
    """Ask about code that is not trusted yet, if there is a terminal to ask on.

    Where a model's own code runs, say so.
    """
    from factory.core import trust

    trust.say = partial(click.echo, err=True)
    if sys.stdin.isatty() and sys.stderr.isatty():
        trust.ask = _ask


def _ask(code: Code) -> bool:
    click.echo(
        f"This recipe runs code of its own, with all your rights:\n  {code.place}\n  {code.what}\n"
        f"  content {code.hash}\nRead it first. Your answer is remembered until the file changes.",
        err=True,
    )
    return click.confirm("Trust it and run it?", default=False, err=True)


def stored_filters(run: Path) -> dict[str, Filter]:
    """A run's filters, without running code of its own; what is not shown goes to stderr."""
    from factory.core.checksums import refuse_resized
    from factory.core.run_dir import sample_parts
    from factory.judging.recorded import open_filters

    filters, missing = open_filters(run)
    refuse_resized(sample_parts(run))
    for line in missing:
        click.echo(line, err=True)
    return filters


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
    terminal = stream.isatty()
    context = click.get_current_context(silent=True)
    quiet = stderr and context is not None and bool(context.meta.get(QUIET))
    kind = _warning_console() if quiet else Console
    return kind(
        stderr=stderr,
        width=None if terminal else 120,
        soft_wrap=not terminal,  # a line in a file stays a line
        force_terminal=False if quiet else None,
    )


def _warning_console() -> type[Console]:
    """A console that prints only what has a style of its own, as warnings have; shows no bars."""
    from rich.console import Console

    class Warnings(Console):
        def print(self, *objects: Any, style: Any = None, **options: Any) -> None:
            if style is not None:
                super().print(*objects, style=style, **options)

    return Warnings
