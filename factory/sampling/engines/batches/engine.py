"""Sampling by batches, behind the engine protocol.

Requests are gathered into files in OpenAI's batch format. A provider's batch API answers them, or
the user runs the files elsewhere (`kind: batch` without a URL) and puts the results next to them.
Either takes hours, so everything is in the ledger: a later process finds what is still open, asks
nothing twice, and reads results that an earlier one had fetched.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from factory.core.errors import EngineError, RecipeError
from factory.core.files import write_chunks
from factory.core.models import DEMO, DEMO_NAME
from factory.core.nouns import Failure, Sample
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.batches.api import OPEN, BatchApi
from factory.sampling.engines.batches.ledger import BATCHES, MAX_BYTES, Batch, Ledger
from factory.sampling.engines.exchange import Exchange, make_failure
from factory.sampling.engines.faults import Fault, check_finish, clean_message, read_fault
from factory.sampling.engines.jobs import Refusal
from factory.sampling.engines.openai_api import RenderedRequest, Served
from factory.sampling.engines.replies import ErrorReply, Malformed, Reply

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

_WAIT_S = 0.2
_AT_ONCE = 1024
_FULL = "token_limit_exceeded"
"""OpenAI's code for a batch beyond what the account may have in line."""


class BatchEngine:
    """Batches of one recipe. Raises EngineError if the API is lost or refuses the recipe."""

    def __init__(self, spec: EngineSpec, folder: Path) -> None:
        assert spec.engine.server is not None  # the schema requires it
        self._options, self._settings = spec.engine.server, spec.engine.batch
        self._exchange, self._served = check_settings(spec)
        self._ledger = Ledger(folder)
        self._api = BatchApi(self._options) if self._options.urls else None
        self._asked: dict[str, Request] = {}  # by custom_id: submitted and not yet returned
        self._names: dict[str, str] = {}  # of those: sample id → custom_id
        self._fresh: dict[str, None] = {}  # of those, in no batch yet; the oldest first
        self._aborted: set[str] = set()
        self._open: dict[int, Batch] = {}
        self._members: dict[int, set[str]] = {}  # of each open batch
        self._home: dict[str, int] = {}  # custom_id → its open batch
        self._answered: dict[str, tuple[Batch, int]] = {}  # custom_id → a good result, and where
        self._ready: deque[Sample | Failure | tuple[str, Request]] = deque()
        """What is returned next. A good result stays in its file until then."""
        self._last_request = self._last_look = 0.0
        self._failing_since: float | None = None
        self._held_until = 0.0  # the account has too much in line: nothing is started before
        self._samples: dict[int, tuple[int, int]] = {}  # batch → samples, tokens
        self._began = time.monotonic()
        for batch in self._ledger.batches:
            self._take_up(batch)

    @property
    def capacity(self) -> int:
        most = self._settings.max_requests * self._settings.max_batches
        return min(most, self._exchange.spec.engine.max_in_flight or most)

    def submit(self, request: Request) -> None:
        name = self._name(request)
        self._asked[name], self._names[request.sample_id] = request, name
        self._last_request = time.monotonic()
        if name in self._answered:
            self._return_answered(name)
        elif name not in self._home:
            self._fresh[name] = None

    def completed(self) -> Iterator[Sample | Failure]:
        if not self._ready:
            self._write_batches()
            self._advance()
        if not self._ready and self._asked:
            self._refuse_to_wait()
            time.sleep(min(_WAIT_S, self._settings.poll_s))
        for _ in range(min(len(self._ready), _AT_ONCE)):
            ready = self._ready.popleft()
            yield self._read_again(*ready) if isinstance(ready, tuple) else ready

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Take back what is in no batch yet. A batch of which nothing is wanted is cancelled."""
        for name in [self._names[found] for found in sample_ids if found in self._names]:
            self._aborted.add(name)
            if name in self._fresh:
                del self._fresh[name]
                self._finish(name, None)

    def workers(self) -> list[Worker]:
        seconds = round(time.monotonic() - self._began, 3)
        return [
            Worker(b.name, b.state == "submitted", b.requests, b.requests - b.done, *done, seconds)
            for b in self._open.values()
            for done in [self._samples.get(b.number, (0, 0))]
        ]

    def close(self) -> None:
        """Release the connection. Open batches go on; a later build takes up their results."""
        if self._api is not None:
            self._api.close()

    # Batches -------------------------------------------------------------------------------------

    def _name(self, request: Request) -> str:
        """Return a request's `custom_id`: its sample and the settings it is drawn with."""
        return f"{request.sample_id}:{self._exchange.settings(request)[1]}"

    def _take_up(self, batch: Batch) -> None:
        """Note what a batch of an earlier process has answered or will answer."""
        if batch.state == "refused":
            return
        if batch.state == "answered":
            self._note_results(batch)  # a fault is asked again, unless the run noted it as final
            return
        self._open[batch.number] = batch
        self._members[batch.number] = set(self._ledger.request_ids(batch))
        self._home |= dict.fromkeys(self._members[batch.number], batch.number)

    def _note_results(self, batch: Batch) -> dict[str, Fault]:
        """Note the good results of a batch that are new. Returns the other ones' faults."""
        members = self._members.get(batch.number)  # None: answered in an earlier process
        faults: dict[str, Fault] = {}
        for place, record in self._ledger.results(batch):
            name = str(record.get("custom_id"))
            if name in self._answered or (members is not None and name not in members):
                continue
            try:
                self._parse(record)
            except Fault as fault:
                faults.setdefault(name, fault)
                continue
            self._answered[name] = batch, place
            faults.pop(name, None)
        return faults

    def _write_batches(self) -> None:
        """Write what is to be asked to request files, one model each."""
        most = self._settings.max_requests
        waited = time.monotonic() - self._last_request >= self._settings.fill_s
        while self._fresh and (waited or len(self._fresh) >= most):
            by_model: dict[str, list[str]] = defaultdict(list)
            for name in list(islice(self._fresh, most)):
                del self._fresh[name]
                by_model[self._model_of(self._asked[name])].append(name)
            for model, names in by_model.items():
                self._write(model, names)

    def _write(self, model: str, names: list[str]) -> None:
        lines: list[bytes] = []
        size = 0
        for name in names:
            line = self._line(name)
            if size + len(line) > MAX_BYTES and lines:
                self._take_up(self._ledger.add(model, lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        self._take_up(self._ledger.add(model, lines))

    def _model_of(self, request: Request) -> str:
        model, _ = self._exchange.settings(request)
        return self._served.name(model) or str(self._served.own)

    def _line(self, name: str) -> bytes:
        body = self._exchange.wire.body(self._exchange.render(self._asked[name]), self._served)
        line = {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
        return json.dumps(line).encode() + b"\n"  # ASCII: lone surrogates survive

    def _advance(self) -> None:
        """Start what is written, look at what is open, read what has ended."""
        now = time.monotonic()
        if now - self._last_look < self._settings.poll_s and not self._unsent(now):
            return
        self._last_look = now
        for batch in list(self._open.values()):
            if self._api is None:
                self._look_for_results(batch)
                continue
            try:
                self._step(self._api, batch)
            except Fault as fault:
                self._bear(fault, batch)
            else:
                self._failing_since = None

    def _unsent(self, now: float) -> bool:
        running = sum(batch.state == "submitted" for batch in self._open.values())
        free = running < self._settings.max_batches and now >= self._held_until
        healthy = self._failing_since is None and self._api is not None
        return healthy and free and running < len(self._open)

    def _look_for_results(self, batch: Batch) -> None:
        if self._ledger.results_path(batch).exists():
            self._collect(batch)

    def _step(self, api: BatchApi, batch: Batch) -> None:
        """Bring a batch one step on. Raises Fault."""
        if batch.state == "written":
            running = sum(b.state == "submitted" for b in self._open.values())
            if running < self._settings.max_batches and time.monotonic() >= self._held_until:
                self._start(api, batch)
            return
        assert batch.batch_id is not None  # set before the state
        seen = api.look(batch.batch_id)
        counts = seen.get("request_counts")
        done = counts.get("completed") if isinstance(counts, dict) else None
        batch.done = done if type(done) is int and 0 <= done <= batch.requests else batch.done
        if seen["status"] in OPEN:
            if seen["status"] != "cancelling" and self._members[batch.number] <= self._aborted:
                api.cancel(batch.batch_id)
            return
        if seen["status"] == "failed":
            self._fail(batch, seen)
            return
        files = [seen.get("output_file_id"), seen.get("error_file_id")]
        found = [name for name in files if isinstance(name, str) and name]
        chunks = (chunk for name in found for chunk in api.download(name))
        write_chunks(self._ledger.results_path(batch), chunks)
        self._collect(batch)

    def _start(self, api: BatchApi, batch: Batch) -> None:
        """Upload and start a batch. What an earlier try had started, unheard, is found again."""
        if batch.file_id is None:
            batch.file_id = api.upload(self._ledger.requests_path(batch))
            self._ledger.save(batch)
        if batch.asked:
            batch.batch_id = api.find(batch.file_id)
        batch.asked = True
        self._ledger.save(batch)
        if batch.batch_id is None:
            batch.batch_id = api.start(batch.file_id, self._settings.window)
        batch.state = "submitted"
        self._ledger.save(batch)

    def _fail(self, batch: Batch, seen: dict[str, Any]) -> None:
        """The provider took none of a batch: wait where its queue is full, else end the run."""
        errors = seen.get("errors")
        found = errors.get("data") if isinstance(errors, dict) else None
        first = found[0] if isinstance(found, list) and found else {}
        code, message = (
            (first.get("code"), first.get("message")) if isinstance(first, dict) else (None, first)
        )
        if code == _FULL:
            self._held_until = time.monotonic() + 10 * self._settings.poll_s
            batch.state, batch.batch_id, batch.asked, batch.done = "written", None, False, 0
            batch.file_id = None  # uploaded again, so that no failed batch is taken for this one
            self._ledger.save(batch)
            return
        self._refuse(batch, f"{code}: {message}" if code else str(message or "no reason given"))

    def _refuse(self, batch: Batch, why: str) -> None:
        batch.state = "refused"
        self._ledger.save(batch)
        why = clean_message(self._api.redact(why) if self._api else why)
        raise EngineError(
            f"no request of {batch.name} was answered ({why}). Its requests are in "
            f"{self._ledger.requests_path(batch)}. All samples so far are saved. Correct the "
            "recipe's engine.server or sampling section and run the same command: they are asked "
            "again."
        )

    def _bear(self, fault: Fault, batch: Batch) -> None:
        """Keep trying through faults that may pass. Raises EngineError for the others."""
        now = time.monotonic()
        if fault.blame in ("load", "unknown"):
            self._failing_since = self._failing_since or now
            if now - self._failing_since < self._options.lost_after_s:
                return
        raise EngineError(
            f"{self._options.urls[0]} does not handle {batch.name}: {fault.detail}\nAll samples "
            "so far are saved, and open batches go on at the provider. Run the same command to "
            "continue."
        ) from fault

    def _refuse_to_wait(self) -> None:
        """Raise EngineError where only somebody else can bring the results."""
        if self._fresh or not self._open or (self._api is not None and self._settings.wait):
            return
        if self._api is not None:
            if any(batch.state == "written" for batch in self._open.values()):
                return
            where = f"{self._options.urls[0]} answers"
            what = "Run the same command later to take up the results."
        else:
            first = min(self._open)
            where = f"{self._ledger.folder} has"
            what = (
                "Run each NUMBER.requests.jsonl (for example with `vllm run-batch -i … -o …`), put "
                f"its results next to it ({self._ledger.results_path(self._open[first]).name} for "
                f"{self._ledger.requests_path(self._open[first]).name}), and run the same command "
                "again."
            )
        count = sum(batch.requests for batch in self._open.values())
        raise EngineError(
            f"{where} {count:,} requests in {len(self._open):,} batches without results yet. {what}"
        )

    # Results -------------------------------------------------------------------------------------

    def _collect(self, batch: Batch) -> None:
        """Read the results of a batch that has ended, and return all its requests."""
        before = len(self._answered)
        faults = self._note_results(batch)
        good = len(self._answered) - before
        setup = next((f for f in faults.values() if f.blame == "setup"), None)
        if faults and not good and (setup or not self._answered):  # the recipe's fault, not theirs
            self._refuse(batch, (setup or next(iter(faults.values()))).detail)
        batch.state, batch.done = "answered", batch.requests
        self._ledger.save(batch)
        del self._open[batch.number]
        for name in self._members.pop(batch.number):
            self._home.pop(name, None)
            if name not in self._asked:
                continue
            if name in self._answered:
                self._return_answered(name)
            else:
                self._finish(name, faults.get(name))

    def _finish(self, name: str, fault: Fault | None) -> None:
        """Return a request without a result: aborted, refused, or to be asked again."""
        request = self._take(name)
        if name in self._aborted:
            self._aborted.discard(name)
            rendered = self._exchange.render(request)
            self._ready.append(self._exchange.sample(request, rendered, Reply(), "abort"))
            return
        if fault is None:
            fault = Fault("timeout", "unknown", "its batch ended before it was answered")
        lasting = fault.blame == "request"
        refusal = Refusal(fault.kind, fault.detail, transient=not lasting)
        self._ready.append(make_failure(request, refusal))

    def _take(self, name: str) -> Request:
        """Return a submitted request whose outcome is known: it is no longer asked."""
        request = self._asked.pop(name)
        del self._names[request.sample_id]
        return request

    def _return_answered(self, name: str) -> None:
        self._ready.append((name, self._take(name)))
        self._aborted.discard(name)

    def _read_again(self, name: str, request: Request) -> Sample | Failure:
        """Return the sample of a good result."""
        batch, place = self._answered[name]
        rendered: RenderedRequest = self._exchange.render(request)
        outcome = self._exchange.read(
            request, rendered, self._parse(self._ledger.result_at(batch, place))
        )
        if isinstance(outcome, Sample):
            samples, tokens = self._samples.get(batch.number, (0, 0))
            self._samples[batch.number] = samples + 1, tokens + outcome.n_tokens
        return outcome

    def _parse(self, record: dict[str, Any]) -> Reply:
        """Read one line of a result file. Raises Fault."""
        response, error = record.get("response"), record.get("error")
        status, body = 200, None
        if isinstance(response, dict):
            status, body = response.get("status_code", 200), response.get("body")
        if not isinstance(body, dict) or type(status) is not int or status >= 300:
            said = body if isinstance(body, dict) else error
            self._raise_status(status if type(status) is int else 0, said)
            raise Fault("engine", "unknown", self._clean(f"no answer: {_message(error)}"))
        reply = Reply()
        try:
            reply.add(body)
        except ErrorReply as bad:
            self._raise_status(bad.code, {"error": {"message": bad.message}})
            raise Fault("engine", "unknown", self._clean(str(bad))) from None
        except Malformed as bad:
            raise Fault("engine", "unknown", f"the reply is malformed: {bad}") from None
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")
        check_finish(reply)
        return reply

    def _raise_status(self, status: int, said: Any) -> None:
        if status < 300:
            return
        content, key = json.dumps(said).encode(), self._options.key_source
        fault = read_fault(status, content, httpx.Headers(), key, self._redact)
        if fault is not None:
            raise fault

    def _redact(self, text: str) -> str:
        return self._api.redact(text) if self._api is not None else text

    def _clean(self, text: str) -> str:
        return clean_message(self._redact(text))


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `batch` engine of a recipe."""
    return BatchEngine(spec, run / BATCHES)


def check_settings(spec: EngineSpec) -> tuple[Exchange, Served]:
    """Return how requests are rendered, and the model's name and dialect.

    A batch API can't be asked for its dialect; files without a URL are for vLLM. Raises RecipeError
    for settings that the API can't apply.
    """
    assert spec.engine.server is not None  # the schema requires it
    options = spec.engine.server.model_copy(update={"stream": False})
    exchange = Exchange(spec, options)
    dialect = options.dialect
    if dialect == "auto":
        dialect = "openai" if options.urls else "vllm"
    if problems := exchange.wire.find_unsupported(dialect):
        raise RecipeError(problems)
    own = options.model or (DEMO_NAME if spec.model.id == DEMO else spec.model.id)
    return exchange, Served(dialect, own, frozenset(exchange.wire.other_models))


def _message(error: Any) -> str:
    said = error.get("message", error) if isinstance(error, dict) else error
    return str(said or "no reason given")
