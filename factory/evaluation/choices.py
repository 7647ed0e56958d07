"""Choose one answer among several samples of a prompt, in the ways of `factory.recipe.evaluation`.

A metric is the mean over disjoint groups of K samples, in their order. Samples beyond the last
complete group are not used, so that a prompt with too few has no value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from factory.recipe.evaluation import Choice
from filters.votes import Vote, is_mathematics, measure_margin, tally


class Drawn(NamedTuple):
    """One sample of a prompt: its answer, whether it is right, its tokens and its score."""

    answer: str | None
    right: bool | None
    tokens: int
    score: float | None = None


def choose(choice: Choice, samples: Sequence[Drawn]) -> float:
    """Return a metric of one prompt's samples: how often the chosen answer is right.

    NaN without a complete group, and where the verdict of a chosen answer is undecided.
    """
    values = [_DECIDE[choice.kind](group) for group in split_groups(choice, samples)]
    return float(np.mean(values)) if values else float("nan")


def split_groups(choice: Choice, samples: Sequence[Drawn]) -> Iterator[Sequence[Drawn]]:
    """Yield the complete groups: of `k` samples, or of as many as fit into the budget.

    The sample that does not fit used up the rest of the budget. It belongs to no group, since a
    group that began with it would begin with a long one more often than chance.
    """
    if choice.budget is None:
        k = choice.k or len(samples)
        for start in range(0, len(samples) - k + 1, k):
            yield samples[start : start + k]
        return
    group: list[Drawn] = []
    used = 0
    for sample in samples:
        if used + sample.tokens <= choice.budget:
            group.append(sample)
            used += sample.tokens
        else:
            yield group
            group, used = [], 0


def majority(votes: Sequence[Vote]) -> float:
    """Return the probability that the answer with the most weight is right.

    All right answers count as one answer; wrong answers are merged where their values are equal.
    A tie is broken by a fair draw among the tied answers. Samples without an answer do not vote;
    without any vote the result is 0.
    """
    right = sum(vote.weight for vote in votes if vote.right is True)
    others = tally([vote for vote in votes if vote.right is not True])
    most = max([right, *(one.weight for one in others)])
    if not most:
        return 0.0
    winners = [_judge(one.right) for one in others if one.weight == most]
    winners += [1.0] * (right == most)
    return sum(winners) / len(winners)


def _judge(right: bool | None) -> float:
    return float("nan") if right is None else float(right)


def _vote(samples: Sequence[Drawn]) -> float:
    return majority([Vote(one.answer, one.right) for one in samples])


def _vote_weighted(samples: Sequence[Drawn]) -> float:
    """A sample without a score has no weight."""
    return majority([Vote(one.answer, one.right, one.score or 0.0) for one in samples])


def _choose_best(samples: Sequence[Drawn]) -> float:
    """A sample without a score is not chosen. A tie is broken by a fair draw."""
    known = [one.score for one in samples if one.score is not None]
    if not known:
        return 0.0
    rights = [one.right for one in samples if one.score == max(known)]
    return sum(map(_judge, rights)) / len(rights)


def _include_right(samples: Sequence[Drawn]) -> float:
    if any(one.right is True for one in samples):
        return 1.0
    return float("nan") if any(one.right is None for one in samples) else 0.0


_DECIDE = {
    "cons": _vote,
    "vote": _vote_weighted,
    "best": _choose_best,
    "pass": _include_right,
}


class Lead(NamedTuple):
    """How far the first answer of a prompt's vote leads, and whether it is right (1, 0, NaN)."""

    margin: float
    right: float


def measure_lead(samples: Sequence[Drawn]) -> Lead:
    """Return the lead in a vote over all samples, counted as if no answer were known to be right.

    This is the vote that gives a pseudo-reference. The margin is a share of all samples, also of
    those without an answer. A vote for words alone gives none: `right` is NaN.
    """
    found = tally([Vote(one.answer, one.right) for one in samples])
    usable = bool(found) and is_mathematics(found[0].answer)
    right = _judge(found[0].right) if usable else float("nan")
    return Lead(measure_margin(found, len(samples)), right)
