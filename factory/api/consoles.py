"""Where a function called from Python says what it does: the log, or a progress display."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rich.console import Console

RUNS = Path("runs")
"""Run directories are made here unless a call names one."""

LOGGER = logging.getLogger("factory")


class LogConsole(Console):
    """A console whose lines go to `logging.getLogger("factory")`; nothing is printed."""

    def __init__(self) -> None:
        super().__init__(quiet=True, force_terminal=False)

    def print(self, *objects: Any, **options: Any) -> None:
        for line in objects:
            if isinstance(line, str):
                LOGGER.info("%s", line)


def console(progress: bool) -> Console:
    """The log; or with `progress` standard error, where a bar is shown."""
    return Console(stderr=True) if progress else LogConsole()
