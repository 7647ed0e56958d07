"""The sampling loop: keeps an engine fed, makes every sample durable, learns from each verdict."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple, Protocol

from factory.core.errors import Stopped
from factory.core.nouns import Failure, Judged, Prompt, Sample
from factory.core.run_dir import RunDir, engine_seconds
from factory.core.stop_signals import interrupts
from factory.sampling.engine import Engine, Request, open_engine
from factory.sampling.engines.placement import gpus_of
from factory.sampling.progress import Progress
from factory.sampling.scheduling.scheduler import Scheduler, Ticket

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.recipe.engine import EngineSpec

MAX_UNJUDGED = 4096
"""Samples that may wait for the judge before the loop waits for it: bounds memory."""

WORKERS_SECONDS = 30.0
"""Between two entries of the log on what each endpoint or replica has done."""


class Judge(Protocol):
    """Judges samples while the engine draws more. The loop knows no more of judging than this."""

    error: str | None
    """Why judging fails; None while it works."""

    def put(self, sample: Sample) -> None:
        """Queue a finished sample for judging."""

    def collect(self, wait: float = 0.0) -> list[Judged]:
        """The verdicts that are ready; waits up to `wait` seconds for the first."""

    def sealed(self, part: str) -> None:
        """A part of the log became durable. Called from the journal's thread."""

    def close(self) -> None:
        """Save what was measured, and end."""


def drive(
    spec: EngineSpec,
    run: RunDir,
    prompts: pa.Table,
    scheduler: Scheduler,
    first: Ticket,
    progress: Progress,
    judge: Judge,
) -> None:
    """Draw `first` and all that `scheduler` wants of `prompts` after it. Closes `judge`.

    Raises EngineError, StorageError or Stopped; whatever ends it, what had finished is sealed.
    """
    start = run.manifest.get("engine_starts", 0)
    run.save_manifest(engine_starts=start + 1)  # before the engine: its seed must never repeat
    run.on_seal = judge.sealed
    engine = clock = None
    try:
        engine = open_engine(spec, run.path, start)
        spent = engine_seconds(run.path)
        run.event("engine_started", start=start)
        progress.engine_ready()
        clock = _Clock(scheduler, spent, gpus_of(spec))
        with interrupts(first_only=True) as interrupted:
            _Loop(engine, run, prompts, scheduler, first, judge, progress, clock).turn(interrupted)
        if interrupted:
            raise Stopped(run.path)
    finally:
        progress.close()
        with ExitStack() as ending:  # each is done whatever the one before it raises; last first
            ending.callback(_log_end, run, progress, clock, engine)
            ending.callback(judge.close)
            ending.callback(run.seal)
            if engine is not None:
                ending.callback(_let_go, engine, run, progress)


def _let_go(engine: Engine, run: RunDir, progress: Progress) -> None:
    try:
        engine.close()
    except Exception as error:
        # A lost engine may well fail once more here, which must not hide what it was lost of.
        run.event("engine_not_closed", why=f"{type(error).__name__}: {error}")
        progress.say(f"the engine did not close: {error}")


def _log_end(run: RunDir, progress: Progress, clock: _Clock | None, engine: Engine | None) -> None:
    facts = {"samples": progress.samples, "tokens": progress.tokens}
    seconds = clock.seconds if clock else 0.0
    workers = [asdict(worker) for worker in engine.workers()] if engine else []
    run.event("engine_stopped", **facts, seconds=seconds, workers=workers)


class _Clock:
    """How long this engine has sampled; tells the scheduler, which has no clock, the GPU-hours of
    the whole run."""

    def __init__(self, scheduler: Scheduler, spent_seconds: float, gpus: int) -> None:
        self._scheduler, self._spent, self._gpus = scheduler, spent_seconds, gpus
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def tell(self) -> None:
        self._scheduler.elapsed(self._gpus * (self._spent + self.seconds) / 3600)


class _Drawn(NamedTuple):
    """What is kept of a sample until its verdict comes."""

    ticket: Ticket
    tokens: int
    finish_reason: str


class _Loop:
    """What is under way: in the engine, and then with the judge."""

    def __init__(
        self,
        engine: Engine,
        run: RunDir,
        prompts: pa.Table,
        scheduler: Scheduler,
        first: Ticket,
        judge: Judge,
        progress: Progress,
        clock: _Clock,
    ) -> None:
        self.clock = clock
        self.engine, self.run, self.prompts = engine, run, prompts
        self.sources = prompts["source"].combine_chunks()
        self.at_hand: tuple[int, Prompt] | None = None
        self.scheduler, self.judge, self.progress = scheduler, judge, progress
        self.first: Ticket | None = first
        self.in_flight: dict[str, Ticket] = {}
        self.unjudged: dict[str, _Drawn] = {}
        self.told_error = False
        self.told_workers = 0.0

    def turn(self, interrupted: list[int]) -> None:
        """Until nothing is left to draw or to judge, or a signal came in."""
        while not interrupted:
            self.clock.tell()
            if not (self.feed() or self.in_flight or self.unjudged):
                return  # asked after feeding: the last verdict may have made another wave due
            self.take()
            self.learn()
            self.progress.tick(self.log, self.engine.workers)

    def log(self, facts: dict[str, float]) -> None:
        """A throughput event; occupancy is the share of the engine's places that are taken.

        What each worker did is a longer line, and told less often: a killed build has it too.
        """
        if self.clock.seconds - self.told_workers >= WORKERS_SECONDS:
            self.told_workers = self.clock.seconds
            workers = [asdict(worker) for worker in self.engine.workers()]
            if workers:
                self.run.event("workers", workers=workers)
        occupancy = round(len(self.in_flight) / max(1, self.engine.capacity), 3)
        self.run.event("throughput", **facts, occupancy=occupancy, seconds=self.clock.seconds)

    def feed(self) -> bool:
        """Fill the engine: requests enter as others end. True if any entered."""
        fed = False
        while len(self.in_flight) < self.engine.capacity:
            ticket, self.first = self.first or self.scheduler.next(), None
            if ticket is None:
                break
            request = Request(self.prompt(ticket.prompt), ticket.index, ticket.level)
            self.in_flight[request.sample_id] = ticket
            self.engine.submit(request)
            fed = True
        return fed

    def prompt(self, number: int) -> Prompt:
        """A prompt by its number. Its samples come in a row, and reading one takes a millisecond,
        or far longer where it brings its tests: so the last is kept."""
        if self.at_hand is None or self.at_hand[0] != number:
            (row,) = self.prompts.slice(number, 1).to_pylist()
            self.at_hand = number, Prompt.from_row(row)
        return self.at_hand[1]

    def take(self) -> None:
        """Take in what has finished: durable first."""
        for outcome in self.engine.completed():
            ticket = self.in_flight.pop(outcome.sample_id)
            if isinstance(outcome, Sample):
                self.run.append(outcome)
                self.judge.put(outcome)
                drawn = _Drawn(ticket, outcome.n_tokens, outcome.finish_reason)
                self.unjudged[outcome.sample_id] = drawn
                self.progress.sampled(outcome.n_tokens)
            else:
                self.give_up(outcome, ticket)

    def give_up(self, failure: Failure, ticket: Ticket) -> None:
        """A request that gave no sample; a later process tries again what may then succeed."""
        if failure.retryable:
            self.run.event("failure", sample=failure.sample_id, failure=failure.kind)
        else:
            self.run.record_failure(failure)
        self.scheduler.fail(ticket)

    def learn(self) -> None:
        """Then learn: is it enough, is it hopeless, is there one more to draw?"""
        may_wait = not self.in_flight or len(self.unjudged) > MAX_UNJUDGED
        for verdict in self.judge.collect(0.2 if may_wait else 0.0):
            ticket, tokens, finish_reason = self.unjudged.pop(verdict.sample_id)
            self.scheduler.learn(ticket, verdict.decision == "keep", tokens)
            source = str(self.sources[ticket.prompt])
            self.progress.judged(source, verdict.decision, verdict.reason, finish_reason, tokens)
        if self.judge.error and not self.told_error:
            self.told_error = True
            self.progress.say(f"judging fails; sampling goes on without it. {self.judge.error}")
        surplus = set(self.scheduler.surplus())
        if surplus:
            self.engine.abort(name for name, t in self.in_flight.items() if t in surplus)
