"""One endpoint of an OpenAI-compatible API: its models, its state, its load and its faults."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from factory.core.nouns import FailureKind
from factory.recipe.engine import ServerOptions
from factory.sampling.engine import Worker
from factory.sampling.engines.concurrency import Concurrency
from factory.sampling.engines.connections import ConnectionPool
from factory.sampling.engines.openai_api import (
    Dialect,
    Malformed,
    RenderedRequest,
    Reply,
    Served,
    Wire,
)
from filters.judges.retry import read_retry_after

_PROBE_S = 10.0
_CANARY_S = 60.0
_LONGEST_PAUSE_S = 600.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_JSON = {"Content-Type": "application/json"}
_EXTENDED = frozenset({"vllm", "sglang"})
_TOO_LONG = ("context length", "context_length", "maximum length", "too long", "max_model_len")

Blame = Literal["request", "load", "endpoint", "unknown"]
"""The cause of a failed request, which decides how it is handled:

request   it can't succeed on any endpoint: it becomes a Failure
load      the endpoint is overloaded: its limit falls, and the request waits
endpoint  the endpoint doesn't work: it is disabled until it answers again
unknown   any of these: the request is retried a limited number of times, elsewhere if possible
"""


class Fault(Exception):
    """A request failed."""

    def __init__(
        self, kind: FailureKind, blame: Blame, detail: str, pause_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.blame, self.detail, self.pause_s = kind, blame, detail, pause_s


@dataclass(slots=True)
class Stats:
    """Totals of an endpoint so far."""

    samples: int = 0
    tokens: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    began: float | None = None
    ended: float = 0.0

    def count(self, tokens: int, now: float) -> None:
        self.samples += 1
        self.tokens += tokens
        self.ended = now

    @property
    def seconds(self) -> float:
        """From the first request to the last reply."""
        return self.ended - self.began if self.began and self.samples else 0.0


class Endpoint:
    """One server. Only the EndpointPool that owns it changes its state, in one thread."""

    def __init__(
        self,
        url: str,
        pool: ConnectionPool,
        wire: Wire,
        options: ServerOptions,
        own: Sequence[str],
        others: Collection[str] = (),
    ) -> None:
        self.url, self._pool, self._wire, self._options = url, pool, wire, options
        self._own, self._others = own, frozenset(others)
        self.served: Served | None = None  # None until identified
        self.up = False
        self.why = "has not answered yet"
        self.unfit = False  # reachable, but with a wrong model, address or key
        self.concurrency = Concurrency(options.max_concurrency, time.monotonic())
        self.in_flight = 0
        self.suspects = 0  # requests in flight that failed several times
        self.paused_until = 0.0
        self.throttled_since: float | None = None
        self.faults_in_row = 0
        self.answered_at = 0.0
        self.stats = Stats()

    async def close(self) -> None:
        await self._pool.close()

    def as_worker(self) -> Worker:
        stats, limit = self.stats, self.concurrency.limit
        done = stats.samples, stats.tokens, round(stats.seconds, 3)
        return Worker(self.url, self.up, limit, self.in_flight, *done, dict(stats.faults))

    def can_take(self, model: str | None, now: float) -> bool:
        """Return whether a request for a model (None: the recipe's own) can be sent now."""
        free = self.in_flight < self.concurrency.limit and now >= self.paused_until
        return self.up and free and self.serves(model)

    def serves(self, model: str | None) -> bool:
        return self.served is not None and self.served.name(model) is not None

    async def generate(self, rendered: RenderedRequest, reply: Reply) -> None:
        """Generate one sample into `reply`. Raises Fault."""
        assert self.served is not None  # only endpoints that are up get requests
        body = self._wire.body(rendered, self.served)
        if self._wire.streams(self.served):
            await self._stream(body, reply)
        else:
            await self._fetch(body, reply)
        if reply.finish is None and reply.halt is None:
            raise Fault("engine", "unknown", "the reply ended without a finish_reason")
        if reply.finish == "abort":
            raise Fault("engine", "unknown", "the server aborted the request")
        if reply.finish == "content_filter":
            raise Fault("empty", "request", "the server's content filter cut the reply off")

    async def identify(self) -> Served:
        """List the models it serves; also a cheap sign of life. Raises Fault."""
        async with _as_faults(_PROBE_S), self._pool.acquire() as client:
            response = await client.get(f"{self.url}/models")
        if response.status_code in (404, 405):  # not every API lists its models
            return Served(self._dialect(""), self._own[0], self._others)
        self._raise_for_status(response.status_code, response.content, response.headers)
        try:
            models = {str(card["id"]): dict(card) for card in response.json()["data"]}
        except (ValueError, LookupError, TypeError) as error:
            raise Fault(
                "engine", "endpoint", f"GET /models did not return a list of models: {error}"
            ) from None
        own = next((name for name in self._own if name in models), None)
        others = self._others.intersection(models)
        if own is None and not others:
            raise Fault(
                "bad_request",
                "endpoint",
                f"serves {', '.join(models) or 'no model'}, not {self._own[0]}; set "
                "engine.server.model if that is the same model under another name",
            )
        wanted = {name: models[name] for name in {own, *others} if name is not None}
        lengths = {name: card.get("max_model_len") for name, card in wanted.items()}
        contexts = {name: most for name, most in lengths.items() if isinstance(most, int)}
        owner = str(next(iter(wanted.values())).get("owned_by", ""))
        return Served(self._dialect(owner), own, others, contexts)

    async def check(self) -> Served:
        """Generate one token, which is a better check than a health endpoint.

        Raises Fault. A `request` blame means that the server refuses the recipe's own settings.
        """
        served = await self.identify()
        if not self._wire.find_unsupported(served.dialect):
            body = self._wire.canary(served)
            await self._fetch(body, Reply(), min(_CANARY_S, self._options.timeout_s))
        return served

    def _dialect(self, owner: str) -> Dialect:
        if self._options.dialect != "auto":
            return self._options.dialect
        return "vllm" if owner.lower() in _EXTENDED else "openai"

    async def _fetch(self, body: dict[str, Any], reply: Reply, timeout_s: float = 0) -> None:
        url, limit = self.url + self._wire.path, timeout_s or self._options.timeout_s
        async with _as_faults(limit), self._pool.acquire() as client:
            response = await client.post(url, content=_encode(body), headers=_JSON)
        self._raise_for_status(response.status_code, response.content, response.headers)
        self._parse(response.content, reply, response.headers)
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    async def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        url = self.url + self._wire.path
        async with (
            _as_faults(self._options.timeout_s),
            self._pool.acquire() as client,
            client.stream("POST", url, content=_encode(body), headers=_JSON) as response,
        ):
            if response.is_error or response.has_redirect_location:
                await response.aread()
                self._raise_for_status(response.status_code, response.content, response.headers)
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise Fault(
                    "engine",
                    "unknown",
                    f"expected an event stream, not {kind or 'a reply without content type'}",
                )
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                # Other lines are comments, blank, or another field of the event. Read on after
                # [DONE]: leaving a stream early costs its connection.
                if data and data != line.strip() and data != "[DONE]":
                    self._parse(data, reply, response.headers)
                if reply.halt is not None:
                    break  # closes the connection, which aborts the generation
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    @staticmethod
    def _parse(data: str | bytes, reply: Reply, headers: httpx.Headers) -> None:
        try:
            reply.add(json.loads(data))
        except Malformed as error:
            raise Fault("engine", "unknown", f"the reply is malformed: {error}") from None
        except (ValueError, RecursionError):
            kind = headers.get("content-type", "of no type")
            raise Fault("engine", "unknown", f"the reply is {kind}, not valid JSON") from None

    def _raise_for_status(self, status: int, content: bytes, headers: httpx.Headers) -> None:
        """Raise the Fault for an HTTP status; returns for success."""
        if 200 <= status < 300:
            return
        detail = f"HTTP {status}: {self._error_text(content)}"
        pause = read_retry_after(headers, _LONGEST_PAUSE_S)
        if status == 429:
            raise Fault("engine", "load", detail, pause)
        if status in (401, 403):
            key = self._options.api_key_env
            where = f"the key in {key}" if key else "engine.server.api_key_env, which is not set"
            raise Fault("bad_request", "endpoint", f"{detail}; check {where}")
        if status == 503 and pause is not None:
            raise Fault("engine", "load", detail, pause)
        if status in (400, 413, 422):
            too_long = status == 413 or any(words in detail.lower() for words in _TOO_LONG)
            raise Fault("prompt_too_long" if too_long else "bad_request", "request", detail)
        if status in (408, 409, 425) or status >= 500:
            kind: FailureKind = "timeout" if status in (408, 504) else "engine"
            raise Fault(kind, "unknown", detail, pause)
        raise Fault("bad_request", "endpoint", f"{detail}; check engine.server.urls and api")

    def _error_text(self, content: bytes) -> str:
        """Return the server's error message, shortened, with the API key redacted."""
        text = content.decode("utf-8", "replace")
        try:
            answer = json.loads(text)
            inner = answer.get("error", answer)
            text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
        except (ValueError, AttributeError):
            pass  # not JSON, or not an object: use the plain text
        return " ".join(self._pool.redact_key(text).split())[:300]


def backoff(attempt: int) -> float:
    """Return the pause before a retry in seconds: doubling, with jitter."""
    pause = _FIRST_BACKOFF_S * 2.0 ** (attempt - 1)
    return min(_LONGEST_BACKOFF_S, pause) * random.uniform(0.5, 1.0)


def _encode(body: dict[str, Any]) -> bytes:
    """Encode as ASCII JSON, so that lone surrogates reach the server, which refuses them."""
    return json.dumps(body).encode()


@asynccontextmanager
async def _as_faults(seconds: float) -> AsyncIterator[None]:
    """Limit a whole HTTP exchange in time and turn httpx errors into Faults."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason = str(error) or type(error).__name__
        raise Fault("engine", "endpoint", f"cannot be reached: {reason}") from None
    except (TimeoutError, httpx.TimeoutException):
        raise Fault("timeout", "unknown", f"no reply in {seconds:g} s") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        reason = str(error) or type(error).__name__
        raise Fault("engine", "unknown", f"the connection broke: {reason}") from None
