"""Files of cases: a record of `factory verify`, with what is expected of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    label: str
    record: dict[str, Any]
    expected: str


def read_cases(path: Path) -> list[Case]:
    """A JSON array or JSON lines; the record is the object itself, or its `input`.

    Raises ValueError naming the file and the place of a case without `expected`.
    """
    text = path.read_text("utf-8")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    cases = []
    for number, row in enumerate(rows, 1):
        record = row.get("input", row)
        if "expected" not in row or "text" not in record:
            raise ValueError(f"{path}, case {number}: a case needs `text` and `expected`")
        cases.append(Case(str(row["kind"]), record, str(row["expected"])))
    return cases


def read_table(path: Path) -> list[Case]:
    """The tab-separated table of the tests: category, yes or no, reference, answer."""
    cases = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#") or not line:
            continue
        category, right, reference, answer = line.split("\t")
        text = answer.replace("\\n", "\n")
        if category != "extraction":
            text = f"So the answer is $\\boxed{{{answer}}}$."
        record = {"kind": "math", "reference": reference, "text": text}
        cases.append(Case(category, record, "correct" if right == "yes" else "wrong"))
    return cases
