"""The filter on three texts."""

from __future__ import annotations

import inspect

from plugin_example.filter import AsksBack

import factory

REFERENCE = f"{inspect.getsourcefile(AsksBack)}:AsksBack"


def test_questions_are_counted_in_the_response_alone() -> None:
    texts = ["<think>Is it 2?</think>It is 2.", "<think>So.</think>Is it 2?", "no think section"]
    found = factory.filter_texts(texts, filters={"mine": {"class": REFERENCE}}, trust_code=True)
    assert found["decision"].to_list() == ["keep", "drop", "keep"]
    options = {"class": REFERENCE, "max_questions": 1}
    loose = factory.filter_texts(texts, filters={"mine": options}, trust_code=True)
    assert loose["decision"].to_list() == ["keep", "keep", "keep"]
