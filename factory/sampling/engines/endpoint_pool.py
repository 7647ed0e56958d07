"""Many endpoints as one: distributes requests, and retries or ends those that fail.

It runs in one asyncio loop and must not be called from another thread. Each request ends in exactly
one result. All times are of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from factory.core.errors import EngineError, Problem, RecipeError
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engines.endpoint import Endpoint, backoff
from factory.sampling.engines.faults import Fault
from factory.sampling.engines.jobs import Job, Refusal
from factory.sampling.engines.openai_api import Wire
from factory.sampling.engines.replies import Reply

_TRIP = 3
"""Failures in a row after which an endpoint is disabled until it passes a check."""

_SUSPECT = 3
"""Attempts after which a request is suspected to crash servers. From then on each server gets at
most one such request at a time."""

_LONGEST_RECHECK_S = 10.0

_LONGEST_PAUSE_S = 60.0
"""A Retry-After that asks for more is cut to this: the endpoint is asked again, which costs little,
where an absurd header would stop the run for years."""

_LONGEST_THROTTLE_S = 900.0
"""Seconds in which every endpoint refuses every request until the run stops."""

_BARREN = 8
"""Distinct prompts that must have failed before a lack of good replies stops the run."""


_REMEDY = "All samples so far are saved. Fix this and run the same command to continue."


Done = Callable[[Job, Reply | Refusal | None], None]
"""Called once per job with its reply, its Refusal, or None if it was aborted."""


class EndpointPool:
    """Endpoints, the requests that wait for them, and the tasks that monitor both."""

    def __init__(
        self,
        endpoints: list[Endpoint],
        wire: Wire,
        options: ServerOptions,
        done: Done,
        fatal: Callable[[BaseException], None],
        note: Callable[..., None],
    ) -> None:
        self.endpoints, self._wire, self._options = endpoints, wire, options
        self._done, self._fatal, self._note = done, fatal, note
        self._jobs: dict[str, Job] = {}
        self._waiting: defaultdict[str | None, deque[Job]] = defaultdict(deque)  # by model
        self._suspects: deque[Job] = deque()
        self._home: tuple[str, Endpoint] | None = (
            None  # the endpoint that cached the last prompt's prefill
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = {endpoint.url: asyncio.Event() for endpoint in endpoints}
        self._was_up = False
        self._given_up: set[str] = set()  # samples that had all their attempts before
        self._barren: set[str] = set()  # prompts that failed at once since the last good reply
        self._barren_since = 0.0
        self._barren_why = ""

    def start(self) -> None:
        self._spawn(self._clock())
        for endpoint in self.endpoints:
            self._spawn(self._watch(endpoint))

    def add(self, job: Job) -> None:
        self._jobs[job.rendered.sample_id] = job
        self._waiting[job.rendered.model].append(job)
        self._dispatch()

    def abort(self, names: Iterable[str]) -> None:
        for name in names:
            job = self._jobs.get(name)
            if job is not None:  # otherwise it has ended already
                self._end(job, None)
                self._cancel(job)
        for queue in self._queues():
            kept = [job for job in queue if not job.ended]
            queue.clear()
            queue.extend(kept)

    async def close(self) -> None:
        for job in self._jobs.values():
            job.ended = True  # so that no timer queues it again
        for queue in self._queues():
            queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in self.endpoints:
            await endpoint.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fatal(error)

    # Dispatch ------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        now = time.monotonic()
        for queue in self._queues():
            while queue and (endpoint := self._pick(queue[0], now)):
                self._launch(queue.popleft(), endpoint)

    def _queues(self) -> list[deque[Job]]:
        return [self._suspects, *self._waiting.values()]

    def _pick(self, job: Job, now: float) -> Endpoint | None:
        """Pick the least loaded endpoint. Samples of a prompt stay together; retries move."""
        free = [
            endpoint for endpoint in self.endpoints if endpoint.can_take(job.rendered.model, now)
        ]
        if job.attempts >= _SUSPECT:
            free = [endpoint for endpoint in free if not endpoint.suspects]
        if not free:
            return None
        if self._home and self._home[0] == job.request.prompt.id and job.last is None:
            free = [self._home[1]] if self._home[1] in free else free
        return min(free, key=lambda e: (e is job.last, e.in_flight / e.concurrency.limit))

    def _launch(self, job: Job, endpoint: Endpoint) -> None:
        self._home = (job.request.prompt.id, endpoint)
        suspect = job.attempts >= _SUSPECT
        endpoint.in_flight += 1
        endpoint.suspects += suspect
        job.last, job.reply = endpoint, Reply(watch=job.watch() if job.watch else None)

        def release(task: asyncio.Task[None]) -> None:
            # A callback, since a task that is cancelled before its first step never runs.
            endpoint.in_flight -= 1
            endpoint.suspects -= suspect
            self._dispatch()

        job.task = self._spawn(self._run(job, endpoint))
        job.task.add_done_callback(release)

    async def _run(self, job: Job, endpoint: Endpoint) -> None:
        sent, before = time.monotonic(), endpoint.in_flight
        endpoint.stats.began = endpoint.stats.began or sent
        try:
            await endpoint.generate(job.rendered, job.reply)
        except Fault as fault:
            await self._failed(job, endpoint, fault, sent)
            return
        now = time.monotonic()
        self._mark_up(endpoint, now)
        endpoint.throttled_since, endpoint.asked_s = None, 0.0
        self._barren.clear()
        tokens = job.reply.n_tokens or sum(map(len, job.reply.content)) // 4
        in_flight = (before + endpoint.in_flight) / 2
        endpoint.stats.count(tokens, now)
        endpoint.concurrency.record_success(now, now - sent, tokens, in_flight)
        self._end(job, job.reply)

    def _end(self, job: Job, outcome: Reply | Refusal | None) -> None:
        job.ended = True
        del self._jobs[job.rendered.sample_id]
        self._done(job, outcome)

    @staticmethod
    def _cancel(job: Job) -> None:
        if job.task is not None:
            job.task.cancel()
            job.task = None

    # Failures ------------------------------------------------------------------------------------

    async def _failed(self, job: Job, endpoint: Endpoint, fault: Fault, sent: float) -> None:
        now = time.monotonic()
        endpoint.stats.faults[fault.kind if fault.blame != "load" else "throttled"] += 1
        if fault.blame == "request":
            await self._refuse(job, endpoint, fault)
        elif fault.blame == "unknown":
            self._count_barren(job, fault, now)
            endpoint.faults_in_row += 1
            endpoint.concurrency.record_refusal(now, sent)
            if endpoint.faults_in_row >= _TRIP:
                self._disable(endpoint, fault.detail)
            await self._retry(job, endpoint, fault)
        else:
            if fault.blame == "load":
                self._throttle(endpoint, fault, sent, now)
            else:
                endpoint.unfit = fault.blame == "setup"
                self._disable(endpoint, fault.detail)
            self._put_back(job)

    def _put_back(self, job: Job) -> None:
        job.task = None
        self._waiting[job.rendered.model].appendleft(job)

    async def _refuse(self, job: Job, endpoint: Endpoint, fault: Fault) -> None:
        """End a job that the server refuses, if its endpoint takes other requests.

        Otherwise the account, the model or the server has changed, and the job is not to blame.
        """
        if fault.kind == "bad_request":
            try:
                endpoint.served = await endpoint.check()
            except Fault as sick:
                endpoint.unfit = sick.blame in ("request", "setup")
                self._disable(endpoint, sick.detail)
                self._put_back(job)
                return
        self._mark_up(endpoint, time.monotonic())
        self._end(job, Refusal(fault.kind, fault.detail))

    async def _retry(self, job: Job, endpoint: Endpoint, fault: Fault) -> None:
        """Schedule another attempt. Without retries left, fail the job if its endpoint works.

        If the endpoint fails its check, nothing is known about the job, so the attempt is not
        counted.
        """
        job.attempts += 1
        if job.attempts > self._options.max_retries:
            try:
                endpoint.served = await endpoint.check()
            except Fault as sick:
                self._disable(endpoint, sick.detail)
                job.attempts -= 1
            else:
                self._mark_up(endpoint, time.monotonic())
                self._given_up.add(job.rendered.sample_id)
                detail = f"failed {job.attempts} times; the last time: {fault.detail}"
                self._end(job, Refusal(fault.kind, detail, transient=True))
                return
        job.task = None
        self._schedule(job, backoff(job.attempts))

    def _schedule(self, job: Job, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._requeue, job)

    def _requeue(self, job: Job) -> None:
        if job.ended:
            return
        if job.attempts >= _SUSPECT:
            self._suspects.append(job)
        else:
            self._waiting[job.rendered.model].appendleft(job)
        self._dispatch()

    def _throttle(self, endpoint: Endpoint, fault: Fault, sent: float, now: float) -> None:
        endpoint.concurrency.record_refusal(now, sent)
        self._pause(endpoint, backoff(2) if fault.pause_s is None else fault.pause_s, now)
        if endpoint.throttled_since is None:
            endpoint.throttled_since = now
        elif now - endpoint.throttled_since > self._options.lost_after_s + endpoint.asked_s:
            self._disable(endpoint, f"refused all requests for a long time: {fault.detail}")

    def _pause(self, endpoint: Endpoint, asked_s: float, now: float) -> float:
        """Send an endpoint nothing for the time it asks for, capped, and return that time.

        The other endpoints go on.
        """
        pause = min(asked_s, _LONGEST_PAUSE_S)
        if asked_s > _LONGEST_PAUSE_S > endpoint.asked_s:  # said once, not for each request
            self._note("retry_after_capped", url=endpoint.url, asked_s=asked_s, waits_s=pause)
        endpoint.asked_s = pause
        if now + pause > endpoint.paused_until:
            endpoint.paused_until = now + pause
            asyncio.get_running_loop().call_later(pause, self._dispatch)
        return pause

    def _count_barren(self, job: Job, fault: Fault, now: float) -> None:
        """Note that a request failed at its first attempt.

        Later attempts prove nothing: a prompt that no server answers fails at each of them.
        """
        self._barren_why = fault.detail
        if job.attempts == 0 and job.rendered.sample_id not in self._given_up:
            if not self._barren:
                self._barren_since = now
            self._barren.add(job.request.prompt.id)

    def _mark_up(self, endpoint: Endpoint, now: float) -> None:
        endpoint.answered_at = now
        endpoint.faults_in_row = 0
        endpoint.unfit = False
        if not endpoint.up:
            endpoint.up = self._was_up = True
            self._note("endpoint_up", url=endpoint.url)

    def _disable(self, endpoint: Endpoint, why: str) -> None:
        endpoint.why = why
        if endpoint.up:
            endpoint.up = False
            self._note("endpoint_down", url=endpoint.url, why=why)
        self._wake[endpoint.url].set()

    # Watching ------------------------------------------------------------------------------------

    async def _watch(self, endpoint: Endpoint) -> None:
        """Monitor an endpoint: check it when it is silent or down."""
        while True:
            await self._wait_until_up(endpoint)
            silent = 0
            while endpoint.up:
                silent = silent + 1 if await self._is_silent(endpoint) else 0
                if silent == 2:
                    self._reclaim_jobs(endpoint)

    async def _wait_until_up(self, endpoint: Endpoint) -> None:
        """Return once the endpoint works. Raises errors that waiting can't fix."""
        failed = 0
        while not endpoint.up:
            try:
                endpoint.served = await endpoint.check()
            except Fault as fault:
                endpoint.why = fault.detail
                endpoint.unfit = fault.blame == "setup" or (
                    fault.kind == "bad_request" and not self._was_up
                )
                if fault.blame == "request":
                    raise EngineError(
                        f"{endpoint.url} refuses a short request with the recipe's sampling "
                        f"settings: {fault.detail}"
                    ) from None
                failed += 1
                pause = min(backoff(failed), _LONGEST_RECHECK_S)
                if fault.pause_s:
                    pause = max(pause, self._pause(endpoint, fault.pause_s, time.monotonic()))
                await asyncio.sleep(pause)
                continue
            problems = self._wire.find_unsupported(endpoint.served.dialect) or self._unserved()
            if problems:
                raise RecipeError(problems)
            self._mark_up(endpoint, time.monotonic())
            self._dispatch()

    def _unserved(self) -> list[Problem]:
        """Return problems for models that no endpoint serves, once all endpoints are identified."""
        if not all(endpoint.served for endpoint in self.endpoints):
            return []
        return [
            Problem("sampling.escalate", f"names the model {model}, which no endpoint serves")
            for model in self._wire.other_models
            if not any(endpoint.serves(model) for endpoint in self.endpoints)
        ]

    async def _is_silent(self, endpoint: Endpoint) -> bool:
        """Wait `health_s`. Returns True if it had requests, finished none and failed a check."""
        wake, wait = self._wake[endpoint.url], self._options.health_s
        wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await wake.wait()
        quiet = time.monotonic() - endpoint.answered_at >= wait
        if not endpoint.up or not endpoint.in_flight or not quiet:
            return False
        try:
            await endpoint.identify()
        except Fault as fault:
            endpoint.why = fault.detail
            return fault.blame != "load"
        return False

    def _reclaim_jobs(self, endpoint: Endpoint) -> None:
        """Disable an endpoint that hangs and retry its requests."""
        self._disable(endpoint, f"stopped answering: {endpoint.why}")
        fault = Fault("timeout", "unknown", "the server stopped answering")
        for job in list(self._jobs.values()):
            if job.last is endpoint and job.task is not None:
                self._cancel(job)
                job.task = self._spawn(self._retry(job, endpoint, fault))

    async def _clock(self) -> None:
        """Raise limits while nothing finishes, and fail when no endpoint is left."""
        lost_since: float | None = None
        while True:
            now = time.monotonic()
            for endpoint in self.endpoints:
                if endpoint.up and any(self._waiting.values()):
                    endpoint.concurrency.tick(now, endpoint.in_flight)
            if any(endpoint.up for endpoint in self.endpoints):
                lost_since = None
                self._check_progress(now)
            else:
                lost_since = now if lost_since is None else lost_since
                hopeless = all(endpoint.unfit for endpoint in self.endpoints)
                asked = max(endpoint.asked_s for endpoint in self.endpoints)
                if hopeless or now - lost_since >= self._options.lost_after_s + asked:
                    raise self._lost(now - lost_since)
            self._dispatch()
            await asyncio.sleep(min(0.5, self._options.lost_after_s / 10))

    def _check_progress(self, now: float) -> None:
        """Raise EngineError if the endpoints pass their checks, but nothing else."""
        throttled = [endpoint.throttled_since for endpoint in self.endpoints]
        if all(since is not None and now - since >= _LONGEST_THROTTLE_S for since in throttled):
            for endpoint in self.endpoints:
                endpoint.why = "refuses every request: it is overloaded, or a rate limit is used up"
            raise self._lost(_LONGEST_THROTTLE_S)
        # Long generations in flight may still succeed. Wait if they outnumber the failed prompts.
        in_flight = sum(endpoint.in_flight for endpoint in self.endpoints)
        seconds = now - self._barren_since
        enough = len(self._barren) >= max(_BARREN, in_flight)
        if enough and seconds >= self._options.lost_after_s and self._options.max_retries:
            raise EngineError(
                f"no request succeeded for {seconds:.0f} s, and those of {len(self._barren)} "
                f"prompts failed; the last one: {self._barren_why}\n{_REMEDY} To finish without "
                "these prompts, set engine.server.max_retries to 0."
            )

    def _lost(self, seconds: float) -> EngineError:
        states = "\n".join(f"  {endpoint.url}: {endpoint.why}" for endpoint in self.endpoints)
        return EngineError(
            f"no endpoint can be used (tried for {seconds:.0f} s):\n{states}\n{_REMEDY}"
        )
