"""Answers that others labelled: HardVerify-Math of TinyV, and the pairs of math-verify's own tests.

Both are read by path where they are; nothing of them is in this repository.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """`equal`: what its authors say."""

    reference: str
    response: str
    equal: bool


def read_hard(path: Path) -> list[Pair]:
    """HardVerify-Math: for each reference one output that is right and one that is wrong."""
    rows = json.loads(path.read_text("utf-8"))
    return [
        Pair(row["ground_truth"], f"\\boxed{{{row[column]}}}", column == "fn_output")
        for row in rows
        for column in ("fn_output", "tn_output")
    ]


def read_tests(folder: Path) -> list[Pair]:
    """The (gold, pred, expected) tables of the test files in a folder."""
    return [pair for path in sorted(folder.glob("test_*.py")) for pair in _pairs(path)]


def _pairs(path: Path) -> Iterator[Pair]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and len(node.args) == 2):
            continue
        names, rows = node.args
        if not (isinstance(names, ast.Constant) and isinstance(names.value, str)):
            continue
        columns = [name.strip() for name in names.value.split(",")]
        if columns[:2] != ["gold", "pred"] or not isinstance(rows, ast.List):
            continue
        for row in rows.elts:
            try:
                values = dict(zip(columns, ast.literal_eval(row), strict=False))
            except ValueError:
                continue  # a row with a name of theirs in it
            expected = values.get("expected", values.get("result"))
            if expected in (0, 1) and values.get("strict", True):
                yield Pair(str(values["gold"]), str(values["pred"]), bool(expected))
