"""Sampling from one or more OpenAI-compatible servers, behind the engine protocol.

The engine's methods never wait for the network. An asyncio loop in a second thread does. The two
threads exchange only requests and results.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import EngineError
from factory.core.models import DEMO, DEMO_NAME
from factory.core.nouns import Failure, Sample
from factory.core.resources import cache_dir
from factory.recipe.engines.options import ServerOptions
from factory.sampling.early_stop import make_watch
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.connections import ConnectionPool
from factory.sampling.engines.endpoint import Endpoint
from factory.sampling.engines.endpoint_pool import EndpointPool
from factory.sampling.engines.exchange import Exchange, make_failure, read_headers
from factory.sampling.engines.jobs import Job, Refusal
from factory.sampling.engines.replies import Reply

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

_WAIT_S = 0.05
_AT_ONCE = 1024


class ServerEngine:
    """Endpoints of one model. Raises EngineError if none has answered for `lost_after_s`."""

    def __init__(self, spec: EngineSpec, options: ServerOptions, log: Path) -> None:
        self._exchange = Exchange(spec, options)
        self._spec, self._log = spec, log
        self._open = 0  # submitted and not yet returned
        self._ended: queue.SimpleQueue[Sample | Failure | BaseException] = queue.SimpleQueue()
        self._dead: BaseException | None = None
        self._closing = False
        headers, secrets = read_headers(options)
        own, wire = _served_names(spec, options), self._exchange.wire
        endpoints = [
            Endpoint(url, ConnectionPool(headers, secrets), wire, options, own, wire.other_models)
            for url in options.urls
        ]
        self._pool = EndpointPool(endpoints, wire, options, self._done, self._ended.put, self._note)
        self.capacity = self._compute_capacity()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="server-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        rendered, early_stop = self._exchange.render(request), self._spec.sampling.early_stop
        watch = (
            partial(make_watch, early_stop, request.prompt, rendered.prefill)
            if early_stop
            else None
        )
        job = Job(request, rendered, watch=watch)
        self._open += 1
        self._call(self._pool.add, job)

    def completed(self) -> Iterator[Sample | Failure]:
        self.capacity = self._compute_capacity()
        wait = _WAIT_S if self._open else 0.0
        for _ in range(_AT_ONCE):
            try:
                outcome = self._ended.get(timeout=wait) if wait else self._ended.get_nowait()
            except queue.Empty:
                self._check_thread()
                break
            wait = 0.0
            if isinstance(outcome, BaseException):
                self._dead = outcome
                break
            self._open -= 1
            yield outcome
        if self._dead is not None:
            raise self._dead

    def abort(self, sample_ids: Iterable[str]) -> None:
        self._call(self._pool.abort, list(sample_ids))

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: its thread has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._closing = True
        self._thread.join()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the thread of the loop. Raises what ended it, once it has ended."""
        if self._dead is not None:  # also while the loop is still closing
            raise self._dead
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed; if its error is queued, `completed` raises it
            self._check_thread()

    def _check_thread(self) -> None:
        if not self._closing and not self._thread.is_alive() and self._ended.empty():
            self._dead = self._dead or _died("no error was reported")
            raise self._dead

    def workers(self) -> list[Worker]:
        return [endpoint.as_worker() for endpoint in self._pool.endpoints]

    def wait_ready(self) -> None:
        """Block until one endpoint has generated a token. Raises the error if none can."""
        while not any(endpoint.up for endpoint in self._pool.endpoints):
            for _ in self.completed():
                raise AssertionError("a result before any request")
            time.sleep(_WAIT_S)

    def _compute_capacity(self) -> int:
        """Return slightly more than the servers' limits, so that a free slot is filled at once."""
        limits = sum(endpoint.concurrency.limit for endpoint in self._pool.endpoints)
        return self._spec.engine.max_in_flight or limits + max(8, limits // 4)

    # In the thread of the asyncio loop -----------------------------------------------------------

    def _serve(self) -> None:
        # A callback that raises is a bug: end the run instead of only logging it.
        self._loop.set_exception_handler(
            lambda _, context: self._ended.put(
                context.get("exception") or RuntimeError(context["message"])
            )
        )
        try:
            self._loop.run_until_complete(self._run_until_stopped())
        except BaseException as error:  # whatever it is, the run must hear of it
            self._ended.put(error if isinstance(error, Exception) else _died(error))
        finally:
            self._loop.close()

    async def _run_until_stopped(self) -> None:
        self._pool.start()
        await self._stop.wait()
        await self._pool.close()

    def _done(self, job: Job, outcome: Reply | Refusal | None) -> None:
        if isinstance(outcome, Refusal):
            self._ended.put(make_failure(job.request, outcome))
        elif outcome is None:
            aborted = self._exchange.sample(job.request, job.rendered, job.reply, "abort")
            self._ended.put(aborted)
        else:
            self._ended.put(self._exchange.read(job.request, job.rendered, outcome))

    def _note(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, "at": round(time.time(), 3), **facts})
        # A full disk is reported by the run directory.
        with contextlib.suppress(OSError), open(self._log, "a", encoding="utf-8") as log:
            log.write(line + "\n")


def connect(spec: EngineSpec, options: ServerOptions, run: Path) -> ServerEngine:
    """Open an engine and wait until at least one endpoint has generated a token."""
    run.mkdir(parents=True, exist_ok=True)
    engine = ServerEngine(spec, options, run / "engine.log")
    try:
        engine.wait_ready()
    except BaseException:
        engine.close()
        raise
    return engine


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `server` engine of a recipe."""
    assert spec.engine.server is not None  # the schema requires it
    return connect(spec, spec.engine.server, run)


def _died(why: object) -> EngineError:
    return EngineError(
        f"the thread that talks to the servers died ({why!r}). All samples so far are saved; run "
        "the same command to continue."
    )


def _served_names(spec: EngineSpec, options: ServerOptions) -> list[str]:
    """Return the names a server may use for the recipe's model."""
    if options.model:
        return [options.model]
    if spec.model.id != DEMO:
        return [spec.model.id]
    return [DEMO_NAME, DEMO, str(cache_dir() / "models" / DEMO_NAME)]
