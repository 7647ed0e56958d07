"""Who promises most: the order of prompts under a budget.

Prompts of one source with the same record (so many accepted, so many not) are alike, so what came
of the samples drawn at a record is the posterior success rate there, whatever shape the pass rates
have. Where few were drawn yet, a Beta prior stands in: its mean is the source's own rate of first
samples, its weight one sample, for pass rates pile up at 0 and at 1. To the rate comes a bonus for
what is not known yet (UCB: Auer et al., Machine Learning 47, 2002), and it is divided by the tokens
a sample costs at that record, since failures on hard prompts run long. With many more prompts than
samples for each, being greedy on such an index is as good as it gets (Bayati et al., "Unreasonable
effectiveness of greedy algorithms in multi-armed bandit with many arms", NeurIPS 2020).

Nothing is random: the same verdicts in the same order give the same choices.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import sqrt
from typing import TYPE_CHECKING

from factory.sampling.scheduling.prompt_state import Book, Ticket, bits

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling

PRIOR_WEIGHT = 1.0
"""Samples that a source's mean counts for beside a prompt's own: Beta(m, 1 - m) is U-shaped."""

RECORD_WEIGHT = 20.0
"""Samples that the Beta posterior counts for beside what was seen at the same record."""

OPTIMISM = 0.5
"""Standard deviations that are added to a rate."""

FAR_MORE = 1e6
"""What a first row is worth under `covered`: further rows come after every prompt without one."""

RANK_EVERY = 32
"""Verdicts after which all records are ranked anew, or four times the number of records: a ranking
must not cost more than the choices it serves. At first, when each verdict says much, sooner."""


@dataclass(slots=True)
class _Source:
    """One source's first samples, for the prior, and the tokens of all its samples."""

    firsts: int = 0
    first_hits: int = 0
    timed: int = 0
    tokens: int = 0


@dataclass(slots=True, eq=False)
class _Record:
    """Prompts that are alike, and what came of samples drawn when they were."""

    number: int
    source: _Source
    accepted: int
    failed: int
    waiting: deque[int] = field(default_factory=deque)
    listed: bool = False
    draws: int = 0
    hits: int = 0
    timed: int = 0
    tokens: int = 0


class Bandit:
    """The `budget` policy. A sample in flight counts as failed until it is judged, which keeps many
    engines from all trying the same prompt at once."""

    def __init__(self, book: Book, options: Sampling, sources: Sequence[int] | None) -> None:
        assert options.budget is not None  # the schema asks for it
        self._book, self._options, self._budget = book, options, options.budget
        self._source_of = array("H", bytes(2 * book.prompts))
        if sources is not None:
            self._source_of = array("H", iter(sources))  # bytes would be read as a buffer
        self._enough = options.accept or options.n
        if self._budget.objective == "covered" and options.accept is None:
            self._enough = 1
        self._by_tokens = bool(self._budget.tokens or self._budget.gpu_hours or self._budget.money)
        self._token_limit = self._budget.token_limit(options.prices)
        self._hour_limit = self._budget.gpu_hour_limit(options.prices)
        covering = self._budget.objective == "covered"
        self._first_row = FAR_MORE if covering else self._budget.first_row
        self._sources: dict[int, _Source] = {}
        self._records: dict[tuple[int, int, int], _Record] = {}
        self._where: list[_Record | None] = [None] * book.prompts
        self._drawn_at: dict[tuple[int, int], _Record] = {}
        self._line: list[tuple[float, int, _Record]] = []  # a heap: most promising first
        self._verdicts = 0  # since the last ranking
        self._started = False
        self.samples = self.tokens = 0  # spent, by tickets that ended
        self._timed = 0
        self.gpu_hours = 0.0

    def restore(self, prompt: int, held: int, accepted: int) -> None:
        """Learn from an interrupted prompt's samples, in the order of their indices."""
        hits = failures = 0
        for index in bits(held):
            hit = bool(accepted >> index & 1)
            self._note(self._record(self._source_of[prompt], hits, failures), hit)
            hits, failures = hits + hit, failures + (not hit)
        self.samples += hits + failures

    def spend(self, samples: int, tokens: int) -> None:
        """Count tokens of an earlier process."""
        self.tokens += tokens
        self._timed += samples

    def next(self) -> Ticket | None:
        """The next sample to draw; None while the budget is spent, or may be by those in flight."""
        if not self._started:
            self._started = True
            for prompt in range(self._book.prompts):
                self._line_up(prompt)
        if self._exhausted():
            return None
        if self._verdicts > min(self.samples // 8, max(RANK_EVERY, 4 * len(self._records))):
            self._rank()
        while self._line:
            record = self._line[0][2]
            if not record.waiting:
                heappop(self._line)
                record.listed = False
                continue
            prompt = record.waiting.popleft()
            if self._where[prompt] is not record:
                continue  # it moved on while it waited here
            index = self._book.free(prompt, self._options.n)
            accepted = self._book.accepted[prompt]
            failed = self._book.ended[prompt] - accepted
            self._drawn_at[prompt, index] = self._record(self._source_of[prompt], accepted, failed)
            self._book.take(prompt, index)
            self._line_up(prompt)
            return Ticket(prompt, index)
        return None

    def learn(self, ticket: Ticket, accepted: bool, tokens: int | None) -> bool:
        """Take a verdict; true if it made the prompt's samples in flight superfluous."""
        record = self._drawn_at.pop((ticket.prompt, ticket.index))
        spent = self._options.max_tokens if tokens is None else tokens
        self._note(record, accepted)
        for account in (record, record.source):
            account.timed += 1
            account.tokens += spent
        self.samples, self.tokens = self.samples + 1, self.tokens + spent
        self._timed += 1
        self._verdicts += 1
        self._line_up(ticket.prompt)
        return accepted and self._book.accepted[ticket.prompt] == self._enough

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
        # What is in flight is expected to cost the mean; before there is one, the most it can.
        mean = self.tokens / self._timed if self._timed else self._options.max_tokens
        return self.tokens + in_flight * mean >= self._token_limit

    def _line_up(self, prompt: int) -> None:
        """Let a prompt wait at its present record, if it is to have more samples."""
        book, options = self._book, self._options
        accepted = book.accepted[prompt]
        in_flight = book.open.get(prompt, 0).bit_count()
        failed = book.ended[prompt] - accepted + in_flight
        hopeless = (
            options.give_up_after is not None and not accepted and failed >= options.give_up_after
        )
        if (
            hopeless
            or accepted >= self._enough
            or in_flight >= options.wave
            or book.free(prompt, options.n) < 0
        ):
            self._where[prompt] = None
            return
        record = self._record(self._source_of[prompt], accepted, failed)
        if self._where[prompt] is record:
            return
        self._where[prompt] = record
        record.waiting.append(prompt)
        if not record.listed:
            self._list(record)

    def _record(self, source: int, accepted: int, failed: int) -> _Record:
        key = (source, accepted, failed)
        record = self._records.get(key)
        if record is None:
            owner = self._sources.setdefault(source, _Source())
            record = self._records[key] = _Record(len(self._records), owner, accepted, failed)
        return record

    def _list(self, record: _Record) -> None:
        record.listed = True
        heappush(self._line, (-self._promise(record), record.number, record))

    def _rank(self) -> None:
        self._line.clear()
        for record in self._records.values():
            record.listed = False
            if record.waiting:
                self._list(record)
        self._verdicts = 0

    def _promise(self, record: _Record) -> float:
        """What a sample drawn at this record is expected to bring for what it costs."""
        source = record.source
        prior = (source.first_hits + 1) / (source.firsts + 2)
        seen = PRIOR_WEIGHT + record.accepted + record.failed
        posterior = (PRIOR_WEIGHT * prior + record.accepted) / seen
        weight = RECORD_WEIGHT + record.draws
        rate = (RECORD_WEIGHT * posterior + record.hits) / weight
        rate += OPTIMISM * sqrt(rate * (1 - rate) / weight)
        worth = 1.0 if record.accepted else self._first_row
        if not self._by_tokens:
            return worth * rate
        overall = self.tokens / self._timed if self._timed else 1.0
        mean = (source.tokens + overall) / (source.timed + 1)
        cost = (RECORD_WEIGHT * mean + record.tokens) / (RECORD_WEIGHT + record.timed)
        return worth * rate / max(cost, 1.0)
