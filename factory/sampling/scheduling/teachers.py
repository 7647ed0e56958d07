"""Which teacher draws the next sample: the one with the lowest price per expected accepted row.

The expected price of an accepted row is the mean price of a sample divided by the probability that
it is accepted. Both are estimated per teacher and source from the samples so far. The rate has a
uniform prior and an optimism bonus, so that each teacher is tried; a sample in flight counts as
failed until it is judged, so that a fast engine is not filled with one untried teacher. The rate on
one prompt starts there, and follows the prompt's own samples of that teacher: a hard prompt moves
on to a teacher that costs more once the cheap one has failed on it a few times.

The choice is a function of counts alone: neither the order of the verdicts nor where a run was
interrupted changes it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from factory.sampling.scheduling.prompt_state import Ticket

if TYPE_CHECKING:
    from factory.recipe.engines.options import Teacher
    from factory.recipe.sampling import Sampling

PRIOR_WEIGHT = 1.0
"""Weight of a source's rate, in samples of the prompt: pass rates cluster at 0 and at 1."""

OPTIMISM = 0.5
"""Standard deviations added to a source's rate, as the policy `budget` does."""

UNKNOWN = -1
"""The level of a sample whose teacher is not known: a failed request of an earlier process."""


@dataclass(slots=True)
class _Record:
    """Totals of one teacher's samples, of one source or of all."""

    flying: int = 0
    ended: int = 0
    accepted: int = 0
    answered: int = 0
    """Samples with tokens. A failed request has none, and does not make a teacher cheaper."""
    tokens: int = 0
    prompt_tokens: int = 0


class Teachers:
    """The teachers of a run, and what they have done so far. A ticket's `level` is its teacher."""

    def __init__(self, sampling: Sampling, prompts: int, sources: Sequence[int] | None) -> None:
        self._teachers: tuple[Teacher, ...] = sampling.teachers
        self._give_up_after = sampling.give_up_after
        self._most_tokens = sampling.max_tokens
        self._source_of = array("H", bytes(2 * prompts) if sources is None else iter(sources))
        self._drawn, self._hits, self._misses = (
            [array("H", bytes(2 * prompts)) for _ in self._teachers] for _ in range(3)
        )  # by teacher, then by prompt; `_drawn` has those in flight too
        self._totals = [_Record() for _ in self._teachers]
        self._records: dict[tuple[int, int], _Record] = {}

    def choose(self, prompt: int, accepted: int) -> int:
        """Return the teacher for the next sample of a prompt with `accepted` samples so far."""
        source = self._source_of[prompt]
        everyone = range(len(self._teachers))
        able = [
            number
            for number in everyone
            if accepted
            or self._give_up_after is None
            or self._drawn[number][prompt] < self._give_up_after
        ]
        # None is able where the one sample taken for accepted was rejected in the middle of a wave.
        return min(able or everyone, key=lambda n: self._price_per_row(n, source, prompt))

    def start(self, ticket: Ticket) -> None:
        """Note a sample in flight."""
        self._drawn[ticket.level][ticket.prompt] += 1
        for record in self._accounts(ticket):
            record.flying += 1

    def end(self, ticket: Ticket, accepted: bool, tokens: int, prompt_tokens: int) -> float:
        """Note the result of a sample in flight. Returns its price, in millionths."""
        for record in self._accounts(ticket):
            record.flying -= 1
        return self._note(ticket, accepted, tokens, prompt_tokens)

    def restore(self, ticket: Ticket, accepted: bool, tokens: int, prompt_tokens: int) -> float:
        """Note a sample of an earlier process. Returns its price, in millionths."""
        if ticket.level == UNKNOWN:
            return 0.0
        self._drawn[ticket.level][ticket.prompt] += 1
        return self._note(ticket, accepted, tokens, prompt_tokens)

    def settle(self, ticket: Ticket, accepted: bool) -> None:
        """Note the verdict of a sample that was taken for accepted."""
        if not accepted:
            self._hits[ticket.level][ticket.prompt] -= 1
            self._misses[ticket.level][ticket.prompt] += 1
            for record in self._accounts(ticket):
                record.accepted -= 1

    def expected_spending(self) -> float:
        """Return the price of all samples in flight, at the mean price of their teacher."""
        return sum(
            total.flying * self._mean_price(number, total)
            for number, total in enumerate(self._totals)
        )

    def _note(self, ticket: Ticket, accepted: bool, tokens: int, prompt_tokens: int) -> float:
        counts = self._hits if accepted else self._misses
        counts[ticket.level][ticket.prompt] += 1
        for record in self._accounts(ticket):
            record.ended += 1
            record.accepted += accepted
            if tokens:
                record.answered += 1
                record.tokens += tokens
                record.prompt_tokens += prompt_tokens
        return self._teachers[ticket.level].prices.cost(tokens, prompt_tokens)

    def _accounts(self, ticket: Ticket) -> tuple[_Record, _Record]:
        own = self._record(ticket.level, self._source_of[ticket.prompt])
        return own, self._totals[ticket.level]

    def _record(self, number: int, source: int) -> _Record:
        return self._records.setdefault((number, source), _Record())

    def _price_per_row(self, number: int, source: int, prompt: int) -> float:
        record = self._record(number, source)
        seen = record.ended + record.flying + 2
        rate = (record.accepted + 1) / seen
        rate = min(1.0, rate + OPTIMISM * sqrt(rate * (1 - rate) / seen))
        hits, misses = self._hits[number][prompt], self._misses[number][prompt]
        own = (PRIOR_WEIGHT * rate + hits) / (PRIOR_WEIGHT + hits + misses)
        return self._mean_price(number, record) / own

    def _mean_price(self, number: int, record: _Record) -> float:
        """Return the mean price of a sample. Before there is one, its length is that of all."""
        answered = sum(total.answered for total in self._totals)
        tokens, prompt = float(self._most_tokens), 0.0
        if answered:
            tokens = sum(total.tokens for total in self._totals) / answered
            prompt = sum(total.prompt_tokens for total in self._totals) / answered
        weight = record.answered + 1
        return self._teachers[number].prices.cost(
            (record.tokens + tokens) / weight, (record.prompt_tokens + prompt) / weight
        )
