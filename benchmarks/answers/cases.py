"""Files of cases: a record of `factory verify`, with what is expected of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("choice", "text", "json", "code")
"""Kinds of a group other than mathematics."""


class Case(NamedTuple):
    label: str
    record: dict[str, Any]
    expected: str


def read_cases(path: Path) -> list[Case]:
    """A JSON array or JSON lines; the record is the object itself, or its `input`.

    A row may also say `verifier` for the kind of a record, `response` for its text and `expect`.
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
        if "verifier" in row:
            given = {key: row[key] for key in row.keys() & {"reference", "choices"}}
            record = {**given, "kind": row["verifier"], "text": row["response"]}
            row = {**row, "expected": row["expect"]}
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


def read_groups(path: Path) -> list[Case]:
    """A file of groups: `## kind`, `= reference`, `? A) text | B) text`, `+ right`, `- wrong`.

    An answer stands for a response with it in a box; one that starts with `>` is the response,
    with ⏎ for a line break and ▢ for the reference in a box; ⏎ is a line break in a reference of
    mathematics, too. A kind that names "choice", "text", "json" or "code" is judged by that
    verifier, any other as mathematics. The reference of code is its tests.
    Raises ValueError naming the file and the line that is none of these.
    """
    cases: list[Case] = []
    label = ""
    record: dict[str, Any] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        sign, rest = line[:2], line[2:].strip()
        if not line or (line[0] == "#" and sign != "##"):
            continue
        if sign == "##":
            label = rest
        elif sign == "= ":
            kind = next((kind for kind in KINDS if kind in label), "math")
            record = {"kind": kind, "reference": rest.replace("⏎", "\n")}
            if kind == "json":
                record["reference"] = json.loads(rest)
            elif kind == "code":
                record = {"kind": kind, "language": "python", "tests": json.loads(rest)}
        elif sign == "? ":
            options = (option.split(")", 1) for option in rest.split("|"))
            record["choices"] = {letter.strip(): text.strip() for letter, text in options}
        elif sign in ("+ ", "- ") and record:
            text = f"So the answer is $\\boxed{{{rest}}}$."
            if rest.startswith(">"):
                text = rest[1:].strip().replace("⏎", "\n")
                text = text.replace("▢", f"\\boxed{{{record.get('reference')}}}")
            right = "correct" if sign == "+ " else "wrong"
            cases.append(Case(label, {**record, "text": text}, right))
        else:
            raise ValueError(f"{path}, line {number}: not a kind, reference, choice or answer")
    return cases
