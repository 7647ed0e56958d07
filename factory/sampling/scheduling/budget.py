"""The `budget` policy: draws the next sample from the prompt with the highest expected value.

Prompts of one source with the same record (equal numbers of accepted and failed samples) are
treated as alike. The success rate at a record is estimated from the samples drawn there, whatever
the distribution of pass rates. Where few samples exist, a Beta prior is used. Its mean is the
source's success rate of first samples. Its weight is one sample, because pass rates cluster at 0
and at 1. An optimism bonus is added (UCB: Auer et al., Machine Learning 47, 2002). The result is
divided by the mean tokens per sample at that record, because failures on hard prompts run long.
With many more prompts than samples per prompt, a greedy choice on such an index is near optimal
(Bayati et al., "Unreasonable effectiveness of greedy algorithms in multi-armed bandit with many
arms", NeurIPS 2020).

The choices are deterministic: they depend on the verdicts and their order only.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import sqrt
from typing import TYPE_CHECKING

from factory.sampling.scheduling.prompt_state import PromptState, Ticket, set_bits

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling
    from factory.sampling.scheduling.teachers import Teachers

PRIOR_WEIGHT = 1.0
"""Weight of the source's mean, in samples of the prompt: Beta(m, 1 - m) is U-shaped."""

RECORD_WEIGHT = 20.0
"""Weight of the Beta posterior, in samples drawn at the same record."""

OPTIMISM = 0.5
"""Standard deviations added to a rate as the optimism bonus."""

FAR_MORE = 1e6
"""Value of a first row under `covered`: prompts without a row come before all others."""

RANK_EVERY = 32
"""Verdicts between two rankings of all records, or four times the number of records if that is
more, so that ranking stays cheap. Early rankings are more frequent, as each verdict says more."""


@dataclass(slots=True)
class _Source:
    """Totals of one source: first samples (for the prior), and the cost of all samples."""

    firsts: int = 0
    first_hits: int = 0
    timed: int = 0
    cost: float = 0.0


@dataclass(slots=True, eq=False)
class _Record:
    """Prompts with the same counts, and totals of the samples drawn at those counts."""

    number: int
    source: _Source
    accepted: int
    failed: int
    waiting: deque[int] = field(default_factory=deque)
    listed: bool = False
    draws: int = 0
    hits: int = 0
    timed: int = 0
    cost: float = 0.0


class Bandit:
    """The `budget` policy.

    A sample in flight counts as failed until it is judged. This keeps many engines from trying
    the same prompt at once. The cost of a sample is its tokens, or with several teachers its price
    in millionths.
    """

    def __init__(
        self,
        state: PromptState,
        options: Sampling,
        sources: Sequence[int] | None,
        teachers: Teachers | None = None,
    ) -> None:
        assert options.budget is not None  # the schema requires it
        self._state, self._options, self._budget = state, options, options.budget
        self._source_of = array("H", bytes(2 * state.prompts))
        if sources is not None:
            self._source_of = array("H", iter(sources))  # bytes would be read as a buffer
        self._enough = options.accept or options.n
        if self._budget.objective == "covered" and options.accept is None:
            self._enough = 1
        self._by_tokens = bool(self._budget.tokens or self._budget.gpu_hours or self._budget.money)
        self._token_limit = self._budget.token_limit(options.prices)
        self._teachers = teachers
        self._attempts = options.give_up_after and options.give_up_after * max(
            1, len(options.teachers)
        )
        self._price_limit = 1e6 * (self._budget.money or float("inf"))
        self._hour_limit = self._budget.gpu_hour_limit(options.prices)
        covering = self._budget.objective == "covered"
        self._first_row = FAR_MORE if covering else self._budget.first_row
        self._sources: dict[int, _Source] = {}
        self._records: dict[tuple[int, int, int], _Record] = {}
        self._where: list[_Record | None] = [None] * state.prompts
        self._drawn_at: dict[tuple[int, int], _Record] = {}
        self._queue: list[tuple[float, int, _Record]] = []  # a heap: highest score first
        self._verdicts = 0  # since the last ranking
        self._started = False
        self.samples = self.tokens = 0  # of tickets that ended
        self._timed = 0
        self._cost = 0.0
        self.gpu_hours = 0.0

    def restore(self, prompt: int, held: int, accepted: int) -> None:
        """Learn from an interrupted prompt's samples, in the order of their indices (bit masks)."""
        hits = failures = 0
        for index in set_bits(held):
            hit = bool(accepted >> index & 1)
            self._note(self._record(self._source_of[prompt], hits, failures), hit)
            hits, failures = hits + hit, failures + (not hit)
        self.samples += hits + failures

    def spend(self, samples: int, tokens: int, price: float) -> None:
        """Add the samples and tokens of an earlier process, and what they cost with teachers."""
        self.tokens += tokens
        self._timed += samples
        self._cost += tokens if self._teachers is None else price

    def take_up(self, prompt: int, index: int) -> bool:
        """Go on with a sample that an earlier process asked for, if the prompt has not enough."""
        accepted = self._state.accepted[prompt]
        if accepted >= self._enough:
            return False
        failed = self._state.ended[prompt] - accepted
        self._drawn_at[prompt, index] = self._record(self._source_of[prompt], accepted, failed)
        self._state.take_up(prompt, index)
        return True

    def next(self) -> Ticket | None:
        """Return the next sample to draw, or None if samples in flight may use up the budget."""
        if not self._started:
            self._started = True
            for prompt in range(self._state.prompts):
                self._enqueue(prompt)
        if self._exhausted():
            return None
        if self._verdicts > min(self.samples // 8, max(RANK_EVERY, 4 * len(self._records))):
            self._rank()
        while self._queue:
            record = self._queue[0][2]
            if not record.waiting:
                heappop(self._queue)
                record.listed = False
                continue
            prompt = record.waiting.popleft()
            if self._where[prompt] is not record:
                continue  # its counts changed while it was queued here
            index = self._state.next_index(prompt, self._options.n)
            accepted = self._state.accepted[prompt]
            failed = self._state.ended[prompt] - accepted
            self._drawn_at[prompt, index] = self._record(self._source_of[prompt], accepted, failed)
            self._state.reserve(prompt, index)
            self._enqueue(prompt)
            return Ticket(prompt, index)
        return None

    def learn(
        self, ticket: Ticket, accepted: bool, tokens: int | None, price: float | None
    ) -> bool:
        """Record a verdict. Returns True if the prompt's samples in flight are no longer needed."""
        record = self._drawn_at.pop((ticket.prompt, ticket.index))
        spent = self._options.max_tokens if tokens is None else tokens
        self._note(record, accepted)
        cost = spent if price is None else price
        for account in (record, record.source):
            account.timed += 1
            account.cost += cost
        self.samples, self.tokens = self.samples + 1, self.tokens + spent
        self._cost += cost
        self._timed += 1
        self._verdicts += 1
        self._enqueue(ticket.prompt)
        return accepted and self._state.accepted[ticket.prompt] == self._enough

    def _note(self, record: _Record, hit: bool) -> None:
        record.draws += 1
        record.hits += hit
        if not record.accepted and not record.failed:
            record.source.firsts += 1
            record.source.first_hits += hit

    def _exhausted(self) -> bool:
        in_flight = len(self._drawn_at)
        samples = self._budget.samples
        if samples is not None and self.samples + in_flight >= samples:
            return True
        if self.gpu_hours >= self._hour_limit:
            return True
        if self._teachers is not None:
            expected = self._cost + self._teachers.expected_spending()
            if expected >= self._price_limit:
                return True
        # Expected cost of a sample in flight: the mean, or the maximum as long as there is none.
        mean = self.tokens / self._timed if self._timed else self._options.max_tokens
        return self.tokens + in_flight * mean >= self._token_limit

    def _enqueue(self, prompt: int) -> None:
        """Queue a prompt at its current record if it may get more samples."""
        state, options = self._state, self._options
        accepted = state.accepted[prompt]
        in_flight = state.open.get(prompt, 0).bit_count()
        failed = state.ended[prompt] - accepted + in_flight
        hopeless = self._attempts is not None and not accepted and failed >= self._attempts
        if (
            hopeless
            or accepted >= self._enough
            or in_flight >= options.wave
            or state.next_index(prompt, options.n) < 0
        ):
            self._where[prompt] = None
            return
        record = self._record(self._source_of[prompt], accepted, failed)
        if self._where[prompt] is record:
            return
        self._where[prompt] = record
        record.waiting.append(prompt)
        if not record.listed:
            self._push(record)

    def _record(self, source: int, accepted: int, failed: int) -> _Record:
        key = (source, accepted, failed)
        record = self._records.get(key)
        if record is None:
            owner = self._sources.setdefault(source, _Source())
            record = self._records[key] = _Record(len(self._records), owner, accepted, failed)
        return record

    def _push(self, record: _Record) -> None:
        record.listed = True
        heappush(self._queue, (-self._score(record), record.number, record))

    def _rank(self) -> None:
        self._queue.clear()
        for record in self._records.values():
            record.listed = False
            if record.waiting:
                self._push(record)
        self._verdicts = 0

    def _score(self, record: _Record) -> float:
        """Return the expected value of a sample at this record per unit of cost."""
        source = record.source
        prior = (source.first_hits + 1) / (source.firsts + 2)
        seen = PRIOR_WEIGHT + record.accepted + record.failed
        posterior = (PRIOR_WEIGHT * prior + record.accepted) / seen
        weight = RECORD_WEIGHT + record.draws
        rate = (RECORD_WEIGHT * posterior + record.hits) / weight
        rate += OPTIMISM * sqrt(rate * (1 - rate) / weight)
        value = 1.0 if record.accepted else self._first_row
        if not self._by_tokens:
            return value * rate
        overall = self._cost / self._timed if self._timed else 1.0
        mean = (source.cost + overall) / (source.timed + 1)
        cost = (RECORD_WEIGHT * mean + record.cost) / (RECORD_WEIGHT + record.timed)
        return value * rate / max(cost, 1.0)
