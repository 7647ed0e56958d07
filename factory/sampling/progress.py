"""Progress of a build: a live view on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from factory.core.nouns import PENDING
from factory.sampling.accounting import OUTCOMES, Ledger, classify_outcome
from factory.sampling.engine import Worker
from factory.sampling.notebook import NotebookDisplay

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""

LOG_SECONDS = 2.0
"""Seconds between two throughput events in the run's log."""

MOST_SOURCES = MOST_WORKERS = 12
"""Rows per table in the live view: the sources with the most tokens, the slowest workers."""

MOST_NAMED = 4
"""Workers that are down, by name in a plain line."""


class Progress:
    """Counts samples and verdicts of a build and shows them on stderr."""

    def __init__(self, console: Console, total: int | None) -> None:
        self.console, self.total = console, total
        self.samples = self.tokens = self.judged = self.accepted = 0
        self.postponed = 0  # samples that are judged after sampling
        self.ledger = Ledger()
        self.reasons: Counter[str] = Counter()
        self.started = time.monotonic()
        self._shown = self._logged = self.started
        self._live: Live | NotebookDisplay | None = None
        if console.is_terminal or console.is_jupyter:
            columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn())
            self._bar = RichProgress(*columns, TextColumn("{task.fields[facts]}"))
            self._task = self._bar.add_task("sampling", total=total, facts="starting the engine")
            self._live = (
                NotebookDisplay(self._bar)
                if console.is_jupyter
                else Live(self._bar, console=console, transient=True, refresh_per_second=4)
            )
            self._live.start()
        else:
            self.say("starting the engine")

    def engine_ready(self) -> None:
        """Start the clock of the rates: loading a model does not count as sampling."""
        loading, self.started = time.monotonic() - self.started, time.monotonic()
        if self._live is None:
            self.say(f"the engine is ready after {loading:.0f} s")

    def count_sample(self, tokens: int) -> None:
        self.samples += 1
        self.tokens += tokens

    def count_verdict(
        self, source: str, decision: str, reason: str | None, finish_reason: str, tokens: int
    ) -> None:
        self.judged += 1
        self.accepted += decision == "keep"
        self.ledger.add(source, classify_outcome(decision, finish_reason), tokens)
        if reason is not None:
            self.reasons[reason] += 1

    def count_late_verdict(self, decision: str, reason: str | None) -> None:
        """Count the verdict of a sample that was pending. Its tokens stay those of an undecided
        one."""
        self.accepted += decision == "keep"
        self.reasons[PENDING] -= self.reasons[PENDING] > 0
        if reason is not None:
            self.reasons[reason] += 1

    def tick(
        self, log: Callable[[dict[str, float]], None], workers: Callable[[], list[Worker]]
    ) -> None:
        """Update the display and call `log` with the throughput, each when it is due."""
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            counts = ("samples", "tokens", "judged", "accepted")
            log({name: getattr(self, name) for name in counts})
        if self._live is not None:
            if now - self._shown >= 1 / self._live.refresh_per_second:
                self._shown = now
                self._bar.update(self._task, completed=self.samples, facts=", ".join(self.facts()))
                self._live.update(Group(self._bar, self.account(), *workers_table(workers())))
        elif now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            parts = [f"{self.samples}/{self.total or '?'} samples", *self.facts(), *self.waste()]
            self.say(", ".join([*parts, *workers_line(workers())]))

    def facts(self) -> Iterator[str]:
        """Yield tokens/s, accepted samples and their cost, the most frequent reasons, time left."""
        seconds = time.monotonic() - self.started
        if not self.samples:  # an engine reports a sample when it is finished
            yield f"generating the first samples for {seconds:.0f} s"
            return
        yield f"{self.tokens / max(seconds, 1e-9):,.0f} tokens/s"
        accepted = f"{self.accepted} accepted"
        if self.accepted:
            tokens, time_each = self.tokens / self.accepted, seconds / self.accepted
            accepted += f" ({tokens:,.0f} tokens, {time_each:.2g} s each)"
        yield accepted
        for reason, count in self.reasons.most_common(3):
            yield f"{reason} {count}"
        if self.postponed:
            yield f"{self.postponed:,} to be judged after sampling"
        if self.total and self.samples:
            left = seconds * (self.total - self.samples) / self.samples
            yield f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"

    def waste(self) -> Iterator[str]:
        """Yield the share of judged tokens spent on each outcome but `accepted`."""
        _, tokens = self.ledger.totals()
        for outcome in OUTCOMES[1:]:
            if tokens[outcome]:
                share, name = tokens[outcome] / tokens.total(), outcome.replace("_", " ")
                yield f"{share:.0%} of tokens {name}"

    def account(self) -> Table:
        """Return a table of judged tokens by source and outcome, and tokens per accepted sample."""
        table = Table(box=None, header_style="dim")
        table.add_column("source")
        titles = [f"{outcome.replace('_', ' ')} tokens" for outcome in OUTCOMES]
        for title in ("accepted", *titles, "tokens each"):
            table.add_column(title, justify="right")
        samples, tokens = self.ledger.samples, self.ledger.tokens
        sources = sorted(tokens, key=lambda source: -tokens[source].total())
        for source in sources[:MOST_SOURCES]:
            table.add_row(source, *_row(samples[source], tokens[source]))
        if len(sources) > 1:
            table.add_row("all", *_row(*self.ledger.totals()), style="bold")
        return table

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        if self._live is not None:
            self._bar.update(self._task, completed=self.samples, facts=", ".join(self.facts()))
            self._live.update(Group(self._bar, self.account()))
            self._live.stop()


def workers_table(workers: Sequence[Worker]) -> Iterator[Table]:
    """Yield a table of endpoints or replicas: those that are down first, then the slowest."""
    if not workers:
        return
    table = Table(box=None, header_style="dim")
    table.add_column("endpoint or replica")
    for title in ("tokens/s", "in flight", "of", "samples", "faults"):
        table.add_column(title, justify="right")
    for worker in sorted(workers, key=lambda w: (w.up, w.tokens_per_s))[:MOST_WORKERS]:
        speed = f"{worker.tokens_per_s:,.0f}" if worker.up else "down"
        faults = ", ".join(f"{count} {kind}" for kind, count in worker.faults.items())
        counts = (str(worker.in_flight), str(worker.limit), f"{worker.samples:,}")
        table.add_row(worker.place, speed, *counts, faults)
    if len(workers) > MOST_WORKERS:
        table.add_row(f"and {len(workers) - MOST_WORKERS} more", style="dim")
    yield table


def workers_line(workers: Sequence[Worker]) -> Iterator[str]:
    """Yield what a line says of the workers: how many are up, how fast, and which were lost."""
    speeds = sorted(worker.tokens_per_s for worker in workers if worker.up)
    if len(workers) > 1 and speeds:
        yield f"{len(speeds)} of {len(workers)} up at {speeds[0]:,.0f}-{speeds[-1]:,.0f} tokens/s"
    down = [worker.place for worker in workers if not worker.up and (worker.host or worker.samples)]
    if down:
        more = f" and {len(down) - MOST_NAMED} more" if len(down) > MOST_NAMED else ""
        yield f"down: {', '.join(down[:MOST_NAMED])}{more}"


def _row(samples: Counter[str], tokens: Counter[str]) -> Iterator[str]:
    accepted = samples["accepted"]
    yield f"{accepted:,}"
    yield from (f"{tokens[outcome]:,}" for outcome in OUTCOMES)
    yield f"{tokens.total() / accepted:,.0f}" if accepted else "–"
