"""Every case of tests/data/cases: what the verdict on a response to a prompt must be.

A line is {"state", "spec", "text", "set"}. Rules were tuned on all of them, so that they measure
nothing; `argument` says why a case's expectation is another than its set's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from filters.verify.sandbox import available
from filters.verify.verifiers import Item, Verifiers

CASES = Path(__file__).parents[2] / "data" / "cases"


@pytest.mark.parametrize("kind", ["choice", "text", "json", "code"])
def test_every_case(kind: str) -> None:
    if kind == "code" and (obstacle := available()):
        pytest.skip(obstacle)
    cases = [json.loads(line) for line in (CASES / f"{kind}.jsonl").read_text("utf-8").splitlines()]
    with Verifiers(workers=2) as verifiers:
        verdicts = verifiers.verify([Item.of(case["spec"], case["text"]) for case in cases])
    assert _differing(cases, [verdict.state for verdict in verdicts]) == []


def _differing(cases: list[dict[str, Any]], states: list[str]) -> list[tuple[str, str, str]]:
    return [
        (case["text"][-200:], case["state"], state)
        for case, state in zip(cases, states, strict=True)
        if case["state"] != state
    ]
