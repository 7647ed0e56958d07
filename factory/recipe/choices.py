"""Names of the metrics of an evaluation that read several samples of a prompt.

pass@K           any of the samples is right: the bound for every choice (an oracle)
cons@K           the answer with the most votes (Wang et al., arXiv 2203.11171), as R1 reports it
vote@K:METRIC    the answer with the most votes, each weighted by METRIC
best@K:METRIC    the answer of the sample with the highest METRIC (best of n)

K is a number of samples, `k` for the source's own, or `Nt`: as many samples as have together at
most N generated tokens. So all choices with the same K read the same samples, and cost the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = re.compile(
    r"(?P<kind>pass|cons|vote|best)@(?P<k>k|[1-9][0-9]*t?)(?::(?P<score>[A-Za-z][A-Za-z0-9_]*))?"
)
"""The name of a metric of several samples."""

SCORED = ("vote", "best")
"""Kinds that need the metric of a filter."""


class Choice(NamedTuple):
    """A metric's name, in parts. Neither `k` nor `budget` is set where K is `k`."""

    kind: str
    k: int | None
    budget: int | None
    score: str | None

    @property
    def at(self) -> str:
        """Return K: which samples are read."""
        return f"{self.budget}t" if self.budget is not None else str(self.k or "k")

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.at}" + (f":{self.score}" if self.score else "")


def parse_choice(name: str) -> Choice | None:
    """Return the parts of a metric's name; None if it names no metric of several samples.

    >>> parse_choice("best@8:steps_min")
    Choice(kind='best', k=8, budget=None, score='steps_min')
    >>> parse_choice("best@8"), parse_choice("cons@8:steps_min")
    (None, None)
    """
    found = NAME.fullmatch(name)
    if found is None or (found["kind"] in SCORED) != (found["score"] is not None):
        return None
    text = found["k"]
    budget = int(text[:-1]) if text.endswith("t") else None
    k = None if text == "k" or budget is not None else int(text)
    return Choice(found["kind"], k, budget, found["score"])
