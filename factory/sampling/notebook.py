"""A progress display in a notebook: plain text in the cell's output, updated in place."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 160


class NotebookDisplay:
    """Shows one renderable at a time, as rich's Live does on a terminal; its last state stays.

    Needs IPython, which is there in every notebook, and no widgets.
    """

    refresh_per_second = 2.0

    def __init__(self, renderable: RenderableType) -> None:
        self._first = renderable
        self._handle: Any = None

    def start(self) -> None:
        from IPython.display import display

        self._handle = display(_as_text(self._first), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def update(self, renderable: RenderableType) -> None:
        """Replace what is shown."""
        self._handle.update(_as_text(renderable), raw=True)

    def stop(self) -> None:
        """Leave what is shown."""


def _as_text(renderable: RenderableType) -> dict[str, str]:
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, force_jupyter=False, color_system=None).print(renderable)
    return {"text/plain": stream.getvalue()}
