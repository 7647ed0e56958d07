"""Push a run while it is built: a commit whenever enough rows were added, the whole at its end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from factory.core.errors import RunError
from factory.core.run_dir import is_locked, read_manifest
from factory.export.hub.push import PushReport, push_run

POLL_S = 5.0

EVERY = 5000
"""Rows per commit, unless the user says otherwise."""


class Growing(Protocol):
    """The rows so far of a run that is built, in a folder like a finished run."""

    folder: Path

    @property
    def shards(self) -> list[Path]: ...

    def grow(self, least: int) -> int:
        """Add the new rows if there are `least` of them. Returns how many were added."""


def growing_folder(run: Path, repo: str) -> Path:
    """Return where the rows that were pushed so far are kept."""
    return run / "watch" / "push" / repo.replace("/", "--")


def follow_run(
    run: Path,
    repo: str,
    growing: Growing,
    *,
    every: int = EVERY,
    message: str | None = None,
    with_prompts: bool = False,
    note: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> PushReport:
    """Push the rows of a run while it is built, a commit per `every` rows, then the corpus.

    `options` are those of `push_run`. Returns the report of the last commit. Raises RunError if
    the run ends before it is done (what was pushed stays), and what `push_run` raises.
    """
    if not read_manifest(run):
        raise RunError(f"{run} has no run.json yet; start `factory build` first")
    unpushed = bool(growing.shards)  # of a process that was killed in between
    scanned: frozenset[str] = frozenset()
    while is_locked(run):
        if growing.grow(every) or unpushed:
            unpushed = False
            pushed = push_run(
                growing.folder, repo, in_progress=True, scanned=scanned, note=note, **options
            )
            scanned = frozenset(pushed.files)
            note(f"in progress: {pushed.format_line()}")
        time.sleep(POLL_S)
    if read_manifest(run).get("state") != "done":
        raise RunError(
            f"the build of {run} ended before it was done. What was pushed stays; build again, and "
            "run the same command to go on."
        )
    pushed = push_run(run, repo, message=message, with_prompts=with_prompts, note=note, **options)
    shutil.rmtree(growing.folder, ignore_errors=True)
    return pushed
