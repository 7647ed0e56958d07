"""`write_report`: a run's report as one HTML file, with its figures as JSON and PNG beside it."""

from __future__ import annotations

import json
from pathlib import Path

from factory.core.files import storage_error, write_atomic
from factory.report.examples import examples
from factory.report.figures import all_figures
from factory.report.numbers import gather
from factory.report.page import report_page
from factory.report.snapshot import take_snapshot
from factory.report.vega import png, script


def write_report(run: Path) -> Path:
    """Write RUN/report.html, and RUN/report/ with report.json and the figures; returns the page.

    Reads a run as far as it goes: an unfinished or damaged one is reported with what is missing
    named. Raises RunError where there is no run, StorageError where the report cannot be written.
    """
    snapshot = take_snapshot(run)
    facts = gather(snapshot)
    figures = all_figures(facts)
    folder = run / "report"
    write_atomic(folder / "report.json", json.dumps(facts, indent=2, default=str) + "\n")
    if script() is not None:
        for figure in figures:
            for number, spec in enumerate(figure.specs):
                suffix = f"-{number + 1}" if number else ""
                _save(folder / f"{figure.name}{suffix}.png", png(spec))
    page = run / "report.html"
    write_atomic(page, report_page(facts, figures, examples(snapshot)))
    return page


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise storage_error(path, error) from error
