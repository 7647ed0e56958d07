"""`write_report`: write a run's report as one HTML file, with its figures as JSON and PNG."""

from __future__ import annotations

import json
from pathlib import Path

from factory.core.files import storage_error, write_atomic
from factory.report.examples import choose_examples
from factory.report.figures import all_figures
from factory.report.numbers import gather
from factory.report.page import report_page
from factory.report.snapshot import State, take_snapshot
from factory.report.vega import load_script, render_png


def write_report(run: Path, state: State | None = None) -> Path:
    """Write RUN/report.html, and RUN/report/ with report.json and the figures; returns the page.

    The report of an unfinished or damaged run lists what is missing. Raises RunError where there is
    no run, StorageError where the report can't be written. `state` replaces the manifest's: a build
    that is about to end is still `running` there.
    """
    snapshot = take_snapshot(run)
    snapshot.state = state or snapshot.state
    facts = gather(snapshot)
    figures = all_figures(facts)
    folder = run / "report"
    write_atomic(folder / "report.json", json.dumps(facts, indent=2, default=str) + "\n")
    if load_script() is not None:
        for figure in figures:
            for number, spec in enumerate(figure.specs):
                suffix = f"-{number + 1}" if number else ""
                _save(folder / f"{figure.name}{suffix}.png", render_png(spec))
    page = run / "report.html"
    write_atomic(page, report_page(facts, figures, choose_examples(snapshot)))
    return page


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise storage_error(path, error) from error
