"""Verifiers whose worker processes the tests of this folder share, and the table of maths cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filters.verify.gym.verifier import GymVerifier
from filters.verify.mathematics import MathVerifier


@pytest.fixture(scope="session")
def maths() -> Iterator[MathVerifier]:
    # Patient: the tests that share it are about verdicts, and machines may be busy.
    verifier = MathVerifier(workers=2, deadline_s=30)
    yield verifier
    verifier.close()


@pytest.fixture(scope="session")
def gym() -> Iterator[GymVerifier]:
    verifier = GymVerifier(workers=1)
    yield verifier
    verifier.close()


@pytest.fixture(scope="session")
def math_cases() -> list[tuple[str, bool, str, str]]:
    """(category, right, reference, response) of math_cases.tsv."""
    cases = []
    for line in (Path(__file__).parent / "math_cases.tsv").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            category, right, reference, answer = line.split("\t")
            raw = category == "extraction"
            response = answer.replace("\\n", "\n") if raw else f"So $\\boxed{{{answer}}}$."
            cases.append((category, right == "yes", reference, response))
    return cases
