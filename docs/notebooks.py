"""Tutorials as Jupyter notebooks, written from their Markdown.

    python docs/notebooks.py

A page is the only source. Its prose becomes cells of text, its blocks cells of code: a titled block
saves its file, a block of commands runs in bash, a block of Python runs as it is. Recipes and
outputs that a page only shows stay text, and so do commands that do not end or prepare the machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

TUTORIALS = Path(__file__).resolve().parent / "tutorials"
PAGES = ("first-corpus", "your-own-data")

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```\n', re.MULTILINE | re.DOTALL)
_RUNS = re.compile(r"(?:factory (?!view|review)|pytest |python |#|\s*$)")
_ABOUT_ITSELF = re.compile(r"^.*\.ipynb\).*\n\n", re.MULTILINE)


def write_notebook(page: Path) -> str:
    """The notebook of a page, as JSON: the same text gives the same bytes."""
    text = _ABOUT_ITSELF.sub("", page.read_text(encoding="utf-8"))
    cells: list[tuple[str, str]] = []
    at = 0
    prose = ""
    for block in _BLOCK.finditer(text):
        prose += text[at : block.start()]
        at = block.end()
        code = _code(block[1], block[2], block[3])
        if code is None:
            prose += block[0]
            continue
        cells += [("markdown", prose.strip()), ("code", code.rstrip())]
        prose = ""
    cells.append(("markdown", (prose + text[at:]).strip()))
    document = {
        "cells": [_cell(number, *cell) for number, cell in enumerate(cells, 1) if cell[1]],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _code(language: str, title: str | None, text: str) -> str | None:
    """What a block is as a cell of code; None if it stays text."""
    if title:
        return f"%%writefile {title}\n{text}"
    if language == "python":
        return text
    if language == "sh" and all(map(_RUNS.match, text.splitlines())):
        return f"%%bash -e\n{text}"
    return None


def _cell(number: int, kind: str, text: str) -> dict[str, object]:
    cell = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def main() -> None:
    for name in PAGES:
        page = TUTORIALS / f"{name}.md"
        page.with_suffix(".ipynb").write_text(write_notebook(page), encoding="utf-8")


if __name__ == "__main__":
    main()
