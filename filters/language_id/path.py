"""Assign a language to each word: pooled evidence first, then the Viterbi path.

A hidden Markov model whose states are languages. To leave the home language costs START_COST, so a
single odd word is no change; another language comes in question at all only where what speaks for
it, over the whole text, exceeds its own cost (`reader.sum_up`). The path is Viterbi's (1967).
"""

from __future__ import annotations

import numpy as np

from filters.kernels import Bytes, compiled
from filters.language_id.reader import START_COST
from filters.language_id.tables import Places, Scores

# To change the language within a sentence costs more, at the beginning of the text less.
WITHIN, AT_START = 8, -8


@compiled
def likeliest_path(scores: Scores, begins: Bytes, home: int, allowed: Places) -> Places:
    """Return the state of each word; `allowed` includes `home`.

    `begins` tells of each word whether a clause begins with it.
    """
    n, states = len(scores), len(allowed)
    found = np.full(n, home, np.int32)
    if n == 0:
        return found
    total = np.full(states, -(1 << 30), np.int64)
    stayed = np.zeros((n, states), np.bool_)
    entered = np.zeros(n, np.int32)  # the best state before each word
    at_home = 0
    for state in range(states):
        if allowed[state] == home:
            at_home = state
    total[at_home] = 0
    for k in range(n):
        best = 0
        for state in range(states):
            if total[state] > total[best]:
                best = state
        entered[k] = best
        top = total[best]
        extra = AT_START if k == 0 else (0 if begins[k] else WITHIN)
        for state in range(states):
            cost = max(extra, 0) if state == at_home else START_COST + extra
            stay = total[state] >= top - cost
            stayed[k, state] = stay
            total[state] = (total[state] if stay else top - cost) + np.int64(
                scores[k, allowed[state]]
            )
    state = 0
    for other in range(states):
        if total[other] > total[state]:
            state = other
    for k in range(n - 1, -1, -1):
        found[k] = allowed[state]
        if not stayed[k, state]:
            state = entered[k]
    return found
