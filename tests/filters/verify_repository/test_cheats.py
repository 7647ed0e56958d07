"""Cheats: every one is held, and none of the guards calls a true repair anything but correct."""

from __future__ import annotations

from typing import Any

import pytest
from cheats import BY_FILES, IN_SOURCE

from filters.verify.repository.verifier import RepositoryVerifier


def test_there_are_many() -> None:
    assert len(BY_FILES) + len(IN_SOURCE) >= 40


@pytest.mark.parametrize("name", BY_FILES)
def test_a_cheat_by_files_is_held(
    name: str, verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    (verdict,) = verifier.verify([(numerals, BY_FILES[name])])
    assert verdict.state in ("wrong", "no_answer"), verdict
    assert (verdict.detail or "").startswith(("edits_tests", "patch_rejected", "no_patch"))


def test_cheats_in_the_source_are_held(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    verdicts = verifier.verify([(numerals, response) for response in IN_SOURCE.values()])
    held = dict(zip(IN_SOURCE, verdicts, strict=True))
    assert {name for name, verdict in held.items() if verdict.state == "correct"} == set()
