"""Figures over training steps as a page, JSON and PNG: of a training, or of its evaluations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from factory.core.files import storage_error, write_atomic
from factory.report.chart import Figure
from factory.report.page import training_page
from factory.report.vega import png, script


def write_over_steps(title: str, figures: Sequence[Figure], out: Path, name: str) -> Path:
    """OUT/NAME.html, and beside it NAME.json and NAME-FIGURE.png; returns the page."""
    rows = {figure.name: figure.rows for figure in figures}
    write_atomic(out / f"{name}.json", json.dumps(rows, indent=2) + "\n")
    for figure in figures if script() is not None else ():
        picture = out / f"{name}-{figure.name}.png"
        try:
            picture.write_bytes(png(figure.specs[0]))
        except OSError as error:
            raise storage_error(picture, error) from error
    page = out / f"{name}.html"
    write_atomic(page, training_page(title, figures))
    return page
