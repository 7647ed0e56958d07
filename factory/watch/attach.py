"""Starts the process that watches a run, and tells it how the run ended.

    with watch(recipe, "build", run, console) as watching:
        ...
        watching.begin()      # the directory is ours
        ...

The run never waits for it, except at its end, for at most `FLUSH_S` + `SPARE_S`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import FactoryError, Stopped
from factory.core.yaml_files import parse_yaml
from factory.recipe.watching import WATCHING, Watched, find_address
from factory.watch.watcher import FLUSH_S, Order, Outcome, encode_order

if TYPE_CHECKING:
    from rich.console import Console

SPARE_S = 10.0
"""Seconds that the process has at the end of the run in addition to those of the trackers."""

_ADDRESSES = frozenset({"engine", "sources", "filters", "against", "exclude", "store"})
"""Sections of a recipe that name servers, headers and files. Trackers don't get them."""


class Watching:
    """The process that watches a run; without a process where nobody watches."""

    def __init__(self, process: subprocess.Popen[bytes] | None, console: Console) -> None:
        self._process, self._console = process, console
        if process is not None:
            self._reader = threading.Thread(target=self._print, args=(process,), daemon=True)
            self._reader.start()

    def begin(self) -> None:
        """The directory is the run's: what is logged in it is passed on from now on."""
        self._send({"begin": True})

    def end(self, outcome: Outcome) -> None:
        """Report how the run ended, and wait until all have it."""
        if self._process is None:
            return
        self._send({"end": asdict(outcome)})
        try:
            self._process.wait(FLUSH_S + SPARE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            _print(self._console, "the process that watches the run did not end; it was killed")
        self._reader.join(1.0)
        with suppress(OSError):
            self._stdin.close()

    @property
    def _stdin(self) -> Any:
        assert self._process is not None
        return self._process.stdin

    def _send(self, line: dict[str, Any]) -> None:
        if self._process is not None:
            with suppress(OSError):  # it has died, which `_print` says
                self._stdin.write(json.dumps(line).encode() + b"\n")
                self._stdin.flush()

    def _print(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            with suppress(ValueError):
                _print(self._console, json.loads(line))
        if code := process.wait():
            what = f"the process that watches the run ended with exit code {code}; the run goes on"
            _print(self._console, what)


@contextmanager
def watch(recipe: Watched, kind: str, run: Path, console: Console) -> Iterator[Watching]:
    """Let those that the recipe names watch what is done inside.

    Raises RecipeError for a `notify_env` that is not set, before anything is done.
    """
    address = find_address(recipe.notify, recipe.notify_env)
    if not (recipe.track or recipe.metrics_port is not None or address is not None):
        yield Watching(None, console)
        return
    order = Order(
        run=str(run.absolute()),
        name=recipe.name,
        kind=kind,
        track=recipe.track,
        metrics_port=recipe.metrics_port,
        notify=address,
        settings=select_settings(recipe),
        flush_s=FLUSH_S,
    )
    watching = Watching(_start(order, console), console)
    try:
        yield watching
    except BaseException as error:
        watching.end(describe_end(error))
        raise
    watching.end(Outcome("done", 0))


def _start(order: Order, console: Console) -> subprocess.Popen[bytes] | None:
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "factory.watch.watcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the run, which reports it
        )
        assert process.stdin is not None
        process.stdin.write(encode_order(order))
        process.stdin.flush()
    except OSError as error:
        _print(console, f"the run is not watched: {error.strerror or error}")
        return None
    return process


def describe_end(error: BaseException) -> Outcome:
    """Return the outcome of a run that ended with an error."""
    if isinstance(error, Stopped | KeyboardInterrupt):
        return Outcome("stopped", 130, str(error))
    if isinstance(error, FactoryError):
        return Outcome("failed", error.exit_code, str(error))
    return Outcome("failed", 1, f"{type(error).__name__}: {error}")


def select_settings(recipe: Any) -> dict[str, Any]:
    """Return a recipe's settings for trackers, flat, without addresses, headers and long texts."""
    written: dict[str, Any] = parse_yaml(recipe.to_yaml())
    kept = {key: value for key, value in written.items() if key not in _ADDRESSES | WATCHING}
    return dict(_flatten(kept, ""))


def _flatten(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        elif isinstance(item, int | float | bool) or (isinstance(item, str) and len(item) <= 200):
            yield f"{prefix}{key}", item


def _print(console: Console, line: str) -> None:
    console.print(line, style="bold red", highlight=False, markup=False)
