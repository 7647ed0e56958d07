"""The reward as a trainer calls it."""

from __future__ import annotations

import inspect

from plugin_example.reward import Brevity

import factory


def test_short_earns_more_and_no_response_earns_none() -> None:
    reference = f"{inspect.getsourcefile(Brevity)}:Brevity"
    reward = factory.reward(reference, characters=10)
    texts = ["<think>x</think>12345", "<think>x</think>" + "1" * 20, "<think>never closed"]
    assert reward(["q"] * 3, texts) == [0.5, 0.0, None]
