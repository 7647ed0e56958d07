"""The sampling loop: feeds an engine, stores each sample, passes verdicts to the scheduler."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from factory.core.errors import EngineError, RunError, Stopped
from factory.core.nouns import PENDING, Failure, Judged, Prompt, Sample, sample_id
from factory.core.parallel import cores
from factory.core.run_dir import RunDir, engine_seconds
from factory.core.stop_signals import collect_signals
from factory.environments.host import EnvironmentHost
from factory.sampling.engine import Engine, Request, open_engine
from factory.sampling.engines.placement import count_gpus
from factory.sampling.episodes import EpisodeEngine, step_limits
from factory.sampling.progress import Progress
from factory.sampling.scheduling.scheduler import Scheduler, Ticket
from factory.sampling.search.engine import SearchEngine
from factory.sampling.search.node_log import NodeLog
from factory.sampling.search.values import check_value
from factory.sampling.teachers import TeacherEngine
from factory.sampling.turn_log import TurnLog

if TYPE_CHECKING:
    import pyarrow as pa

    from factory.recipe.engine import EngineSpec

MAX_UNJUDGED = 4096
MAX_UNJUDGED_TEXT = 16 << 20
"""Samples that may wait for a verdict, and their characters per core. Bounds memory.

Beyond it, a policy that needs verdicts asks for no more samples until some arrive. Where none needs
them, the next samples are judged after sampling, and the engine waits for nobody.
"""

WITHOUT_REASONING = 32
"""First judged samples that all lack a think section until the user is warned."""

WORKERS_SECONDS = 30.0
"""Seconds between two log entries about the endpoints or replicas."""


_NONE: Mapping[str, Ticket] = {}


class Judge(Protocol):
    """Judges samples while the engine generates more. All the loop knows about judging."""

    error: str | None
    """Why judging fails, or None while it works."""
    notices: list[str]
    """What happened to the judge and was put right, oldest first. The loop takes them out."""

    def put(self, sample: Sample, prompt: int) -> None:
        """Queue a finished sample for judging. `prompt` is the number of its prompt."""

    def skip(self, sample: Sample) -> None:
        """Note a finished sample that is judged after sampling."""

    def collect(self, wait: float = 0.0) -> list[Judged]:
        """Return the verdicts that are ready. Waits up to `wait` seconds for the first one.

        A pending sample gets another verdict if that comes while samples are drawn.
        """

    def notify_sealed(self, part: str) -> None:
        """Note that a part of the journal became durable. Called from the journal's thread."""

    def close(self) -> None:
        """Save the measurements and stop."""


def drive(
    spec: EngineSpec,
    run: RunDir,
    prompts: pa.Table,
    scheduler: Scheduler,
    first: Ticket,
    progress: Progress,
    judge: Judge,
    pending: Mapping[str, Ticket] = _NONE,
) -> None:
    """Generate `first`, then every sample that `scheduler` asks for. Closes `judge` at the end.

    `pending` are samples of earlier processes, by id, whose verdicts may come.

    Raises EngineError, StorageError, Stopped, or ModelError for the model that values a search.
    Samples that had finished are sealed in all cases.
    """
    start = run.manifest.get("engine_starts", 0)
    run.save_manifest(engine_starts=start + 1)  # before the start: seeds must never repeat
    run.on_seal = judge.notify_sealed
    engine: Engine | None = None
    clock = turn_log = None
    try:
        if spec.sampling.search is not None:
            check_value(spec.sampling.search)
        engine = _open_engines(spec, run, start)
        if has_any(prompts, "environment"):
            turn_log = open_turn_log(run)
            host = EnvironmentHost(step_limits(spec.sampling))
            engine = EpisodeEngine(
                engine, host, turn_log, spec.sampling, run.event, _settings_by_teacher(spec)
            )
        if spec.sampling.search is not None:
            engine = SearchEngine(engine, spec, open_node_log(run))
        spent = engine_seconds(run.path)
        run.event("engine_started", start=start)
        progress.engine_ready()
        clock = _Clock(scheduler, spent, count_gpus(spec))
        with collect_signals(first_only=True) as interrupted:
            loop = _Loop(engine, run, prompts, scheduler, first, judge, progress, clock, spec)
            loop.pending |= pending
            loop.run_until(interrupted)
        if interrupted:
            raise Stopped(run.path)
        loop.report_unanswered()
    finally:
        progress.close()
        with ExitStack() as ending:  # runs all, last first, even if one raises
            ending.callback(_log_end, run, progress, clock, engine)
            ending.callback(judge.close)
            if turn_log is not None:
                ending.callback(turn_log.close)
            ending.callback(run.seal)
            if engine is not None:
                ending.callback(_close_engine, engine, run, progress)


def _open_engines(spec: EngineSpec, run: RunDir, start: int) -> Engine:
    several = bool(spec.sampling.teachers)
    return (TeacherEngine if several else open_engine)(spec, run.path, start)


def _settings_by_teacher(spec: EngineSpec) -> Callable[[Request], str] | None:
    """Return the fingerprint of a request's settings. None without teachers: they are known."""
    if not spec.sampling.teachers:
        return None
    return lambda request: spec.params_fp(request.level, request.variant(spec))


def has_any(prompts: pa.Table, name: str) -> bool:
    """Return whether any prompt has a value in a column, which an older run's table may lack."""
    return name in prompts.column_names and prompts[name].null_count < prompts.num_rows


def open_turn_log(run: RunDir) -> TurnLog:
    """Open the log of unfinished episodes, and note what is damaged in it."""
    drawn = [sample_id(name, index) for name, index, _ in run.read_drawn()]
    log = TurnLog(run.samples_dir, drawn)
    if log.damaged:
        run.event("turns_damaged", records=log.damaged)
    return log


def open_node_log(run: RunDir) -> NodeLog:
    """Open the log of the run's searches, and note what is damaged in it."""
    drawn = [sample_id(name, index) for name, index, _ in run.read_drawn()]
    log = NodeLog(run.samples_dir, drawn)
    if log.damaged:
        run.event("search_damaged", records=log.damaged)
    return log


def _close_engine(engine: Engine, run: RunDir, progress: Progress) -> None:
    try:
        engine.close()
    except Exception as error:
        # A dead engine may fail again here. That must not hide the first error.
        run.event("engine_not_closed", why=f"{type(error).__name__}: {error}")
        progress.say(f"the engine did not close: {error}")


def _log_end(run: RunDir, progress: Progress, clock: _Clock | None, engine: Engine | None) -> None:
    facts = {"samples": progress.samples, "tokens": progress.tokens}
    seconds = clock.seconds if clock else 0.0
    workers = [asdict(worker) for worker in engine.workers()] if engine else []
    run.event("engine_stopped", **facts, seconds=seconds, workers=workers)


def add_parent(sample: Sample, prompt: Prompt) -> Sample:
    """Return a sample with the sample that its prompt continues, if it does."""
    start = prompt.continues
    return sample if start is None else replace(sample, parent=start["parent"], cut=start["cut"])


class _Clock:
    """Measures sampling time and reports the GPU-hours of the whole run to the scheduler."""

    def __init__(self, scheduler: Scheduler, spent_seconds: float, gpus: int) -> None:
        self._scheduler, self._spent, self._gpus = scheduler, spent_seconds, gpus
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def update_scheduler(self) -> None:
        self._scheduler.set_gpu_hours(self._gpus * (self._spent + self.seconds) / 3600)


class _Drawn(NamedTuple):
    """What is kept of a sample until its verdict arrives."""

    ticket: Ticket
    tokens: int
    prompt_tokens: int
    finish_reason: str
    size: int
    """Characters of its text."""


class _Loop:
    """The samples in the engine and those that wait for a verdict."""

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
        spec: EngineSpec,
    ) -> None:
        self.clock = clock
        self.engine, self.run, self.prompts = engine, run, prompts
        self.sources = prompts["source"].combine_chunks()
        self.cached_prompt: tuple[int, Prompt] | None = None
        self.continues = has_any(prompts, "continues")
        self.scheduler, self.judge, self.progress = scheduler, judge, progress
        self.first: Ticket | None = first
        self.in_flight: dict[str, Ticket] = {}
        self.unjudged: dict[str, _Drawn] = {}
        self.unjudged_text = 0
        self.pending: dict[str, Ticket] = {}  # `until` goes on when their verdicts come
        self.reported_error = False
        self.server, self.policy = spec.engine.server, spec.sampling.policy
        self.by_verdict = spec.sampling.by_verdict
        self.think_seen = 0  # judged samples so far, while none had a think section; else -1
        self.again: deque[Ticket] = deque()  # failed once; drawn once more after all others
        self.failed: set[Ticket] = set()
        self.unanswered: list[Failure] = []
        self.workers_logged_at = 0.0

    def run_until(self, interrupted: list[int]) -> None:
        """Run until nothing is left to generate or judge, or until a signal arrives."""
        while not interrupted:
            self.clock.update_scheduler()
            if not (self.feed() or self.in_flight or self.unjudged):
                return  # checked after feeding: the last verdict may have made another wave due
            self.receive()
            self.learn()
            self.progress.tick(self.log, self.engine.workers)

    def log(self, facts: dict[str, float]) -> None:
        """Log a throughput event. `occupancy` is the share of the engine's slots in use.

        The longer entry about each worker is logged less often, so that a killed build has one.
        """
        if self.clock.seconds - self.workers_logged_at >= WORKERS_SECONDS:
            self.workers_logged_at = self.clock.seconds
            workers = [asdict(worker) for worker in self.engine.workers()]
            if workers:
                self.run.event("workers", workers=workers)
        occupancy = round(len(self.in_flight) / max(1, self.engine.capacity), 3)
        self.run.event("throughput", **facts, occupancy=occupancy, seconds=self.clock.seconds)

    def feed(self) -> bool:
        """Submit requests until the engine is full. Returns whether any was submitted."""
        fed = False
        if self.behind and self.by_verdict:
            return False
        while len(self.in_flight) < self.engine.capacity:
            ticket, self.first = self.first or self.scheduler.next(), None
            if ticket is None and self.again:
                ticket = self.again.popleft()
            if ticket is None:
                break
            request = Request(self.prompt(ticket.prompt), ticket.index, ticket.level)
            self.in_flight[request.sample_id] = ticket
            self.engine.submit(request)
            fed = True
        return fed

    @property
    def behind(self) -> bool:
        """Whether as many samples wait for a verdict as may."""
        most_text = MAX_UNJUDGED_TEXT * cores()
        return len(self.unjudged) >= MAX_UNJUDGED or self.unjudged_text >= most_text

    def prompt(self, number: int) -> Prompt:
        """Return a prompt by its number.

        The last prompt is cached: its samples come in a row, and reading one takes a millisecond,
        or much longer if it has tests.
        """
        if self.cached_prompt is None or self.cached_prompt[0] != number:
            (row,) = self.prompts.slice(number, 1).to_pylist()
            self.cached_prompt = number, Prompt.from_row(row)
        return self.cached_prompt[1]

    def receive(self) -> None:
        """Store each finished sample, then queue it for judging."""
        for outcome in self.engine.completed():
            ticket = self.in_flight.pop(outcome.sample_id)
            if isinstance(outcome, Sample):
                if self.continues:
                    outcome = add_parent(outcome, self.prompt(ticket.prompt))
                self.run.append(outcome)
                self.progress.count_sample(outcome.n_tokens)
                if self.behind and not self.by_verdict:
                    self.judge.skip(outcome)
                    self.progress.postponed += 1
                    self.scheduler.learn(ticket, False, outcome.n_tokens)
                    continue
                self.judge.put(outcome, ticket.prompt)
                self.unjudged[outcome.sample_id] = _Drawn(
                    ticket,
                    outcome.n_tokens,
                    outcome.n_prompt_tokens,
                    outcome.finish_reason,
                    len(outcome.text),
                )
                self.unjudged_text += len(outcome.text)
            else:
                self.record_failure(outcome, ticket)

    def record_failure(self, failure: Failure, ticket: Ticket) -> None:
        """Record a request without a sample.

        One that may succeed is drawn once more at the end of the run, and again by a later one.
        """
        if not failure.retryable:
            self.run.record_failure(failure)
            self.scheduler.fail(ticket)
            return
        facts = {"failure": failure.kind, "detail": failure.detail}
        self.run.event("failure", sample=failure.sample_id, **facts)
        if ticket not in self.failed:
            self.failed.add(ticket)
            self.again.append(ticket)
            return
        self.unanswered.append(failure)
        self.scheduler.fail(ticket)

    def report_unanswered(self) -> None:
        """Note how many samples got no answer. Raises EngineError if none got one."""
        count = len(self.unanswered)
        self.run.save_manifest(unanswered=count)  # a run that lacks samples is never finished
        if not count:
            return
        why = self.unanswered[-1].detail
        self.run.event("unanswered", samples=count, why=why)
        if not (self.progress.samples or self.run.parts()):
            raise EngineError(
                f"none of {count:,} requests was answered; the last one: {why}\nNothing is lost: "
                "fix this and run the same command to continue."
            )
        self.progress.say(
            f"{count:,} samples got no answer; the last one: {why}. The same command draws them "
            "again."
        )

    def learn(self) -> None:
        """Pass verdicts to the scheduler and abort samples that are no longer needed."""
        for verdict in self.judge.collect(0.0 if self.in_flight else 0.2):
            if verdict.sample_id not in self.unjudged:
                self.settle(verdict)
                continue
            drawn = self.unjudged.pop(verdict.sample_id)
            self.unjudged_text -= drawn.size
            ticket, tokens, finish_reason = drawn.ticket, drawn.tokens, drawn.finish_reason
            # What is pending may be enough: `until` draws no more of a prompt before it is known.
            hoped = self.policy == "until" and verdict.reason == PENDING
            if hoped:
                self.pending[verdict.sample_id] = ticket
            accepted = verdict.decision == "keep"
            self.scheduler.learn(ticket, accepted, tokens, drawn.prompt_tokens, pending=hoped)
            source = str(self.sources[ticket.prompt])
            self.progress.count_verdict(
                source, verdict.decision, verdict.reason, finish_reason, tokens
            )
            if self.think_seen >= 0:
                self.count_reasoning(verdict)
        for notice in self.judge.notices:
            self.run.event("judge", what=notice)
            self.progress.say(notice)
        self.judge.notices.clear()
        if self.judge.error and not self.reported_error:
            self.reported_error = True
            self.run.event("judge_failed", why=self.judge.error)
            if self.by_verdict:
                raise RunError(
                    f"judging failed, and the policy {self.policy} draws by verdicts. "
                    f"{self.judge.error}\nAll samples so far are saved. Fix this and run the same "
                    "command to continue."
                )
            self.progress.say(f"judging failed; sampling continues without it. {self.judge.error}")
        surplus = set(self.scheduler.surplus())
        if surplus:
            self.engine.abort(name for name, t in self.in_flight.items() if t in surplus)
            for ticket in [ticket for ticket in self.again if ticket in surplus]:
                self.again.remove(ticket)
                self.scheduler.fail(ticket)

    def settle(self, verdict: Judged) -> None:
        """Pass on the verdict of a sample that was pending."""
        ticket = self.pending.pop(verdict.sample_id, None)
        if ticket is not None:
            self.scheduler.settle(ticket, verdict.decision == "keep")
        self.progress.count_late_verdict(verdict.decision, verdict.reason)

    def count_reasoning(self, verdict: Judged) -> None:
        """Warn once if the first samples all lack the think section that the recipe requires."""
        self.think_seen = self.think_seen + 1 if verdict.reason == "no_think" else -1
        if self.think_seen < WITHOUT_REASONING:
            return
        what = (
            f"NO REASONING: the first {self.think_seen} samples have no think section, and the "
            "filter format drops them all (no_think). "
        )
        if self.server is not None and self.server.api == "chat":
            what += (
                "The server leaves its reasoning out, or sends it in a field unknown here "
                "(reasoning_content, reasoning and reasoning_details are read). Ask for it in "
                "engine.server.extra_body, as its documentation says (recipes/servers has "
                "examples), or start vLLM and SGLang with --reasoning-parser."
            )
        else:
            what += 'Set prompting.prefill to "<think>\\n", or use a model that reasons.'
        what += (
            " To keep such samples, set filters.format.thinking: optional and "
            "filters.correctness.think: optional."
        )
        self.run.event("no_reasoning", samples=self.think_seen)
        self.progress.say(what)
        self.think_seen = -1
