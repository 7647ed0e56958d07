"""Write figures over training steps as a page, as JSON and as PNG files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from factory.core.files import storage_error, write_atomic
from factory.report.chart import Figure
from factory.report.page import training_page
from factory.report.vega import load_script, render_png


def write_training_figures(title: str, figures: Sequence[Figure], out: Path, name: str) -> Path:
    """Write OUT/NAME.html, NAME.json and a NAME-FIGURE.png per figure; returns the page.

    Raises StorageError where a file can't be written.
    """
    rows = {figure.name: figure.rows for figure in figures}
    write_atomic(out / f"{name}.json", json.dumps(rows, indent=2) + "\n")
    for figure in figures if load_script() is not None else ():
        picture = out / f"{name}-{figure.name}.png"
        try:
            picture.write_bytes(render_png(figure.specs[0]))
        except OSError as error:
            raise storage_error(picture, error) from error
    page = out / f"{name}.html"
    write_atomic(page, training_page(title, figures))
    return page
