"""What math-verify alone would say: a second method for the audit, never a verdict.

Its own timeouts are alarms, which need a main thread and cannot stop C code; they are off, and the
pool's deadline takes their place.
"""

from __future__ import annotations

import logging
from typing import TypedDict

from filters.verify.pool import Pool

TASK = "filters.verify.maths.peer:agree"


class Pair(TypedDict):
    """A reference and an answer, as written."""

    reference: str
    answer: str


def agree(pair: Pair) -> bool | None:
    """Whether math-verify takes the two for equal; None where it cannot read one."""
    from math_verify import parse, verify

    sides = [
        parse(f"${pair[side]}$", fallback_mode="no_fallback", parsing_timeout=None)
        for side in ("reference", "answer")
    ]
    if not all(sides):
        return None
    return bool(verify(sides[0], sides[1], timeout_seconds=None))


def warm_up() -> None:
    """Run once before forking: builds the parser's tables."""
    logging.disable(logging.WARNING)
    agree({"reference": r"\frac{\sqrt{2}}{2}", "answer": r"\sin(\pi/4)"})


def second_opinions(pairs: list[Pair], *, deadline_s: float = 2.0) -> list[bool | None]:
    """Of each pair, in order; None also where it ran out of time or failed."""
    pool = Pool(TASK, attempts=(deadline_s,))
    try:
        return [None if outcome.failure else outcome.value for outcome in pool.run(pairs)]
    finally:
        pool.close()
