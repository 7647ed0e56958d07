"""How well scores of steps separate good steps from bad ones, on held-out questions.

pooled AUC      two steps of any questions: the good one scores higher
AUC within      two steps of the same question, mean over questions: the difficulty of a question,
                which flatters the pooled one, plays no part
AUC of position the same two steps, scored by their number alone: later steps are worse more often
first error     the first step that scores below 0.5, in answers whose labels have a bad step

0.5 is guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auc(scores: Floats, good: Bools) -> float:
    """Return the chance that a good step scores higher than a bad one; NaN without one of each.

    Equal scores count half.

    >>> auc(np.array([0.9, 0.4, 0.6]), np.array([True, True, False]))
    0.5
    """
    n_good = int(good.sum())
    n_bad = len(good) - n_good
    if not n_good or not n_bad:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]  # the mean rank of equal scores
    return float((ranks[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


@dataclass(frozen=True)
class ScoredAnswer:
    """The steps of an answer that have a label, in order."""

    question: str
    scores: list[float]
    good: list[bool]
    numbers: list[int]


def measure_steps(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
    """Return the metrics of held-out answers; see above. A metric that can't be known is left out.

    `first_error` is the share of answers with a bad step whose first one is found exactly,
    `all_good` the share of the others in which none is found, and `first_error_f1` their harmonic
    mean, as ProcessBench (arXiv 2412.06559) reports them.
    """
    scores = np.array([value for one in answers for value in one.scores])
    good = np.array([value for one in answers for value in one.good], dtype=bool)
    numbers = np.array([value for one in answers for value in one.numbers], dtype=float)
    names = [one.question for one in answers for _ in one.scores]
    _, question = np.unique(names, return_inverse=True)
    parts = [question == number for number in range(int(question.max()) + 1)] if names else []
    within = [auc(scores[part], good[part]) for part in parts]
    position = [auc(-numbers[part], good[part]) for part in parts]
    found = {
        "auc": auc(scores, good),
        "auc_within": _mean(within),
        "auc_position": _mean(position),
        "auc_questions": float(np.sum(~np.isnan(within))) if within else 0.0,
        "good_share": float(good.mean()) if len(good) else float("nan"),
        "steps": float(len(good)),
        **_measure_first_errors(answers),
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _measure_first_errors(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
    located, passed = [], []
    for one in answers:
        said = [score >= 0.5 for score in one.scores]
        if False in one.good:
            located.append(False in said and said.index(False) == one.good.index(False))
        else:
            passed.append(all(said))
    error = float(np.mean(located)) if located else float("nan")
    clean = float(np.mean(passed)) if passed else float("nan")
    both = error + clean
    f1 = 2 * error * clean / both if both else 0.0
    return {"first_error": error, "all_good": clean, "first_error_f1": f1}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
