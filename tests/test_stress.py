"""References respelled and nearly missed: what is made of each kind, and what is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.build.stress import stress, stress_prompts
from factory.core.nouns import Prompt
from factory.prompts.respellings import variants
from factory.recipe.build import load_recipe
from filters.verify.verifiers import Verifiers

SPECS: list[dict[str, Any]] = [
    {"kind": "math", "answer": "12"},
    {"kind": "math", "answer": "-3"},
    {"kind": "math", "answer": "1234"},
    {"kind": "math", "answer": "3/4"},
    {"kind": "math", "answer": r"\frac{3}{4}"},
    {"kind": "math", "answer": r"$\left(1, 2\right)$"},
    {"kind": "math", "answer": "x^2+3"},
    {"kind": "math", "answer": "2.5"},
    {"kind": "choice", "answer": "B", "choices": {"A": "iron", "B": "gold"}},
    {"kind": "text", "answer": "The Pacific Ocean"},
    {"kind": "text", "answer": ["UK", "United Kingdom"]},
    {"kind": "json", "answer": {"total": 3, "of": [1, 2]}},
]


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1, deadline_s=30) as shared:
        yield shared


def prompt(spec: dict[str, Any]) -> Prompt:
    message = {"role": "user", "content": json.dumps(spec)}
    return Prompt(source="s", domain="math", messages=(message,), verifier=spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec["answer"]))
def test_sound_references_are_not_fragile(verifiers: Verifiers, spec: dict[str, Any]) -> None:
    assert {variant.right for variant in variants(spec)} == {True, False}
    found = stress_prompts([prompt(spec)], verifiers)
    assert found.examples == []
    assert (found.fragile, found.undecided) == (0, 0)


@given(st.integers() | st.fractions() | st.decimals(allow_nan=False, allow_infinity=False))
def test_no_label_is_wrong_of_numbers(verifiers: Verifiers, number: Any) -> None:
    found = stress_prompts([prompt({"kind": "math", "answer": str(number)})], verifiers)
    assert found.accepted == 0


@pytest.mark.parametrize("spec", [{}, {"kind": "code"}, {"kind": "math", "answer": None}])
def test_what_cannot_be_respelled_has_no_variants(spec: dict[str, Any]) -> None:
    assert list(variants(spec)) == []


def test_a_fragile_reference_is_shown_by_source(tmp_path: Path) -> None:
    rows = [
        {"question": "How many?", "answer": "12"},
        {"question": "Describe it.", "answer": "it depends on the observer and on much else"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        """
name: fragile
model: demo
sources: [{kind: files, name: mine, path: rows.jsonl, language: en, verifier: {kind: math}}]
prompting: {template: few_shot}
filters: {correctness: {}}
"""
    )
    lines = list(stress(load_recipe(tmp_path / "recipe.yaml"), 10))
    assert lines[0].startswith("stress mine: ")
    assert "of 2 references are fragile" in lines[0]
    assert "%" in lines[0]
