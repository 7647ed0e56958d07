"""The verifier on a right answer, near misses, and no answer."""

from __future__ import annotations

import pytest
from plugin_example.verifier import SameItems

from filters.verify.own import Asked

ASKED = Asked(answer="red, green", meta={}, messages=[])


@pytest.mark.parametrize(
    ("response", "state"),
    [
        ("They are these.\nItems: Green, red", "correct"),
        ("Items: green", "wrong"),
        ("Items: green, red, red", "wrong"),
        ("Items: green, red\nI am not sure.", "no_answer"),
        ("green, red", "no_answer"),
    ],
)
def test_verdicts(response: str, state: str) -> None:
    assert SameItems().verify(ASKED, response).state == state


def test_a_reference_without_items_is_refused() -> None:
    assert SameItems().check(ASKED) is None
    assert SameItems().check(Asked(answer=" , ", meta={}, messages=[]))
