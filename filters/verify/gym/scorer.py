"""Scores one answer with reasoning-gym's own scorer. Runs in the sandbox, where `gym` sends it.

Scorers evaluate what they are given (`eval(entry["answer"])`, sympy's parser): never import this.
"""

from __future__ import annotations

from typing import Any

# Their metadata holds grids as tuples, which JSON has not.
_GRIDS = {"arc_agi": ("input", "output"), "rearc": ("input", "output")}


def score(task: str, answer: str | None, entry: dict[str, Any]) -> float | None:
    """The scorer's points for an answer, or None if there is no such task."""
    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    if task not in DATASETS:
        return None
    for grid in _GRIDS.get(task, ()):
        entry["metadata"][grid] = tuple(map(tuple, entry["metadata"][grid]))
    return float(get_score_answer_fn(task)(answer, entry))
