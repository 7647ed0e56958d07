"""Values for both ends of the scale: one that knows every step of a sum, one that knows nothing.

    factory eval recipes/search/beam.yaml --trust-code \
        --set "sampling.search.value={class: recipes/search/scorers.py:Exact}"
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import accumulate


class Exact:
    """1 while every total so far is right, the answer included; else 0: the ceiling of a search."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        numbers = (int(number) for number in re.findall(r"[+-]?\d+", question))
        _, *right = accumulate(numbers)
        return [float(self._is_right(right, text)) for text in texts]

    @staticmethod
    def _is_right(right: list[int], text: str) -> bool:
        thinking, closed, answer = text.partition("</think>")
        own = [int(total) for total in re.findall(r"\d+", thinking)]
        if not closed:
            return own == right[: len(own)]
        return own == right and answer.strip() == str(right[-1])


class Noise:
    """A number from a hash of the text: the floor of a search."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [hashlib.sha256(text.encode()).digest()[0] / 255 for text in texts]
